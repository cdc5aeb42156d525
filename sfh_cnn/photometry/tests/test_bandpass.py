"""Bands: pivots against published values, integrals against fine sums."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError
from sfh_cnn.photometry import Bandpass, available_bandpasses, bandpass, load_bandpass, register_bandpass


@pytest.mark.parametrize(
    ("name", "pivot_aa"), [("F275W", 2708), ("F336W", 3354), ("F438W", 4326), ("F555W", 5308), ("F814W", 8059)]
)
def test_pivots_of_the_packaged_bands(name, pivot_aa):
    """The pivots are those of the system throughputs (WFC3 Instrument Handbook), within 0.1 per cent."""
    assert_allclose(load_bandpass(name).pivot.to_value("AA"), pivot_aa, rtol=1e-3)


def test_box_has_a_closed_form():
    """A flat curve: int T l dl = (b^2 - a^2) / 2, and pivot^2 = that over ln(b / a)."""
    box = Bandpass("box", np.array([4000.0, 4001.0, 4500.0, 6000.0]), np.full(4, 0.3))
    assert_allclose(box.photon_integral(6000.0), 0.3 * (6000**2 - 4000**2) / 2, rtol=1e-12)
    assert_allclose(box.pivot_aa, np.sqrt((6000**2 - 4000**2) / 2 / np.log(1.5)), rtol=1e-12)
    assert_allclose(box.photon_integral(np.array([0, 4000, 5000, 9e9])) / box.photon_integral(6000.0), [0, 0, 0.45, 1])


def test_photon_integral_against_a_fine_sum():
    """The exact integral of the piecewise linear curve is what a very fine midpoint sum gives."""
    band = load_bandpass("F555W")
    edges = np.linspace(band.wave_aa[0], 6123.4, 400_001)
    middle = 0.5 * (edges[1:] + edges[:-1])
    expected = (np.interp(middle, band.wave_aa, band.throughput) * middle).sum() * np.diff(edges)[0]
    assert_allclose(band.photon_integral(6123.4), expected, rtol=1e-7)


def test_speclite_bands():
    """SDSS bands have the pivots of Doi et al. (2010)."""
    pytest.importorskip("speclite")
    for name, pivot_aa in {"SDSS_u": 3551, "SDSS_g": 4686, "SDSS_r": 6166, "SDSS_i": 7480, "SDSS_z": 8932}.items():
        assert_allclose(load_bandpass(name).pivot_aa, pivot_aa, rtol=0.012)


def test_own_band_can_be_registered(monkeypatch):
    """A user's band is found by name; taken names are refused unless overwriting is asked."""
    monkeypatch.setattr(bandpass, "_registered", {})
    mine = Bandpass("mine", np.array([5000.0, 5100.0]), np.array([1.0, 1.0]))
    register_bandpass(mine)
    assert load_bandpass("mine") is mine
    assert "mine" in available_bandpasses()
    with pytest.raises(SFHCNNError, match="overwrite=True"):
        register_bandpass(mine)
    register_bandpass(Bandpass("F275W", mine.wave_aa, mine.throughput), overwrite=True)
    assert load_bandpass("F275W").pivot_aa > 5000


def test_refusals():
    """Unknown names list the known ones; malformed curves are named."""
    with pytest.raises(SFHCNNError, match="unknown band 'F999W'; known are F275W, F336W"):
        load_bandpass("F999W")
    wave_aa = np.array([5000.0, 5100.0])
    with pytest.raises(SFHCNNError, match="same length"):
        Bandpass("x", wave_aa, np.ones(3))
    with pytest.raises(SFHCNNError, match="strictly increasing"):
        Bandpass("x", wave_aa[::-1], np.ones(2))
    for throughput in ([0, 0], [1, -1], [1, np.nan]):
        with pytest.raises(SFHCNNError, match="not negative"):
            Bandpass("x", wave_aa, np.array(throughput))


def test_a_band_cannot_be_changed():
    """Bands are shared between users: neither their arrays nor the ones they came from can alter them."""
    wave_aa, throughput = np.array([5000.0, 5100.0]), np.array([1.0, 1.0])
    band = Bandpass("x", wave_aa, throughput)
    throughput[:] = 5
    assert band.throughput[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        band.throughput[0] = 2
