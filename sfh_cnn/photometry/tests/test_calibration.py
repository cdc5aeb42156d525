"""Every way to state a band flux, against the definitions of the magnitude systems."""

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from sfh_cnn.core import FLUX_UNIT, SFHCNNError
from sfh_cnn.photometry import flux_per_count, load_bandpass, to_flux_density

#: f_nu in erg/s/cm2/Hz to f_lambda: c / pivot^2, with c in Angstrom/s.
F814W_FACTOR = 2.99792458e18 / load_bandpass("F814W").pivot_aa ** 2


def test_ab_and_st_magnitudes():
    """AB: f_nu = 10^(-0.4 (m + 48.6)); ST: f_lambda = 10^(-0.4 (m + 21.1))."""
    flux, _ = to_flux_density([18.3, 22.0] * u.ABmag, "F814W")
    assert_allclose(flux, 10 ** (-0.4 * (np.array([18.3, 22.0]) + 48.6)) * F814W_FACTOR, rtol=1e-6)
    flux, _ = to_flux_density(18.3 * u.STmag, "F814W")
    assert_allclose(flux, 10 ** (-0.4 * (18.3 + 21.1)), rtol=1e-6)


def test_flux_densities_and_maggies():
    """mJy, nanomaggies (3.631 microjansky) and f_lambda in other units agree; solid angles are dropped."""
    expected = 5e-29 * F814W_FACTOR  # 5 microjansky in cgs
    for value in (5e-3 * u.mJy, 5 / 3.6307805 * u.nmgy, expected * 0.1 * u.W / u.m**2 / u.um * 1e2):
        assert_allclose(to_flux_density(value, "F814W")[0], expected, rtol=1e-6)
    assert_allclose(to_flux_density(5 * u.uJy / u.arcsec**2, "F814W")[0], expected, rtol=1e-6)


def test_errors():
    """Errors keep their ratio to the flux; 0.1 mag is 9.2 per cent."""
    flux, err = to_flux_density([1.0, 2.0] * u.uJy, "F555W", [100.0, 50.0] * u.nJy)
    assert_allclose(err / flux, [0.1, 0.025])
    flux, err = to_flux_density(21 * u.ABmag, "F555W", 0.1 * u.mag)
    assert_allclose(err / flux, 0.0921034, rtol=1e-5)


def test_refusals():
    """Bare numbers, magnitudes of no system, and foreign units are named."""
    with pytest.raises(u.UnitTypeError, match="photometry needs a unit"):
        to_flux_density(20.0, "F814W")
    with pytest.raises(u.UnitTypeError, match=r"u\.ABmag or u\.STmag"):
        to_flux_density(20.0 * u.mag, "F814W")
    with pytest.raises(u.UnitConversionError, match="photometry is in km"):
        to_flux_density(20.0 * u.km, "F814W")
    with pytest.raises(u.UnitConversionError, match="error of photometry is in Jy"):
        to_flux_density(20.0 * u.ABmag, "F814W", 1 * u.Jy)


@pytest.mark.parametrize(
    "bunit", ["ELECTRONS/S", "COUNTS/S", "e-/s", "electron s-1", "", "electron / s", "ct / s", "cps", "e-s-1"]
)
def test_photflam_of_rates(bunit):
    """A rate times PHOTFLAM is f_lambda."""
    factor, unit = flux_per_count({"BUNIT": bunit, "PHOTFLAM": 2e-19, "EXPTIME": 500.0})
    assert factor == 2e-19
    assert unit == u.Unit("erg s-1 cm-2 AA-1")


def test_photflam_of_totals_and_calibrated_images():
    """Totals are divided by the exposure time; an image in flux density needs no PHOTFLAM."""
    assert_allclose(flux_per_count({"BUNIT": "ELECTRONS", "PHOTFLAM": 2e-19, "EXPTIME": 500.0})[0], 4e-22)
    factor, unit = flux_per_count({"BUNIT": "1e-20 erg/s/cm2/A", "PHOTFLAM": 2e-19})
    assert factor * unit.to("erg s-1 cm-2 AA-1") == pytest.approx(1e-20)
    assert flux_per_count({"BUNIT": "uJy"}) == (1.0, u.uJy)
    assert flux_per_count({"BUNIT": "uJy / pix"}) == (1.0, u.uJy)
    with pytest.raises(SFHCNNError, match="EXPTIME"):
        flux_per_count({"BUNIT": "ELECTRONS", "PHOTFLAM": 2e-19})
    for header in ({}, {"BUNIT": "ELECTRONS/S"}, {"BUNIT": "km"}, {"BUNIT": "mag(AB)"}):
        with pytest.raises(SFHCNNError, match="neither PHOTFLAM nor a flux density"):
            flux_per_count(header)


@pytest.mark.parametrize("header", [{}, {"PHOTFLAM": 2e-19}])
def test_an_exponent_is_no_electron(header):
    """A flux density with a power of ten in front is what it says, with or without PHOTFLAM beside it."""
    for text, value in (("1e-18 erg/s/cm2/Angstrom", 1e-18 * FLUX_UNIT), ("1E-9 Jy", 1 * u.nJy)):
        factor, unit = flux_per_count({"BUNIT": text, **header})
        assert (factor * unit).to_value(value.unit) == pytest.approx(value.value)


def test_a_surface_brightness_takes_the_area_of_a_pixel():
    """Per sr or per arcsec2 it is multiplied by 0.2 x 0.3 arcsec2; without coordinates, or per beam, it is refused."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-0.2 / 3600, 0.3 / 3600]
    want = (1 * u.MJy / u.sr * 0.06 * u.arcsec**2).to_value(u.Jy)
    for text, scale in (("MJy/sr", 1.0), ("Jy / arcsec2", (u.Jy / u.arcsec**2).to(u.MJy / u.sr))):
        factor, unit = flux_per_count({"BUNIT": text}, wcs=wcs)
        assert factor * unit.to(u.Jy) == pytest.approx(scale * want)
    for text, given in (("MJy/sr", None), ("Jy/beam", wcs)):
        with pytest.raises(SFHCNNError, match=r"image is a surface brightness per .* celestial WCS"):
            flux_per_count({"BUNIT": text}, wcs=given)
