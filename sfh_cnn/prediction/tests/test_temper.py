"""Tempered chains against a posterior in closed form, and the effective sample size against known populations."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.special import ndtri

from sfh_cnn.prediction.temper import Population, effective_sample_size, temper


def linear_gaussian(seed, n_par=5, n_data=20, noise=0.2):
    """Likelihood of uniform numbers for x = A theta + noise with theta standard normal, and the exact posterior."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n_data, n_par))
    data = matrix @ rng.standard_normal(n_par) + noise * rng.standard_normal(n_data)
    covariance = np.linalg.inv(np.eye(n_par) + matrix.T @ matrix / noise**2)

    def log_likelihood(numbers):
        theta = ndtri(np.clip(numbers, 1e-12, 1 - 1e-12))
        return -0.5 * np.sum((data - theta @ matrix.T) ** 2, axis=1) / noise**2

    return log_likelihood, covariance @ matrix.T @ data / noise**2, covariance


def drawn(log_likelihood, rng, *shape):
    """Uniform numbers with their likelihoods."""
    numbers = rng.random(shape)
    return Population(numbers, log_likelihood(numbers.reshape(-1, shape[-1])).reshape(shape[:2]))


def one_kind(numbers):
    """All particles are alike."""
    return np.zeros((len(numbers), 1), dtype=int)


def all_matter(n_number):
    """Every number matters."""
    return lambda kind: np.ones((len(kind), 1, n_number), dtype=bool)


def test_posterior_of_a_linear_gaussian_problem():
    """Mean, width and correlations are those of the closed form, as well as the effective sample size says."""
    log_likelihood, mean, covariance = linear_gaussian(1)
    rng = np.random.default_rng(2)
    start = drawn(log_likelihood, rng, 6, 2048, 5)
    population = temper(log_likelihood, one_kind, all_matter(5), start, 64, 150, rng)
    assert population.numbers.shape[::2] == (6, 5)
    assert_allclose(log_likelihood(population.numbers.reshape(-1, 5)), population.log_likelihood.ravel())
    theta = ndtri(population.numbers)
    size = effective_sample_size(theta)
    assert size > 60
    off = (theta.mean(axis=(0, 1)) - mean) / np.sqrt(np.diag(covariance))
    assert np.sqrt(np.mean(off**2)) < 3 / np.sqrt(size)
    found = np.cov(theta.reshape(-1, 5).T)
    assert_allclose(np.sqrt(np.diag(found)), np.sqrt(np.diag(covariance)), rtol=0.15)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert_allclose(found / scale, covariance / scale, atol=0.25)


def test_two_modes_keep_their_weights():
    """Kinds that differ by three in their likelihood end with shares of three to one."""

    def log_likelihood(numbers):
        return np.where(numbers[:, 0] < 0.5, np.log(3.0), 0.0) - 0.5 * ((numbers[:, 1] - 0.5) / 0.05) ** 2

    def kind(numbers):
        return (numbers[:, :1] > 0.5).astype(int)

    rng = np.random.default_rng(3)
    population = temper(log_likelihood, kind, all_matter(2), drawn(log_likelihood, rng, 4, 1024, 2), 64, 80, rng)
    assert_allclose(np.mean(population.numbers[..., 0] < 0.5), 0.75, atol=0.06)
    assert_allclose(population.numbers[..., 1].std(), 0.05, rtol=0.15)


def test_sample_size_of_independent_draws():
    """Of independent draws it is their number, within the scatter of so few islands."""
    values = np.random.default_rng(0).standard_normal((8, 100, 20))
    assert 500 < effective_sample_size(values) <= 800


def test_sample_size_of_islands_that_disagree():
    """Islands that each found a place of their own count as one draw each, however many draws they hold."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((8, 1, 20)) + 0.01 * rng.standard_normal((8, 500, 20))
    assert 5 < effective_sample_size(values) < 9
