"""Attenuation laws against the papers' numbers and dust_extinction."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.synthesis import DUST_LAWS, attenuation_curve
from sfh_cnn.synthesis.attenuation import calzetti, transmission


def test_calzetti_has_its_published_values():
    """k(lambda) of Calzetti et al. (2000), eq. 4, worked out by hand: V, 0.67 and 1 micron."""
    # 2.659 (-2.156 + 1.509 / 0.55 - 0.198 / 0.55^2 + 0.011 / 0.55^3) + 4.05, and 2.659 (-1.857 + 1.040 / x) + 4.05
    assert_allclose(4.05 * calzetti(np.array([5500.0, 6700.0, 10000.0])), [4.0483, 3.2398, 1.8776], rtol=2e-4)


def test_calzetti_has_no_step():
    """The published pieces miss each other at 0.63 micron; a step of 0.6 per cent per magnitude would be learnt."""
    change = np.diff(calzetti(np.arange(5000.0, 8000.0, 1.25)))
    assert np.all(change < 0)
    assert change.min() > -5e-4


def test_calzetti_is_that_of_dust_attenuation():
    """The same law in an independent package."""
    averages = pytest.importorskip("dust_attenuation.averages", reason="dust_attenuation is not installed")
    wave_aa = np.linspace(1500, 20000, 50)
    theirs = averages.C00(Av=1.0)(wave_aa * u.AA)
    assert_allclose(calzetti(wave_aa), theirs, rtol=1e-3)


def test_milky_way_is_that_of_dust_extinction():
    """A(lambda) / A(5500) of Gordon et al. (2023), whose curve is one at 5500 to a per cent."""
    from dust_extinction.parameter_averages import G23

    wave_aa = np.array([2175.0, 4400.0, 5500.0, 8000.0])
    curve = G23(Rv=3.1)(wave_aa * u.AA)
    assert_allclose(attenuation_curve("milky-way", wave_aa), curve / curve[2], rtol=1e-5)
    assert curve[2] == pytest.approx(1, abs=0.01)


def test_charlot_and_fall_are_power_laws():
    """Slopes 0.7 of the diffuse medium and 1.3 of birth clouds."""
    wave_aa = np.array([2750.0, 5500.0, 11000.0])
    assert_allclose(attenuation_curve("charlot-fall", wave_aa), [2**0.7, 1, 2**-0.7], rtol=1e-6)
    assert_allclose(attenuation_curve("birth-cloud", wave_aa), [2**1.3, 1, 2**-1.3], rtol=1e-6)


def test_tilted_laws_are_steeper_and_shallower():
    """By the power of the wavelength that their name stands for."""
    wave_aa = np.array([3000.0, 5500.0, 8000.0])
    plain = attenuation_curve("calzetti", wave_aa)
    for name, delta in (("calzetti-steep", -0.3), ("calzetti-shallow", 0.2)):
        assert_allclose(attenuation_curve(name, wave_aa) / plain, (wave_aa / 5500) ** delta, rtol=1e-5)


@pytest.mark.parametrize("name", DUST_LAWS)
def test_every_law_is_one_at_5500_and_falls(name):
    """A_V means the same in all of them; red light passes more easily from 2300 Angstrom on."""
    wave_aa = np.arange(2300.0, 10000.0, 100.0)
    curve = attenuation_curve(name, wave_aa)
    assert_allclose(attenuation_curve(name, np.array([5500.0])), 1, rtol=1e-6)
    assert np.all(np.diff(curve) < 0)


def test_transmission_is_in_magnitudes():
    """2.5 mag are a factor of ten, for one curve or one each."""
    curve = np.array([1.0, 2.0])
    assert_allclose(transmission(np.array([2.5, 0.0]), curve), [[0.1, 0.01], [1, 1]], rtol=1e-5)
    assert_allclose(
        transmission(np.array([2.5, 2.5]), np.stack([curve, 2 * curve])), [[0.1, 0.01], [0.01, 1e-4]], rtol=1e-5
    )


def test_an_unknown_law_is_named():
    """With those that there are."""
    with pytest.raises(KeyError, match="unknown dust law 'calzeti'; known: calzetti"):
        attenuation_curve("calzeti", np.array([5500.0]))
