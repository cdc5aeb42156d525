"""Images on the grid of a cube: flux conserved, point spread functions as they should be, errors as measured."""

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError
from sfh_cnn.photometry import load_bandpass, match_images, matching_kernel, moffat_psf

pytest.importorskip("photutils")
pytest.importorskip("reproject")

PHOTFLAM = 1.5e-19


def make_wcs(n, scale_arcsec, angle_deg=0.0):
    """A tangent plane centred on the middle of n x n pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 40.0, -10.0
    wcs.wcs.crpix = (n + 1) / 2, (n + 1) / 2
    wcs.wcs.cdelt = -scale_arcsec / 3600, scale_arcsec / 3600
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    wcs.wcs.pc = [[c, -s], [s, c]]
    return wcs


def image_of(data, scale_arcsec=0.05, angle_deg=0.0):
    """Data and header of a drizzled image."""
    header = dict(make_wcs(len(data), scale_arcsec, angle_deg).to_header())
    return data, {**header, "BUNIT": "ELECTRONS/S", "PHOTFLAM": PHOTFLAM}


def gaussian(n, fwhm_pix, x=0.0, y=0.0):
    """A source of flux 1 near the middle of the image."""
    row, column = np.indices((n, n)) - (n - 1) / 2
    sigma = fwhm_pix / 2.3548
    return np.exp(-0.5 * ((row - y) ** 2 + (column - x) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


CUBE = make_wcs(41, 0.2)


@pytest.mark.parametrize("angle", [0, 37])
def test_flux_is_conserved(angle):
    """The sum over spaxels is the flux of the source, whatever the angle of the image."""
    image = image_of(gaussian(241, 8, 13, -20) * 1000, angle_deg=angle)
    flux, _ = match_images({"F814W": image}, CUBE, (41, 41))["F814W"]
    assert np.nansum(flux.value) == pytest.approx(1000 * PHOTFLAM, rel=2e-3)
    y, x = np.indices((41, 41))
    centre = [np.nansum(axis * flux.value) / np.nansum(flux.value) for axis in (x, y)]
    if angle == 0:
        assert_allclose(centre, [20 + 13 / 4, 20 - 20 / 4], atol=0.02)
    assert np.hypot(*(np.array(centre) - 20)) == pytest.approx(np.hypot(13, 20) / 4, abs=0.03)


def test_surface_brightness_becomes_flux_per_spaxel():
    """A flat field of 3 MJy/sr on pixels of 0.05 arcsec gives spaxels of 0.2 arcsec their area."""
    _, header = image_of(np.ones((241, 241)))
    image = np.full((241, 241), 3.0), {**header, "BUNIT": "MJy/sr"}
    flux, _ = match_images({"F814W": image}, CUBE, (41, 41), background={"F814W": 1.0})["F814W"]
    want = (2 * u.MJy / u.sr * (0.2 * u.arcsec) ** 2).to(flux.unit, u.spectral_density(load_bandpass("F814W").pivot))
    assert_allclose(flux[5:-5, 5:-5].value, want.value, rtol=1e-4)


def test_shifted_coordinates():
    """A source moves east, which is towards small x, and north by the angles given."""
    image = image_of(gaussian(241, 8) * 1000)
    shift = {"F814W": (0.6 * u.arcsec, -1.0 * u.arcsec)}
    flux = match_images({"F814W": image}, CUBE, (41, 41), shifts=shift)["F814W"][0].value
    y, x = np.indices((41, 41))
    centre = [np.nansum(axis * flux) / np.nansum(flux) for axis in (x, y)]
    assert_allclose(centre, [20 - 3, 20 - 5], atol=0.02)


def test_a_star_gets_the_profile_of_the_cube():
    """A Gaussian of 0.1 arcsec becomes a Moffat profile of 0.8 arcsec, computed here on the spaxels."""
    image = image_of(gaussian(241, 2.0) * 1000)
    images = match_images({"F814W": image}, CUBE, (41, 41), cube_fwhm=0.8 * u.arcsec, image_fwhm=0.1 * u.arcsec)
    profile = images["F814W"][0].value / (1000 * PHOTFLAM)
    core = 0.4 / np.sqrt(2 ** (1 / 2.8) - 1)
    fine = (np.arange(41 * 8) + 0.5) / 8 - 20.5
    radius2 = (0.2 * fine[:, None]) ** 2 + (0.2 * fine) ** 2
    expected = (1.8 / (np.pi * core**2)) * (1 + radius2 / core**2) ** -2.8  # integral over the plane is 1
    expected = expected.reshape(41, 8, 41, 8).sum(axis=(1, 3)) * (0.2 / 8) ** 2
    assert_allclose(profile, expected, atol=0.03 * expected.max())
    assert np.nansum(profile) == pytest.approx(1, abs=0.01)


def test_kernels_sum_to_one_and_must_blur():
    """A kernel cannot sharpen."""
    assert matching_kernel(2, 16, 2.8).sum() == pytest.approx(1, abs=1e-5)
    psf = moffat_psf(9.0, 2.5, 91)
    assert psf[45, 45] / 2 == pytest.approx(np.interp(4.5, [4, 5], psf[45, [49, 50]]), rel=0.03)
    with pytest.raises(SFHCNNError, match="sharper"):
        matching_kernel(5, 4, 2.8)


def test_errors_are_those_of_the_sums_of_pixels():
    """The scatter of the spaxels of pure noise, before blurring, is the error given; so are those of weight maps."""
    rng = np.random.default_rng(2)
    data = 0.3 * rng.standard_normal((241, 241))
    for errors in (None, {"F814W": np.full(data.shape, 0.3)}):
        flux, error = match_images({"F814W": image_of(data)}, CUBE, (41, 41), errors=errors)["F814W"]
        assert np.nanstd(flux.value) == pytest.approx(np.nanmedian(error.value), rel=0.06)
    assert np.nanmedian(error.value) == pytest.approx(0.3 * 4 * PHOTFLAM, rel=0.01)  # 16 pixels
    options = {"errors": errors, "noise_correlation": 1.5, "calibration_error": 0.1}
    flux, wider = match_images({"F814W": image_of(data + 1)}, CUBE, (41, 41), **options)["F814W"]
    assert_allclose(wider.value, np.hypot(1.5 * 0.3 * 4 * PHOTFLAM, 0.1 * flux.value), rtol=0.02)


def test_backgrounds():
    """By number or by the median."""
    data = gaussian(241, 8) * 100 + 0.7
    for background in ({"F814W": 0.7}, "median"):
        flux, _ = match_images({"F814W": image_of(data)}, CUBE, (41, 41), background=background)["F814W"]
        assert np.nansum(flux.value) == pytest.approx(100 * PHOTFLAM, rel=0.01)


def test_holes_and_edges():
    """Bad pixels do not dim a spaxel, an image that is too small leaves NaN, a foreign one is refused."""
    data = np.ones((241, 241))
    data[120, 120] = np.nan
    flux, _ = match_images({"F814W": image_of(data)}, CUBE, (41, 41), cube_fwhm=0.8 * u.arcsec)["F814W"]
    assert flux[20, 20].value == pytest.approx(16 * PHOTFLAM, rel=0.01)
    small = match_images({"F814W": image_of(data[:81, :81])}, CUBE, (41, 41))["F814W"][0]
    assert np.isnan(small[0, 0].value)
    assert np.isfinite(small[20, 20].value)
    far, header = image_of(data)
    with pytest.raises(SFHCNNError, match="does not meet"):
        match_images({"F814W": (far, {**header, "CRVAL1": 41.0})}, CUBE, (41, 41))
