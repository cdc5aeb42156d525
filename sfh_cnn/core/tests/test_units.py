"""Tests of the two doors of units."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import DEX_LOG_AGE, FLUX_UNIT, METALLICITY_UNIT, to_plain, to_quantity


def test_to_plain_converts_to_the_house_unit():
    """A flux density in W/m2/nm becomes erg/s/cm2/Angstrom: 1 W/m2/nm is 100 of them."""
    plain = to_plain([1.0, 2.0] * u.W / u.m**2 / u.nm, FLUX_UNIT, "flux")
    assert type(plain) is np.ndarray
    assert_allclose(plain, [100, 200])


def test_to_plain_takes_equivalencies():
    """A flux density per frequency needs the wavelength: f_lambda = f_nu c / lambda^2."""
    plain = to_plain(1 * u.mJy, FLUX_UNIT, "flux", equivalencies=u.spectral_density(5500 * u.AA))
    assert_allclose(plain, 1e-26 * 2.99792458e18 / 5500**2, rtol=1e-12)


def test_to_plain_takes_magnitudes():
    """0 mag AB is 3631 Jy (to 0.01 per cent)."""
    plain = to_plain([0.0] * u.ABmag, FLUX_UNIT, "flux", equivalencies=u.spectral_density(5500 * u.AA))
    assert_allclose(plain, 3631e-23 * 2.99792458e18 / 5500**2, rtol=1e-4)


def test_to_plain_makes_the_type_asked_for():
    """Big-endian files and integers become native arrays."""
    assert to_plain(np.arange(3, dtype=">f4") * u.AA, u.AA, "wavelength").dtype == np.dtype(float)
    assert to_plain(np.arange(3) * u.AA, u.AA, "wavelength", dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("value", [3.0, [1, 2], np.arange(3)])
def test_a_bare_number_is_refused(value):
    """The message names the argument, the unit and what came."""
    with pytest.raises(
        u.UnitTypeError, match=f"distance needs a unit convertible to Mpc, got a plain {type(value).__name__}"
    ):
        to_plain(value, u.Mpc, "distance")


def test_a_wrong_unit_is_refused():
    """The message names the argument and both units."""
    with pytest.raises(u.UnitConversionError, match="distance is in s, which cannot be converted to Mpc"):
        to_plain(3 * u.s, u.Mpc, "distance")


@pytest.mark.parametrize("unit", [u.yr, FLUX_UNIT, METALLICITY_UNIT, DEX_LOG_AGE, u.mag])
def test_a_round_trip_changes_nothing(unit):
    """Off and on again, logarithmic units included."""
    value = np.array([1.5, 2.5])
    quantity = to_quantity(value, unit)
    assert isinstance(quantity, u.Quantity)
    assert quantity.unit == unit
    assert_allclose(to_plain(quantity, unit, "value"), value)


def test_log_ages_know_that_they_are_times():
    """9 dex(yr) is a Gyr."""
    assert_allclose(to_quantity(np.array(9.0), DEX_LOG_AGE).to_value(u.Gyr), 1.0)


def test_to_quantity_does_not_copy():
    """Large arrays of draws are not doubled on their way out."""
    value = np.zeros(3)
    to_quantity(value, u.yr)[0] = 7 * u.yr
    assert value[0] == 7
