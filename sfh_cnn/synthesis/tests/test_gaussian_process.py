"""Gaussian processes against their kernels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.synthesis.gaussian_process import bin_log_ages, rough_noise, smooth_noise


@pytest.mark.parametrize(
    ("draw", "kernel"),
    [
        (smooth_noise, lambda x: (1 + np.sqrt(3) * x) * np.exp(-np.sqrt(3) * x)),
        (rough_noise, lambda x: np.exp(-x)),
    ],
)
def test_covariance_is_the_kernel(draw, kernel):
    """Over many curves the covariance is the kernel that the docstring states, on an uneven grid."""
    x = np.array([0.0, 0.03, 0.1, 0.5, 0.55, 1.5, 3.0])
    n = 200_000
    curves = draw(np.random.default_rng(1), x, np.full(n, 0.4))
    assert_allclose(np.cov(curves.T), kernel(np.abs(x[:, None] - x) / 0.4), atol=5 * np.sqrt(2 / n))
    assert_allclose(curves.mean(axis=0), 0, atol=5 / np.sqrt(n))


@pytest.mark.parametrize("draw", [smooth_noise, rough_noise])
def test_each_curve_has_its_own_length(draw):
    """A long correlation length gives a flat curve beside a rough one."""
    length = np.array([1e4, 0.05])
    curves = draw(np.random.default_rng(1), np.linspace(0, 3, 60), length)
    assert np.ptp(curves[0]) < 0.1
    assert np.std(curves[1]) > 0.5


def test_bin_log_ages_are_finite_at_age_zero():
    """The bin that starts at 0 stands at the log of its middle."""
    assert_allclose(bin_log_ages(np.array([0.0, 2e6, 4e6])), [6, np.log10(3e6)])
