"""Zero points of images against a cube of known spectra."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from sfh_cnn.core import SFHCNNError
from sfh_cnn.photometry import band_flux
from sfh_cnn.prediction import register_images, zero_point_ratios

UNIT = u.Unit("1e-20 erg / (s cm2 Angstrom)")


def test_a_wrong_zero_point_is_found():
    """Images made from the spectra, 10 per cent too bright in one band; a band outside the cube is left out."""
    wave = np.arange(4750.0, 9350.0, 10.0)
    y, x = np.indices((20, 15))
    image = 300 * np.exp(-np.hypot(y - 9, x - 7) / 4)
    spectrum = 1 + 0.1 * (wave - 7000) / 2000
    flux = spectrum[:, None, None] * image
    header = fits.Header({"CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": 4750.0, "CRPIX3": 1.0, "CDELT3": 10.0})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 0.0})
    wide = np.arange(4000.0, 11000.0, 10.0)
    truth = band_flux(wide * u.AA, (1 + 0.1 * (wide - 7000) / 2000) * UNIT, "F814W").to_value(UNIT)
    green = band_flux(wide * u.AA, (1 + 0.1 * (wide - 7000) / 2000) * UNIT, "F555W").to_value(UNIT)
    images = {
        "F814W": (1.1 * truth * image * UNIT, 0.01 * image * UNIT),
        "F555W": (green * image * UNIT, 0.01 * image * UNIT),
        "F275W": (image * UNIT, image * UNIT),
    }
    ratios = zero_point_ratios((flux * UNIT, header), images)
    assert set(ratios) == {"F814W", "F555W"}
    assert ratios["F814W"][0] == pytest.approx(1.1, abs=0.005)
    assert ratios["F555W"][0] == pytest.approx(1.0, abs=0.02)
    assert ratios["F814W"][1] < 0.001
    assert 58 <= ratios["F814W"][2] <= 64  # a fifth of 300, and ties
    with pytest.raises(SFHCNNError, match="covers none"):
        zero_point_ratios((flux * UNIT, header), {"F275W": images["F275W"]})


def blob(n, pixel, east=0.0, north=0.0):
    """A galaxy and a companion as surface brightness on n x n pixels (arcsec), moved; north is along x."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10.0, 0.0], [(n + 1) / 2] * 2
    wcs.wcs.cd = np.array([[0, pixel], [pixel, 0]]) / 3600  # north along +x
    y, x = np.indices((n, n)) - (n - 1) / 2
    e, k = y * pixel - east, x * pixel - north
    return np.exp(-np.hypot(e, k / 0.7) / 1.5) + 0.3 * np.exp(-((e - 2) ** 2 + (k + 1) ** 2) / 0.8) + 0.02, wcs


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (0.83, -0.47)])
def test_shift_zero_point_and_background_are_told_apart(east, north):
    """An image with wrong coordinates, 5 per cent too bright, on a sky; the ratio of sums alone is far off."""
    wave = np.arange(6500.0, 10000.0, 20.0)
    true, wcs = blob(60, 0.2)
    header = wcs.to_header()
    header.update({"CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": 6500.0, "CRPIX3": 1.0, "CDELT3": 20.0})
    cube = (np.broadcast_to(300 * true, (len(wave), 60, 60)) * UNIT, header)
    # Seen at a place that is off by minus the shift, the image needs the shift added to its coordinates.
    seen, _ = blob(60, 0.2, -east, -north)
    images = {"F814W": ((1.05 * 300 * seen + 90) * UNIT, np.full((60, 60), 1.0) * UNIT)}
    found = register_images(cube, images)["F814W"]
    assert found.east.to_value(u.arcsec) == pytest.approx(east, abs=0.01)
    assert found.north.to_value(u.arcsec) == pytest.approx(north, abs=0.01)
    assert found.ratio == pytest.approx(1.05, abs=0.005)
    assert found.background.to_value(UNIT) == pytest.approx(90, abs=1)
    assert found.scatter < 0.01
    assert zero_point_ratios(cube, images)["F814W"][0] > 1.2


def test_registration_needs_room_and_an_image():
    """A cube that is too small for the shifts, and an image that ends before the cube does."""
    wave = np.arange(6500.0, 10000.0, 20.0)
    true, wcs = blob(28, 0.2)
    header = wcs.to_header()
    header.update({"CTYPE3": "AWAV", "CUNIT3": "Angstrom", "CRVAL3": 6500.0, "CRPIX3": 1.0, "CDELT3": 20.0})
    cube = (np.broadcast_to(300 * true, (len(wave), 28, 28)) * UNIT, header)
    images = {"F814W": (300 * true * UNIT, true * UNIT)}
    with pytest.raises(SFHCNNError, match="lower max_shift"):
        register_images(cube, images)
    images = {"F814W": (np.full((28, 28), np.nan) * UNIT, true * UNIT)}
    with pytest.raises(SFHCNNError, match="covers too little"):
        register_images(cube, images, max_shift=5)
