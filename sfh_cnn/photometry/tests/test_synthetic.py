"""Synthetic photometry against fine sums and closed forms."""

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError, pixel_edges
from sfh_cnn.photometry import band_flux, band_matrix, load_bandpass

BANDS = ["F275W", "F336W", "F438W", "F555W", "F814W"]


def spectrum(wave_aa):
    """A smooth spectrum with a 4000 A break, broad lines and a steep ultraviolet."""
    continuum = (wave_aa / 5000) ** -1.7 * (1 + 0.8 * np.tanh((wave_aa - 3950) / 40))
    return continuum * (1 - 0.5 * np.exp(-0.5 * ((wave_aa - 5175) / 15) ** 2))


def photon_mean(band, redshift, flux=spectrum):
    """The definition, summed over a fine observed grid."""
    wave_obs_aa = np.linspace(band.wave_aa[0], band.wave_aa[-1], 200_001)
    weight = np.interp(wave_obs_aa, band.wave_aa, band.throughput) * wave_obs_aa
    return (flux(wave_obs_aa / (1 + redshift)) * weight).sum() / weight.sum()


@pytest.mark.parametrize("redshift", [-0.001, 0.0, 0.0213, 0.1])
@pytest.mark.parametrize("step_aa", [1.25, 10.0])
def test_band_flux_within_two_millimagnitudes_of_a_fine_sum(redshift, step_aa):
    """Rest-frame pixels of 10 Angstrom are as good as fine ones."""
    wave_aa = np.arange(1900.0, 11000.0, step_aa)
    edges = pixel_edges(wave_aa)
    fine = np.linspace(edges[0], edges[-1], 16 * len(wave_aa) + 1)
    flux = spectrum(0.5 * (fine[1:] + fine[:-1])).reshape(-1, 16).mean(axis=1)  # means over the pixels
    measured = flux @ band_matrix(wave_aa, BANDS, redshift)
    expected = [photon_mean(load_bandpass(name), redshift) for name in BANDS]
    assert_allclose(2.5 * np.log10(measured / expected), 0, atol=0.002)


def test_irregular_pixels_given_by_their_edges():
    """Pixels of any width give the same as regular ones when the flux is constant in them."""
    edges = np.sort(np.random.default_rng(1).uniform(1900, 11000, 3000))
    edges[[0, -1]] = 1900, 11000
    matrix = band_matrix(None, BANDS, 0.05, wave_edges_aa=edges)
    flux = spectrum(0.5 * (edges[1:] + edges[:-1]))
    expected = [
        photon_mean(load_bandpass(name), 0.05, lambda wave: flux[np.searchsorted(edges, wave) - 1]) for name in BANDS
    ]
    assert_allclose(flux @ matrix, expected, rtol=2e-4)


def test_many_redshifts_at_once():
    """An array of redshifts gives the stack of the single matrices."""
    wave_aa, redshifts = np.arange(1900.0, 11000.0, 20.0), np.array([0.0, 0.03, 0.1])
    stack = band_matrix(wave_aa, BANDS, redshifts)
    assert stack.shape == (3, len(wave_aa), 5)
    for one, redshift in zip(stack, redshifts, strict=True):
        assert_allclose(one, band_matrix(wave_aa, BANDS, redshift), atol=1e-15)


def test_columns_sum_to_the_covered_share():
    """A flat spectrum keeps its value; half a band gives half its photons."""
    assert_allclose(band_matrix(np.arange(1900.0, 11000.0, 10.0), BANDS, 0.02).sum(axis=0), 1, rtol=1e-12)
    band = load_bandpass("F555W")
    half = band_matrix(None, [band], wave_edges_aa=np.array([3000.0, 5000.0, band.pivot_aa])).sum()
    assert_allclose(half, band.photon_integral(band.pivot_aa) / band.photon_integral(1e5), rtol=1e-12)


def test_narrow_line_in_a_band():
    """A line of flux F adds F l T(l) / int T l dl."""
    band, wave_aa = load_bandpass("F814W"), np.arange(6500.0, 10000.0, 0.5)
    line = np.exp(-0.5 * ((wave_aa - 7511.3) / 1.0) ** 2) / np.sqrt(2 * np.pi)
    expected = 7511.3 * np.interp(7511.3, band.wave_aa, band.throughput) / band.photon_integral(1e5)
    assert_allclose(line @ band_matrix(wave_aa, [band])[:, 0], expected, rtol=1e-4)


def test_any_unit_gives_the_same():
    """f_nu in mJy against nm is f_lambda against Angstrom; the redshift takes the axis to the observed frame."""
    wave = np.arange(3000.0, 9000.0, 2.0) * u.AA
    flux = spectrum(wave.value) * 1e-16 * u.Unit("erg s-1 cm-2 AA-1")
    direct = band_flux(wave, flux, "F555W")
    assert direct.unit == u.Unit("erg s-1 cm-2 AA-1")
    in_mjy = flux.to(u.mJy, u.spectral_density(wave))
    assert_allclose(band_flux(wave.to(u.nm), in_mjy, "F555W"), direct, rtol=1e-10)
    shifted = band_flux(wave / 1.05, in_mjy, "F555W", redshift=0.05)
    assert_allclose(shifted, direct, rtol=1e-10)
    assert band_flux(wave, np.stack([flux, 2 * flux]), "F555W").shape == (2,)


def test_refusals():
    """Missing coverage and missing units are said, not guessed."""
    wave = np.arange(4700.0, 9000.0, 5.0) * u.AA
    with pytest.raises(SFHCNNError, match="per cent of band F555W"):
        band_flux(wave, np.ones(len(wave)) * u.Jy, "F555W")
    with pytest.raises(u.UnitTypeError, match="flux needs a unit"):
        band_flux(wave, np.ones(len(wave)), "F814W")
    with pytest.raises(SFHCNNError, match="increasing"):
        band_matrix(wave.value[::-1], BANDS)
