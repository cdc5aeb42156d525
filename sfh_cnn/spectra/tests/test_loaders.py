"""MUSE cubes and spectra of apertures, on a cube made here and on the real one of mpdaf."""

import importlib.util
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from numpy.testing import assert_allclose

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.spectra import extract_aperture, open_cube, read_muse_cube, read_spectra

pytest.importorskip("specutils")

WAVE_AA = 4750.0 + 1.25 * np.arange(60)


def write_cube(path, bunit="10**(-20)*erg/s/cm**2/Angstrom", quality=True, **keywords):
    """A cube of 60 x 12 x 10: a round source on (y, x) = (6, 4), brighter to the red, error 2 everywhere."""
    y, x = np.indices((12, 10))
    image = np.exp(-0.5 * ((y - 6) ** 2 + (x - 4) ** 2) / 4)
    data = (100 * np.linspace(1, 2, 60)[:, None, None] * image).astype(np.float32)
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT3": "Angstrom",
            "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": 40.0, "CRVAL2": -10.0, "CRVAL3": WAVE_AA[0],
            "CRPIX1": 5.0, "CRPIX2": 7.0, "CRPIX3": 1.0, "CD1_1": -0.2 / 3600, "CD2_2": 0.2 / 3600, "CD3_3": 1.25,
            "BUNIT": bunit, **keywords,
        }
    )  # fmt: skip
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, header, name="DATA")]
    hdus.append(fits.ImageHDU(np.full_like(data, 4), name="STAT"))
    if quality:
        flags = np.zeros(data.shape, dtype=np.uint8)
        flags[10, 6, 4] = 1
        hdus.append(fits.ImageHDU(flags, name="DQ"))
    fits.HDUList(hdus).writeto(path)
    return data


@pytest.mark.parametrize(
    "bunit", ["10**(-20)*erg/s/cm**2/Angstrom", "1E-20 erg/s/cm^2/A", "1e-20 erg.s**-1.cm**-2.angstrom**-1"]
)
def test_cube_has_unit_axis_variance_and_mask(tmp_path, bunit):
    """What the file says, in any spelling."""
    data = write_cube(tmp_path / "cube.fits", bunit)
    cube = read_muse_cube(tmp_path / "cube.fits")
    assert cube.flux.unit.to(FLUX_UNIT) == pytest.approx(1e-20)
    assert_allclose(cube.flux.value, data)
    assert cube.flux.dtype == np.float32
    assert cube.flux.dtype.isnative
    assert_allclose(cube.spectral_axis.to_value(u.AA), WAVE_AA)
    assert np.argwhere(cube.mask).tolist() == [[10, 6, 4]]
    assert (cube.uncertainty.array == 4).all()
    assert cube.meta["medium"] == "air"


def test_phangs_cube_without_quality_in_vacuum(tmp_path):
    """No DQ extension: only pixels that are not finite are bad. CTYPE3 WAVE is vacuum."""
    write_cube(tmp_path / "cube.fits", quality=False, CTYPE3="WAVE")
    cube = read_muse_cube(tmp_path / "cube.fits")
    assert not cube.mask.any()
    assert cube.meta["medium"] == "vacuum"


@pytest.mark.parametrize("ctype", ["LINEAR", "WAVELENGTH"])
def test_axes_by_names_that_fits_does_not_know(tmp_path, ctype):
    """As old versions of mpdaf write them, in air; and apertures still find their place on the sky."""
    write_cube(tmp_path / "cube.fits", CTYPE3=ctype)
    cube = read_muse_cube(tmp_path / "cube.fits")
    assert cube.meta["medium"] == open_cube(tmp_path / "cube.fits").medium == open_cube(cube).medium == "air"
    assert_allclose(cube.spectral_axis.to_value(u.AA), WAVE_AA)
    assert_allclose(cube.wcs.celestial.wcs_pix2world([[4, 6]], 0), [[40, -10]])


def test_sum_of_surface_brightness_is_a_flux(tmp_path):
    """A spaxel has 0.04 square arcsec."""
    data = write_cube(tmp_path / "cube.fits", "1e-20 erg/s/cm2/Angstrom/arcsec2", quality=False).astype(float)
    spectrum = extract_aperture(read_muse_cube(tmp_path / "cube.fits"), np.ones((12, 10), dtype=bool))
    assert_allclose(spectrum.flux.to_value(FLUX_UNIT), 0.04e-20 * data.sum(axis=(1, 2)), rtol=1e-5)
    assert spectrum.flux.unit == u.Unit("1e-20 erg / (s cm2 Angstrom)")
    spectra = read_spectra(spectrum, redshift=0.01)
    assert spectra.per == ""
    assert_allclose(spectra.flux_err[0], 0.04e-20 * 2 * np.sqrt(120), rtol=1e-6)


def test_sum_over_a_mask(tmp_path):
    """Flux adds, variance adds; the lost spaxel is made up for by its share of the light."""
    data = write_cube(tmp_path / "cube.fits").astype(float)
    chosen = np.zeros((12, 10), dtype=bool)
    chosen[4:9, 2:7] = True
    spectrum = extract_aperture(read_muse_cube(tmp_path / "cube.fits"), chosen, redshift=0.02)
    assert_allclose(spectrum.flux.value, data[:, chosen].sum(axis=1), rtol=1e-3)
    error = spectrum.uncertainty.array
    assert_allclose(np.delete(error, 10), 2 * np.sqrt(25), rtol=1e-6)
    share = data[0, 6, 4] / data[0][chosen].sum()
    assert_allclose(error[10], 2 * np.sqrt(24) / (1 - share), rtol=1e-3)
    assert_allclose(spectrum.redshift, 0.02)
    assert not spectrum.mask.any()


def test_errors_of_another_unit(tmp_path):
    """An uncertainty may have a unit of its own."""
    write_cube(tmp_path / "cube.fits")
    cube = read_muse_cube(tmp_path / "cube.fits")
    chosen = np.zeros((12, 10), dtype=bool)
    chosen[4:9, 2:7] = True
    expected = extract_aperture(cube, chosen).uncertainty.array
    std = np.sqrt(cube.uncertainty.array) / 1000
    cube.uncertainty = StdDevUncertainty(std, unit=1000 * cube.flux.unit)
    assert_allclose(extract_aperture(cube, chosen).uncertainty.array, expected, rtol=1e-5)


def test_sum_over_apertures(tmp_path):
    """Sky and pixel apertures and regions agree; the noise factor scales the error."""
    aperture, regions = pytest.importorskip("photutils.aperture"), pytest.importorskip("regions")
    write_cube(tmp_path / "cube.fits")
    cube = read_muse_cube(tmp_path / "cube.fits")
    centre = SkyCoord(40, -10, unit="deg")
    pixel = extract_aperture(cube, aperture.CircularAperture((4, 6), r=3))
    for shape in (
        aperture.SkyCircularAperture(centre, r=0.6 * u.arcsec),
        regions.CircleSkyRegion(centre, 0.6 * u.arcsec),
    ):
        assert_allclose(extract_aperture(cube, shape).flux.value, pixel.flux.value, rtol=1e-4)
    assert_allclose(pixel.uncertainty.array[0], 2 * np.sqrt(np.pi * 9), rtol=1e-6)
    wider = extract_aperture(cube, aperture.CircularAperture((4, 6), r=3), noise_correlation=1.6)
    assert_allclose(wider.uncertainty.array, 1.6 * pixel.uncertainty.array)


def test_pixels_without_enough_light_are_masked(tmp_path):
    """Where the bright middle is bad, half of the light is gone and the pixel with it."""
    write_cube(tmp_path / "cube.fits")
    chosen = np.zeros((12, 10), dtype=bool)
    chosen[6, 4:6] = True
    spectrum = extract_aperture(read_muse_cube(tmp_path / "cube.fits"), chosen)
    assert np.flatnonzero(spectrum.mask).tolist() == [10]


def test_refusals(tmp_path):
    """No cube, no unit, no overlap, wrong shapes."""
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((3, 3)), name="SCI")]).writeto(tmp_path / "image.fits")
    with pytest.raises(SFHCNNError, match="no cube in an extension DATA; it has"):
        read_muse_cube(tmp_path / "image.fits")
    write_cube(tmp_path / "cube.fits")
    with fits.open(tmp_path / "cube.fits") as hdus:
        del hdus["DATA"].header["BUNIT"]
        hdus.writeto(tmp_path / "unitless.fits")
    with pytest.raises(SFHCNNError, match="no BUNIT"):
        read_muse_cube(tmp_path / "unitless.fits")
    cube = read_muse_cube(tmp_path / "cube.fits")
    with pytest.raises(SFHCNNError, match=r"aperture has shape \(2, 2\)"):
        extract_aperture(cube, np.ones((2, 2), dtype=bool))
    with pytest.raises(SFHCNNError, match="covers no spaxel"):
        extract_aperture(cube, np.zeros((12, 10), dtype=bool))
    with pytest.raises(SFHCNNError, match=r"needs the axes \(wave, y, x\)"):
        extract_aperture(cube[:, 3, 3], np.ones((12, 10), dtype=bool))


def test_real_cube_of_mpdaf():
    """Abell 478: read in place, summed over its brightest galaxy, and read as a spectrum of the network."""
    found = importlib.util.find_spec("mpdaf")
    if found is None:
        pytest.skip("mpdaf is not installed")
    cube = read_muse_cube(Path(found.origin).parent / "data/sdetect/minicube.fits")
    assert cube.flux.shape == (3681, 40, 40)
    assert np.count_nonzero(cube.mask) >= 5
    y, x = np.indices((40, 40))
    spectra = read_spectra(extract_aperture(cube, np.hypot(y - 14, x - 23) < 5), redshift=0.0857)
    assert spectra.medium == "air"
    assert_allclose(spectra.wave_aa[[0, -1]], [4749.89, 9349.89], atol=0.01)
    assert 5 < np.median(spectra.flux / spectra.flux_err) < 100
