"""Physical scores while training: bias and scatter of the four means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core.constants import SCALAR_NAMES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["MEANS", "mad_std", "mean_scores"]

#: The four means that users read first.
MEANS = SCALAR_NAMES[:4]


def mad_std(values: ArrayLike) -> float:
    """1.4826 times the median absolute deviation from the median: sigma of a Gaussian, blind to tails."""
    values = np.asarray(values)
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def mean_scores(estimate: ArrayLike, truth: ArrayLike) -> dict[str, dict[str, float]]:
    """Bias, robust scatter and standard deviation of each of the four means.

    Parameters
    ----------
    estimate, truth : ndarray, shape (n_spec, 4)
        Medians and truth, dex.

    Returns
    -------
    dict
        ``{name: {"bias": ..., "scatter": ..., "std": ...}}``, dex.
    """
    error = np.asarray(estimate) - np.asarray(truth)
    return {
        name: {
            "bias": float(np.median(error[:, i])),
            "scatter": mad_std(error[:, i]),
            "std": float(np.std(error[:, i])),
        }
        for i, name in enumerate(MEANS)
    }
