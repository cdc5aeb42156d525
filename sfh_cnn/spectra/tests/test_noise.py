"""DER_SNR against noise of known size."""

import numpy as np
from numpy.testing import assert_allclose

from sfh_cnn.spectra import der_snr, estimate_noise

WAVE_AA = np.arange(4800.0, 7000.0, 1.25)


def spectra(n_spec, noise, seed=1):
    """A sloping continuum of 10 with an absorption line, plus white noise."""
    signal = 10 + (WAVE_AA - 5900) / 1000 - 3 * np.exp(-0.5 * ((WAVE_AA - 5270) / 6) ** 2)
    return signal + np.random.default_rng(seed).normal(0, noise, (n_spec, len(WAVE_AA)))


def test_noise_of_known_size_is_found():
    """The mean estimate over many spectra is the truth within one per cent; each within ten."""
    noise = estimate_noise(spectra(200, 0.3))
    assert_allclose(noise.mean(), 0.3, rtol=0.01)
    assert_allclose(noise, 0.3, rtol=0.15)
    assert_allclose(der_snr(spectra(200, 0.3)).mean(), 10 / 0.3, rtol=0.01)


def test_noise_correlated_between_neighbours_is_not_underrated():
    """White noise averaged over adjacent pairs: second neighbours are independent, so the pixel noise is found."""
    white = spectra(100, 0.4)
    pairs = 0.5 * (white[:, 1:] + white[:, :-1])
    assert_allclose(estimate_noise(pairs).mean(), 0.4 / np.sqrt(2), rtol=0.02)


def test_bad_pixels_do_not_count():
    """Cosmic rays that are masked or NaN change little; too few pixels give NaN; units carry over."""
    flux = spectra(3, 0.3)
    expected = estimate_noise(flux)
    mask = np.zeros(flux.shape, dtype=bool)
    mask[0, 300:330] = True
    flux[0, 300:330] = 1e6
    flux[1, 500:520] = np.nan
    assert_allclose(estimate_noise(flux, mask), expected, rtol=0.03)
    assert np.isfinite(der_snr(flux, mask)).all()
    mask[2, 3:] = True
    assert np.isnan(estimate_noise(flux, mask)[2])
    assert np.isnan(der_snr(flux, mask)[2])
    assert_allclose(estimate_noise(1e-20 * flux[0], mask[0]), 1e-20 * expected[0], rtol=0.03)
