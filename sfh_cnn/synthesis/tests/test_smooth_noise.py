"""The Gaussian process against its kernel."""

import numpy as np
from numpy.testing import assert_allclose

from sfh_cnn.synthesis.smooth_noise import bin_log_ages, smooth_noise


def test_covariance_is_matern_three_halves():
    """Over many curves the covariance is the kernel that the docstring states, on an uneven grid."""
    x = np.array([0.0, 0.03, 0.1, 0.5, 0.55, 1.5, 3.0])
    n = 200_000
    curves = smooth_noise(np.random.default_rng(1), x, np.full(n, 0.4))
    distance = np.sqrt(3) * np.abs(x[:, None] - x) / 0.4
    assert_allclose(np.cov(curves.T), (1 + distance) * np.exp(-distance), atol=5 * np.sqrt(2 / n))
    assert_allclose(curves.mean(axis=0), 0, atol=5 / np.sqrt(n))


def test_each_curve_has_its_own_length():
    """A long correlation length gives a flat curve beside a rough one."""
    length = np.array([1e4, 0.05])
    curves = smooth_noise(np.random.default_rng(1), np.linspace(0, 3, 60), length)
    assert np.ptp(curves[0]) < 1e-2
    assert np.std(curves[1]) > 0.5


def test_bin_log_ages_are_finite_at_age_zero():
    """The bin that starts at 0 stands at the log of its middle."""
    assert_allclose(bin_log_ages(np.array([0.0, 2e6, 4e6])), [6, np.log10(3e6)])
