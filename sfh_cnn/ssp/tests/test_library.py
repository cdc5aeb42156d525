"""The container: grids, hash, interpolation, air, levels; and the toy library."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.ssp import toy_ssp_library


def test_interpolation_returns_the_grid_points(toy):
    """At a grid point the interpolated spectrum is the stored one, also at the corners."""
    for i, j in [(0, 0), (2, 17), (-1, -1)]:
        spectrum = toy.interpolate(toy.age_yr[j], toy.metallicity_dex[i])
        assert_allclose(spectrum, toy.flux[i, j], rtol=1e-5)


def test_interpolation_is_linear_in_log_age_and_metallicity(toy):
    """Half-way in log age and a quarter of the way in [M/H] the weights are 1/2 and 3/4, 1/4."""
    age_yr = np.sqrt(toy.age_yr[10] * toy.age_yr[11])
    metallicity_dex = 0.75 * toy.metallicity_dex[1] + 0.25 * toy.metallicity_dex[2]
    expected = 0.75 * toy.flux[1, 10:12].mean(axis=0) + 0.25 * toy.flux[2, 10:12].mean(axis=0)
    assert_allclose(toy.interpolate(age_yr, metallicity_dex), expected, rtol=1e-5)


def test_interpolation_broadcasts(toy):
    """Ages and metallicities broadcast; each row is what a single call gives."""
    spectra = toy.interpolate(np.array([1e7, 1e9])[:, None], np.array([-1.5, -0.1, 0.2]))
    assert spectra.shape == (2, 3, toy.wave_aa.size)
    assert_allclose(spectra[1, 2], toy.interpolate(1e9, 0.2), rtol=1e-12)


@pytest.mark.parametrize(("age", "met", "match"), [(1e11, 0, "age_yr"), (1e9, 0.5, "metallicity"), (-1, 0, "positive")])
def test_no_extrapolation(toy, age, met, match):
    """Outside the grid there is an error that names the argument."""
    with pytest.raises(SFHCNNError, match=match):
        toy.interpolate(age, met)


def test_quantities(toy):
    """The public grids carry units."""
    assert toy.wavelength.unit == u.AA
    assert toy.ages.to_value(u.Gyr)[0] == pytest.approx(1e-4)
    assert toy.metallicities.unit == u.dex


def test_crop_keeps_pixels(toy):
    """Cropping changes no number and includes both limits."""
    cut = toy.crop(5000, 6000)
    assert cut.wave_aa[[0, -1]].tolist() == [5000, 6000]
    assert_array_equal(cut.flux, toy.flux[..., 500:1501])
    assert cut.lsf_fwhm_aa.shape == cut.wave_aa.shape
    with pytest.raises(SFHCNNError, match="no pixel"):
        toy.crop(100, 200)


def test_hash_is_of_the_content(toy):
    """Byte order and memory layout do not count, the last digit of one pixel and the medium do."""
    same = dataclasses.replace(toy, flux=np.asfortranarray(toy.flux.astype(">f4")), wave_aa=toy.wave_aa.astype(">f8"))
    assert same.sha256 == toy.sha256
    flux = toy.flux.copy()
    flux[1, 2, 3] = np.nextafter(flux[1, 2, 3], np.float32(1))
    assert dataclasses.replace(toy, flux=flux).sha256 != toy.sha256
    assert dataclasses.replace(toy, medium="vacuum").sha256 != toy.sha256
    assert dataclasses.replace(toy, surviving_fraction=None).sha256 != toy.sha256


def test_arrays_cannot_change_under_the_hash(toy):
    """The arrays are copies and read-only."""
    with pytest.raises(ValueError, match="read-only"):
        toy.flux[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("wave_aa", np.arange(4501.0)[::-1] + 1, "increasing"),
        ("age_yr", np.append(0.0, np.arange(1, 41)), "positive"),
        ("metallicity_dex", [0.0, 0.0, 0.1, 0.2, 0.3], "increasing"),
        ("flux", np.zeros((5, 41, 3)), "flux needs shape"),
        ("surviving_fraction", np.zeros((41, 5)), "surviving_fraction needs shape"),
        ("lsf_fwhm_aa", np.full(4501, np.nan), "lsf_fwhm_aa .* not finite"),
        ("lsf_fwhm_aa", np.full(4501, -1.0), "negative"),
        ("medium", "water", "medium"),
    ],
)
def test_bad_libraries_are_refused(toy, field, value, match):
    """Each field is checked and named."""
    with pytest.raises(SFHCNNError, match=match):
        dataclasses.replace(toy, **{field: value})


def test_to_air_moves_lines_and_keeps_light():
    """Published pairs of wavelengths (NIST) are matched, and the light of the V band is the same."""
    toy = dataclasses.replace(toy_ssp_library(step_aa=1.0), medium="vacuum")
    air = toy.to_air()
    assert air.medium == "air"
    # H beta and the middle line of the calcium triplet, vacuum and air
    assert_allclose(np.interp([4862.69, 8544.44], toy.wave_aa, air.wave_aa), [4861.33, 8542.09], atol=0.02)
    assert_array_equal(air.wave_aa[air.wave_aa < 1999], toy.wave_aa[toy.wave_aa < 1999])
    assert np.all(np.diff(air.wave_aa) > 0)
    n_red = np.sum(toy.wave_aa >= 4000)
    before, after = (np.trapezoid(x.flux[..., -n_red:], x.wave_aa[-n_red:]) for x in (toy, air))
    assert_allclose(after, before, rtol=3e-5)
    assert air.to_air() is air


def test_with_light_of_gives_levels(toy):
    """Spectra known up to a factor each regain the levels of a reference; the shapes stay."""
    factor = np.linspace(0.1, 10, toy.flux[..., 0].size).reshape(toy.flux.shape[:2])[..., None]
    normalised = dataclasses.replace(toy, flux=toy.flux * factor, per_mass_formed=False)
    restored = normalised.with_light_of(toy)
    assert restored.per_mass_formed
    assert_allclose(restored.flux, toy.flux, rtol=1e-5)
    with pytest.raises(SFHCNNError, match="no fluxes per mass"):
        toy.with_light_of(normalised)


def test_visual_light_of_a_straight_line():
    """The mean of a linear spectrum over the window is its value in the middle, 5510 Angstrom."""
    toy = toy_ssp_library(step_aa=7.0)
    straight = dataclasses.replace(toy, flux=np.broadcast_to(toy.wave_aa, toy.flux.shape))
    assert_allclose(straight.visual_light(), 5510.0, rtol=1e-6)
    with pytest.raises(SFHCNNError, match="V band"):
        toy.crop(5500, 7000).visual_light()


def test_toy_library_is_ordered_like_a_real_one():
    """Older is redder and fainter, metal lines grow with [M/H], Balmer lines peak at some 100 Myr."""
    toy = toy_ssp_library()
    blue, red = toy.crop(4400, 4700).flux.mean(axis=-1), toy.crop(6600, 6900).flux.mean(axis=-1)
    after = toy.age_yr > 1e7
    assert np.all(np.diff((blue / red)[:, after], axis=1) < 0)
    assert np.all(np.diff(toy.visual_light()[:, after], axis=1) < 0)
    depth = 1 - toy.crop(5170, 5180).flux.min(axis=-1) / toy.crop(5210, 5230).flux.mean(axis=-1)
    assert np.all(np.diff(depth[:, -1]) > 0)
    balmer = 1 - toy.crop(4855, 4867).flux.min(axis=-1) / toy.crop(4890, 4910).flux.mean(axis=-1)
    assert 1e8 < toy.age_yr[np.argmax(balmer[3])] < 1e9
    assert np.all(toy.flux > 0)
    assert np.all(np.diff(toy.surviving_fraction, axis=1) <= 0)
