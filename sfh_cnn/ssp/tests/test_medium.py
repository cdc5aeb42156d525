"""Air and vacuum told apart by the lines."""

import numpy as np
import pytest

from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.ssp.medium import air_index, measure_medium


def test_refractive_index():
    """Sodium D at 5891.583 Angstrom in vacuum is 5889.951 in air (NIST)."""
    assert 5891.583 / air_index(5891.583) == pytest.approx(5889.951, abs=0.002)


def test_air_and_vacuum_are_told_apart(toy):
    """Stretching the wavelengths by the index of refraction changes the answer."""
    assert measure_medium(toy.wave_aa, toy.flux, "vacuum") == "air"
    assert measure_medium(toy.wave_aa * 1.00028, toy.flux, "air") == "vacuum"


def test_default_where_nothing_can_be_measured(toy):
    """Without lines in range, or with pixels too coarse, the default is the answer."""
    short = toy.crop(5000, 6000)
    assert measure_medium(short.wave_aa, short.flux, "vacuum") == "vacuum"
    assert measure_medium(toy.wave_aa[::10], toy.flux[..., ::10], "vacuum") == "vacuum"
    flat = np.ones_like(toy.flux)
    assert measure_medium(toy.wave_aa, flat, "vacuum") == "vacuum"


def test_real_libraries(bc03, mangadap_templates):
    """BC03-MILES is in air and MaStar in vacuum, as their papers say."""
    assert measure_medium(bc03.wave_aa, bc03.flux, "vacuum") == "air"
    mastar = SSPLibrary.read(mangadap_templates / "mastar_ssp_v1.0")
    assert measure_medium(mastar.wave_aa, mastar.flux, "air") == "vacuum"
