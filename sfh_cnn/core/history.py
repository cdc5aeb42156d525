"""Derived quantities of a star formation history; truth and prediction share these kernels.

All arrays are plain; the last axis runs over the age bins, youngest first.
"""

import numpy as np

__all__ = ["cumulative_mass", "formation_time", "mean_log_age", "mean_metallicity", "recent_fraction"]


def mean_log_age(fraction, log_age_dex):
    """Mean of log10(age/yr), weighted by mass or light.

    Parameters
    ----------
    fraction : ndarray, shape (..., n_age)
        Mass or light fractions; the last axis sums to 1.
    log_age_dex : ndarray, shape (n_age,)
        Representative log10(age/yr) of the bins.

    Returns
    -------
    ndarray, shape (...)
        Mean log10(age/yr), dex.
    """
    return np.asarray(fraction) @ log_age_dex


def mean_metallicity(fraction, metallicity_dex):
    """Mean [M/H], weighted by mass or light.

    Parameters
    ----------
    fraction, metallicity_dex : ndarray, shape (..., n_age)
        Fractions that sum to 1 and the [M/H] of each bin, dex.

    Returns
    -------
    ndarray, shape (...)
        Mean [M/H], dex.
    """
    return np.sum(np.asarray(fraction) * metallicity_dex, axis=-1)


def cumulative_mass(mass_fraction):
    """Share of the mass formed before each bin edge, going forward in time.

    Parameters
    ----------
    mass_fraction : ndarray, shape (..., n_age)
        Mass fractions, youngest bin first.

    Returns
    -------
    ndarray, shape (..., n_age + 1)
        Share formed earlier than lookback time ``edges[i]``: 1 at the youngest edge, 0 at the oldest.
    """
    mass_fraction = np.asarray(mass_fraction)
    total = np.cumsum(mass_fraction[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([total, np.zeros_like(total[..., :1])], axis=-1)


def formation_time(mass_fraction, edges_yr, share):
    """Lookback time by which a share of the mass had formed (t50, t80, t90).

    Parameters
    ----------
    mass_fraction : ndarray, shape (..., n_age)
        Mass fractions, youngest bin first.
    edges_yr : ndarray, shape (n_age + 1,)
        Bin edges in yr; the SFR is constant inside a bin.
    share : float
        Between 0 and 1; 0.5 gives t50.

    Returns
    -------
    ndarray, shape (...)
        Lookback time in yr.
    """
    formed = cumulative_mass(mass_fraction)
    flat = formed.reshape(-1, formed.shape[-1])
    # The mass formed decreases with lookback time: find the bin whose edges bracket the share.
    upper = np.clip(np.sum(flat >= share, axis=-1), 1, flat.shape[-1] - 1)
    rows = np.arange(len(flat))
    here, before = flat[rows, upper - 1], flat[rows, upper]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(here > before, (here - share) / (here - before), 0.0)
    time = edges_yr[upper - 1] + part * (edges_yr[upper] - edges_yr[upper - 1])
    time = np.where(np.isfinite(flat).all(axis=-1), time, np.nan)
    return time.reshape(formed.shape[:-1])


def recent_fraction(mass_fraction, edges_yr, time_yr):
    """Share of the mass formed in the last ``time_yr``.

    Parameters
    ----------
    mass_fraction : ndarray, shape (..., n_age)
        Mass fractions, youngest bin first.
    edges_yr : ndarray, shape (n_age + 1,)
        Bin edges in yr; the SFR is constant inside a bin.
    time_yr : float
        Lookback time in yr.

    Returns
    -------
    ndarray, shape (...)
    """
    inside = np.clip(time_yr - edges_yr[:-1], 0, np.diff(edges_yr)) / np.diff(edges_yr)
    return np.asarray(mass_fraction) @ inside
