"""Scores of the means: robust, and signed as prediction minus truth."""

import numpy as np
import pytest

from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.training import MEANS, mad_std, mean_scores


def test_mad_is_the_sigma_of_a_gaussian_and_blind_to_tails():
    """A tenth of wild outliers moves it by a tenth or so."""
    sample = 0.3 * np.random.default_rng(0).standard_normal(100_000) + 5
    assert mad_std(sample) == pytest.approx(0.3, rel=0.01)
    sample[::10] = 1e6
    assert mad_std(sample) == pytest.approx(0.3, rel=0.2)


def test_scores_of_the_four_means():
    """Bias and scatter come back; the means are the first four scalars."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((20_000, 4))
    estimate = truth + np.array([0.1, -0.2, 0.0, 0.3]) + 0.05 * rng.standard_normal(truth.shape)
    scores = mean_scores(estimate, truth)
    assert tuple(scores) == MEANS == SCALAR_NAMES[:4]
    for name, bias in zip(MEANS, (0.1, -0.2, 0.0, 0.3), strict=True):
        assert scores[name]["bias"] == pytest.approx(bias, abs=0.002)
        assert scores[name]["scatter"] == pytest.approx(0.05, rel=0.03)
        assert scores[name]["std"] == pytest.approx(0.05, rel=0.03)
