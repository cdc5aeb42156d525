"""Errors from the spectrum itself, where nobody gave them."""

from __future__ import annotations

import numpy as np

__all__ = ["der_snr", "estimate_noise"]


def estimate_noise(flux: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Noise per pixel, from the scatter of each pixel about its second neighbours.

    The median of ``|2 f_i - f_(i-2) - f_(i+2)|``, scaled to a Gaussian's standard deviation (DER_SNR, Stoehr et al.
    2008, ASP Conf. Ser. 394, 505). Lines and continuum slopes hardly matter, and noise that is correlated between
    direct neighbours, as in resampled spectra, is still measured.

    Parameters
    ----------
    flux : ndarray, shape (..., n_wave)
        Flux density.
    mask : ndarray of bool, shape (..., n_wave), optional
        True marks bad pixels; so does flux that is not finite.

    Returns
    -------
    ndarray, shape (...)
        1-sigma noise per pixel in the unit of ``flux``; NaN where fewer than five good pixels in a row remain.
    """
    flux = np.asarray(flux, dtype=float)
    bad = ~np.isfinite(flux)
    if mask is not None:
        bad |= mask
    clean = np.where(bad, np.nan, flux)
    difference = np.abs(2 * clean[..., 2:-2] - clean[..., :-4] - clean[..., 4:])
    known = np.isfinite(difference).any(axis=-1)
    median = np.full(known.shape, np.nan)
    median[known] = np.nanmedian(difference[known], axis=-1)
    # The combination has 6 times the variance of a pixel; 1.482602 turns a median |x| into a standard deviation.
    return 1.482602 / np.sqrt(6) * median


def der_snr(flux: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Signal-to-noise ratio per pixel: the median flux over the noise of `estimate_noise`.

    Parameters
    ----------
    flux : ndarray, shape (..., n_wave)
        Flux density.
    mask : ndarray of bool, shape (..., n_wave), optional
        True marks bad pixels.

    Returns
    -------
    ndarray, shape (...)
        S/N per pixel; NaN where there is no noise estimate or the noise is zero.
    """
    noise = estimate_noise(flux, mask)
    usable = np.isfinite(noise) & (noise > 0)
    snr = np.full(noise.shape, np.nan)
    bad = ~np.isfinite(flux) if mask is None else mask | ~np.isfinite(flux)
    clean = np.where(bad, np.nan, flux)
    snr[usable] = np.nanmedian(clean[usable], axis=-1) / noise[usable]
    return snr
