"""The replayed prior is the prior: the same distribution, and a function of its numbers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ks_2samp

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction.replay import ReplayedPrior, _Replay
from sfh_cnn.synthesis import draw_mass_fraction, draw_metallicity
from sfh_cnn.tests.small import small_generator


@pytest.fixture(scope="module")
def prior():
    """For two libraries."""
    generator = small_generator()
    return ReplayedPrior(generator.config, generator.grid.edges_yr, 2, (-2.0, 0.4))


def test_a_history_depends_on_its_own_numbers_only(prior):
    """Alone and among others it is the same, whatever family it belongs to."""
    numbers = np.random.default_rng(1).random((120, prior.n_number))
    history = prior(numbers)
    for row in range(0, 120, 3):
        for key, value in prior(numbers[[row]]).items():
            assert_allclose(value[0], history[key][row], rtol=1e-12, atol=1e-14)


def test_numbers_that_do_not_matter_do_not_matter(prior):
    """Only the active ones change a history."""
    rng = np.random.default_rng(2)
    numbers = rng.random((80, prior.n_number))
    active = prior.active(prior.kind(numbers)).any(axis=1)
    assert 10 < active.sum(axis=1).min() < active.sum(axis=1).max() <= prior.n_number
    other = np.where(active, numbers, rng.random(numbers.shape))
    for key, value in prior(numbers).items():
        assert_array_equal(prior(other)[key], value)


def test_the_distribution_is_that_of_the_prior(prior):
    """Kolmogorov-Smirnov against draws with a generator of numpy's own."""
    generator, n = small_generator(), 4000
    edges_yr, config = generator.grid.edges_yr, generator.config
    rng = np.random.default_rng(3)
    history = prior(rng.random((n, prior.n_number)))
    mass, _ = draw_mass_fraction(rng, n, edges_yr, config.sfh)
    metallicity, _ = draw_metallicity(rng, mass, edges_yr, config.metallicity)
    log_age = np.log10(0.5 * (edges_yr[1:] + edges_yr[:-1]))
    pairs = [
        (history["mass"] @ log_age, mass @ log_age),
        ((history["mass"] * history["fine_metallicity"]).sum(axis=1), (mass * metallicity).sum(axis=1)),
        (history["fine_metallicity"].std(axis=1), metallicity.std(axis=1)),
        ((history["mass"] ** 2).sum(axis=1), (mass**2).sum(axis=1)),
    ]
    for ours, direct in pairs:
        assert ks_2samp(ours, direct).pvalue > 1e-3
    assert_allclose(history["shares"].sum(axis=1), 1.0, rtol=1e-6)


def test_gamma_numbers_follow_the_gamma_distribution():
    """Far below 1, too, where most of the probability is close to 0."""
    rng = np.random.default_rng(4)
    shape = np.full((3000, 1), 0.2)
    assert ks_2samp(_Replay(rng.random((3000, 2))).standard_gamma(shape)[:, 0], rng.gamma(0.2, size=3000)).pvalue > 1e-3


def test_running_out_of_numbers_is_an_error():
    """And not a repetition."""
    with pytest.raises(SFHCNNError, match="more than 3 numbers"):
        _Replay(np.full((2, 3), 0.5)).random((2, 4))
