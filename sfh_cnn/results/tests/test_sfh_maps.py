"""SFHMaps: the numbers of the result at the right places, sums and areas conserved."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.results import QUANTITIES, SFHMaps, SFHResult

from .helpers import make_maps, make_result, make_wcs


@pytest.fixture(scope="module")
def maps():
    """9 x 11 spaxels in 3 x 3 bins; not to be changed."""
    return make_maps()


def test_each_spaxel_shows_its_bin(maps):
    """Values, units and shapes of every quantity; NaN where there is no spectrum."""
    for name, info in QUANTITIES.items():
        value = getattr(maps, name)
        value = value() if callable(value) else value
        assert value.shape[:2] == (9, 11)
        assert value.unit == info.unit
        assert np.all(np.isnan(value[:, 0].value))
    assert_array_equal(maps.metallicity[4, 5].value, maps.result.metallicity[maps.bin_id[4, 5]].value)
    lower, upper = maps.interval("a_v")
    assert lower[8, 10] == maps.result.interval("a_v")[0][maps.bin_id[8, 10]]
    assert np.nanmax((upper - lower).value) > 0
    assert np.all(maps.flags[:, 0] == 1)
    assert maps.flags[0, 4] == 40


def test_a_map_of_masses_sums_to_the_mass_of_all_bins(maps):
    """Bins share their mass among their spaxels."""
    seen = np.unique(maps.bin_id[maps.bin_id >= 0])
    assert_allclose(np.nansum(maps.mass_formed.value), maps.result.mass_formed[seen].sum().value)
    rate = np.nansum(maps.recent_sfr(1 * u.Gyr).value)
    assert_allclose(rate, maps.result.recent_sfr(1 * u.Gyr)[seen].sum().value)


def test_surface_density_times_area_is_mass(maps):
    """0.2 arcsec at 10 Mpc, computed with the small-angle formula; inclination thins it."""
    side = (0.2 * u.arcsec).to_value(u.rad) * 10e6 * u.pc / (1 + 0.002) ** 2
    density = maps.surface_density("mass_formed")
    assert density.unit == u.M_sun / u.pc**2
    assert_allclose((density * side**2)[3, 3].to_value(u.M_sun), maps.mass_formed[3, 3].value, rtol=1e-6)
    assert_allclose((maps.surface_density(inclination=60 * u.deg) / density)[3, 3].value, 0.5)
    assert maps.surface_density("sfr").unit == u.M_sun / u.yr / u.kpc**2
    with pytest.raises(SFHCNNError, match="name is one of"):
        maps.surface_density("a_v")
    with pytest.raises(SFHCNNError, match="wcs="):
        SFHMaps(maps.result, maps.bin_id).surface_density()


def test_cut_outs_keep_masses_and_coordinates(maps):
    """A cut through bins does not change the mass per spaxel or the place on the sky."""
    cut = maps[2:7, 3:8]
    assert cut.shape == (5, 5)
    assert_array_equal(cut.mass_formed.value, maps.mass_formed[2:7, 3:8].value)
    here, there = cut.wcs.pixel_to_world(0, 0), maps.wcs.pixel_to_world(3, 2)
    assert here.separation(there) < 1e-6 * u.arcsec
    same = maps[-7:-2, 3:-3]
    assert_array_equal(same.bin_id, cut.bin_id)
    assert same.wcs.pixel_to_world(0, 0).separation(there) < 1e-6 * u.arcsec


@pytest.mark.parametrize("steps", [np.s_[::2, ::2], np.s_[:, ::-1]])
def test_cut_outs_with_steps_are_refused(maps, steps):
    """Their spaxels would not have the area that the coordinates say."""
    with pytest.raises(SFHCNNError, match="leave out the steps, got"):
        _ = maps[steps]


@pytest.mark.parametrize("item", [np.s_[0:2], np.s_[0, 1:2], 3, np.s_[0, 1, 2]])
def test_other_indices_are_refused(maps, item):
    """Maps are indexed by two numbers or two slices."""
    with pytest.raises(SFHCNNError, match=r"two numbers, .* or two slices"):
        _ = maps[item]


def test_histories_at_a_place(maps):
    """By pixel and by sky position; empty places are refused."""
    assert_array_equal(maps[4, 5].mass_fraction.value, maps.result[int(maps.bin_id[4, 5])].mass_fraction.value)
    place = maps.wcs.pixel_to_world(5, 4)
    assert_array_equal(maps.at(place).mass_fraction.value, maps[4, 5].mass_fraction.value)
    with pytest.raises(SFHCNNError, match="no spectrum"):
        _ = maps[0, 0]
    with pytest.raises(IndexError, match="outside the map"):
        _ = maps[9, 0]


def test_sum_over_a_region(maps):
    """Everything, half a bin, a sky region, and nothing."""
    seen = np.unique(maps.bin_id[maps.bin_id >= 0])
    total = maps.sum()
    assert_allclose(total.mass_formed.value, maps.result.mass_formed[seen].sum().value, rtol=0.03)
    one = np.zeros(maps.shape, dtype=bool)
    one[3:6, 3:6] = True
    third = one.copy()
    third[3:5] = False
    whole, part = maps.sum(one), maps.sum(third)
    assert_allclose((part.mass_formed / whole.mass_formed).value, 1 / 3, rtol=1e-6)
    assert_allclose(part.mass_fraction.value, whole.mass_fraction.value)
    with pytest.raises(SFHCNNError, match="holds no spaxel"):
        maps.sum(np.zeros(maps.shape, dtype=bool))
    with pytest.raises(SFHCNNError, match="region has shape"):
        maps.sum(np.ones((2, 2), dtype=bool))


def test_sum_over_a_sky_region(maps):
    """A circle of the regions package is the same as its mask."""
    regions = pytest.importorskip("regions")
    center = maps.wcs.pixel_to_world(5, 4)
    circle = regions.CircleSkyRegion(center, 0.5 * u.arcsec)
    y, x = np.indices(maps.shape)
    mask = np.hypot(x - 5, y - 4) < 2.5
    assert_allclose(maps.sum(circle).mass_formed.value, maps.sum(mask).mass_formed.value)


def test_radius_follows_the_disc(maps):
    """Along the minor axis radii stretch by 1/cos i; position angles run from north through east."""
    center = maps.wcs.pixel_to_world(5, 4)
    face_on = maps.radius(center)
    assert_allclose(face_on[4, 8].to_value(u.arcsec), 0.6, rtol=1e-5)
    # Position angle 90 degrees: the major axis runs east-west, along x.
    disc = maps.radius(center, inclination=60 * u.deg, position_angle=90 * u.deg)
    assert_allclose(disc[4, 8].to_value(u.arcsec), 0.6, rtol=1e-4)
    assert_allclose(disc[7, 5].to_value(u.arcsec), 1.2, rtol=1e-4)
    # 45 degrees: the major axis runs to the north-east, which is up and left.
    tilted = maps.radius((5, 4), inclination=60 * u.deg, position_angle=45 * u.deg)
    assert_allclose(tilted[6, 3].to_value(u.arcsec), np.hypot(0.4, 0.4), rtol=1e-4)
    assert_allclose(tilted[6, 7].to_value(u.arcsec), 2 * np.hypot(0.4, 0.4), rtol=1e-4)
    no_sky = SFHMaps(maps.result, maps.bin_id).radius((5, 4), 60 * u.deg, 45 * u.deg)
    assert_allclose(no_sky.value * 0.2, tilted.to_value(u.arcsec), rtol=1e-4, atol=1e-9)


def test_profile_adds_up_to_the_whole(maps):
    """Annuli hold all mass; lengths and angles agree."""
    center = SkyCoord(170 * u.deg, 13 * u.deg)
    profile = maps.radial_profile(center, step=0.4 * u.arcsec)
    assert profile.n_pixels.sum() == np.sum(maps.bin_id >= 0)
    assert_allclose(profile.result.mass_formed.sum().value, maps.sum().mass_formed.value, rtol=0.03)
    assert_allclose((profile.outer - profile.inner).to_value(u.arcsec), 0.4)
    length = (0.4 * u.arcsec).to_value(u.rad) * 10 * u.Mpc / (1 + 0.002) ** 2
    same = maps.radial_profile(center, step=length.to(u.pc))
    assert_array_equal(same.n_pixels, profile.n_pixels)
    assert same.inner.unit == u.pc
    with pytest.raises(SFHCNNError, match="step is the width"):
        maps.radial_profile(center)


def test_profile_leaves_out_rings_without_light(maps):
    """One faint ring, of negative flux, does not spoil the rest."""
    arrays = {key: value.copy() for key, value in maps.result.arrays.items()}
    arrays["v_flux"][maps.bin_id[4, 4]] = -1e-20  # the innermost bin
    faint = SFHMaps(SFHResult(maps.contract, arrays, engine=maps.result.engine), maps.bin_id)
    whole = SFHMaps(maps.result, maps.bin_id)
    whole, profile = (one.radial_profile((4, 4), step=1 * u.pix) for one in (whole, faint))
    assert profile.inner[0] > 0
    assert len(profile.result) == len(profile.n_pixels) < len(whole.n_pixels)
    assert np.all(profile.n_pixels > 0)


def test_files_round_trip_and_speak_fits(maps, tmp_path):
    """Maps come back to the last digit; images carry unit and WCS for other tools."""
    path = tmp_path / "maps.fits"
    maps.write(path, draws=20)
    back = SFHMaps.read(path)
    assert_array_equal(back.bin_id, maps.bin_id)
    for name in QUANTITIES:
        if maps.result.has_stored_quantiles(name):
            got, want = (getattr(one, name) for one in (back, maps))
            got, want = (one() if callable(one) else one for one in (got, want))
            assert_array_equal(got.value, want.value)
    assert back.sum().mass_formed > 0
    with fits.open(path) as hdus:
        image = hdus["MASS_WEIGHTED_AGE"]
        assert image.header["BUNIT"] == "Gyr"
        assert_array_equal(image.data, maps.mass_weighted_age.value.astype(np.float32))
        assert WCS(image.header).celestial.pixel_to_world(5, 4).separation(SkyCoord("170d 13d")) < 1e-6 * u.arcsec
        assert hdus["MASS_FRACTION"].data.shape == (16, 9, 11)
        assert "A_V_LOWER" in hdus
    cut = maps[2:7, 3:8]
    cut.write(tmp_path / "cut.fits")
    assert_array_equal(SFHMaps.read(tmp_path / "cut.fits").mass_formed.value, cut.mass_formed.value)
    with pytest.raises(SFHCNNError, match="no sfh_cnn maps"):
        maps.result.write(tmp_path / "result.fits")
        SFHMaps.read(tmp_path / "result.fits")


def test_maps_without_distance_or_wcs(tmp_path):
    """Fractions and ages are there, masses refused, files still written."""
    maps = make_maps(distance_mpc=None)
    plain = SFHMaps(maps.result, maps.bin_id)
    assert np.isfinite(plain.t50.value).any()
    with pytest.raises(SFHCNNError, match="distance="):
        _ = plain.mass_formed
    plain.write(tmp_path / "plain.fits")
    assert SFHMaps.read(tmp_path / "plain.fits").wcs is None


def test_bins_must_match_the_result():
    """Wrong kinds, wrong numbers, unknown names."""
    result = make_result(2)
    with pytest.raises(SFHCNNError, match="bin_id runs from -1 to 2"):
        SFHMaps(result, np.array([[-1, 2]]))
    with pytest.raises(SFHCNNError, match="map of integers"):
        SFHMaps(result, np.zeros((2, 2)))
    maps = SFHMaps(result, np.array([[0, 1]]), make_wcs(1, 2))
    with pytest.raises(AttributeError, match="no attribute 'age'"):
        _ = maps.age
    assert "1 x 2 spaxels in 2 bins" in repr(maps)
