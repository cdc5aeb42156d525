"""Zero points of images against a cube of known spectra."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from sfh_cnn.core import SFHCNNError
from sfh_cnn.photometry import band_flux
from sfh_cnn.prediction import zero_point_ratios

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
