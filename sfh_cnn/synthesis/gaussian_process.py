"""Draws of Gaussian processes with another correlation length for each curve."""

import numpy as np

__all__ = ["bin_log_ages", "rough_noise", "smooth_noise"]


def bin_log_ages(edges_yr):
    """log10(age/yr) at the middle of each bin, shape (n_fine,); finite for the bin that starts at 0."""
    return np.log10(0.5 * (edges_yr[:-1] + edges_yr[1:]))


def smooth_noise(rng, x, length):
    """Curves of zero mean and unit variance from a Gaussian process with a Matern-3/2 kernel.

    The kernel is (1 + a) exp(-a) with a = sqrt(3) |x - x'| / length. It is Markovian in the value
    and its slope (Hartikainen & Sarkka 2010, IEEE MLSP), so that a walk along ``x`` gives exact
    draws with no covariance matrix to factorise.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    x : ndarray, shape (n_x,)
        Increasing positions.
    length : ndarray, shape (n,)
        Correlation length of each curve, in units of ``x``.

    Returns
    -------
    ndarray, shape (n, n_x)
    """
    step = np.sqrt(3) * np.diff(x)[:, None] / length  # (n_x - 1, n)
    decay = np.exp(-step)
    # State (value, slope * length / sqrt(3)) has unit covariance I; a step multiplies it by
    # A = decay [[1 + a, a], [-a, 1 - a]] and adds noise of covariance I - A A^T = L L^T.
    noise_11 = np.sqrt(np.clip(1 - decay**2 * (1 + 2 * step + 2 * step**2), 1e-30, None))
    noise_21 = 2 * decay**2 * step**2 / noise_11
    noise_22 = np.sqrt(np.clip(1 - decay**2 * (1 - 2 * step + 2 * step**2) - noise_21**2, 0, None))
    kick = rng.standard_normal((len(x), 2, len(length)))
    curve = np.empty((len(x), len(length)))
    value, slope = kick[0]
    curve[0] = value
    for i in range(len(x) - 1):
        a = step[i]
        turned = decay[i] * ((1 - a) * slope - a * value) + noise_21[i] * kick[i + 1, 0]
        value = decay[i] * (value + a * (value + slope)) + noise_11[i] * kick[i + 1, 0]
        slope = turned + noise_22[i] * kick[i + 1, 1]
        curve[i + 1] = value
    return curve.T


def rough_noise(rng, x, length):
    """Curves of zero mean and unit variance from a Gaussian process with the kernel exp(-|x - x'| / length).

    This is the Ornstein-Uhlenbeck process, a damped random walk: continuous, but with no slope
    anywhere.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness.
    x : ndarray, shape (n_x,)
        Increasing positions.
    length : ndarray, shape (n,)
        Correlation length of each curve, in units of ``x``.

    Returns
    -------
    ndarray, shape (n, n_x)
    """
    decay = np.exp(-np.diff(x)[:, None] / length)
    noise = np.sqrt(1 - decay**2)
    curve = rng.standard_normal((len(x), len(length)))
    for i in range(len(x) - 1):
        curve[i + 1] = decay[i] * curve[i] + noise[i] * curve[i + 1]
    return curve.T
