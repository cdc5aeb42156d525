"""Quantiles between the levels that the network predicts."""

from statistics import NormalDist

import numpy as np

from sfh_cnn.core import SFHCNNError
from sfh_cnn.core.constants import QUANTILE_LEVELS

__all__ = ["interpolate_quantiles", "tails"]

#: A level this close to a stored one is that level: 0.6827 means 1 sigma.
_SAME_LEVEL = 1e-4


def tails(level):
    """Lower and upper probability of a central interval.

    Parameters
    ----------
    level : float
        Share of the probability inside, between 0 and 1.

    Returns
    -------
    tuple of float

    Raises
    ------
    SFHCNNError
        If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise SFHCNNError(f"level is the share of probability inside the interval, between 0 and 1, got {level}")
    return (1 - level) / 2, (1 + level) / 2


def interpolate_quantiles(quantiles, probability):
    """Value of the quantile function at any probability inside the stored levels.

    The quantile function is linear between stored levels in the probit of the probability, which is
    exact for a Gaussian.

    Parameters
    ----------
    quantiles : ndarray, shape (..., 7)
        Values at `sfh_cnn.core.constants.QUANTILE_LEVELS`.
    probability : float
        Between the first and last stored level.

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    SFHCNNError
        If ``probability`` lies beyond the stored levels, where only draws can tell.
    """
    levels = np.asarray(QUANTILE_LEVELS)
    nearest = int(np.argmin(np.abs(levels - probability)))
    if abs(levels[nearest] - probability) < _SAME_LEVEL:
        return quantiles[..., nearest]
    if not levels[0] < probability < levels[-1]:
        raise SFHCNNError(
            f"the stored quantiles reach from {levels[0]:.4f} to {levels[-1]:.4f}, {probability:.4f} was asked; "
            "use a level up to 0.9545, or np.quantile on draws()"
        )
    upper = int(np.searchsorted(levels, probability))
    probit = NormalDist().inv_cdf
    low, high = probit(levels[upper - 1]), probit(levels[upper])
    part = (probit(probability) - low) / (high - low)
    return quantiles[..., upper - 1] * (1 - part) + quantiles[..., upper] * part
