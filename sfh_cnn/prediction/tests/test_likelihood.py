"""The likelihood of histories against the sum over dust that it stands for."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from sfh_cnn.prediction.dust_terms import DustTerms
from sfh_cnn.prediction.likelihood import HistoryLikelihood, stellar_states
from sfh_cnn.prediction.replay import ReplayedPrior
from sfh_cnn.synthesis import draw_dust
from sfh_cnn.tests.small import small_generator

from .test_observed import Mock, chi2

N = 4


class Case:
    """Histories near the true one, their fast likelihood, and chi2 at any dust, written out."""

    def __init__(self, snr, calibration_error=0.0):
        generator = small_generator()
        self.terms = DustTerms(generator)
        self.observed = Mock(snr=snr).observed(calibration_error)
        prior = ReplayedPrior(generator.config, generator.grid.edges_yr, 1, (-2.0, 0.4))
        rng = np.random.default_rng(0)
        sample = prior(rng.random((300, prior.n_number))), draw_dust(rng, 300, generator.config.dust)
        self.likelihood = HistoryLikelihood([self.observed], self.terms, sample)
        # The closest of many histories, young ones behind birth clouds among them.
        many = prior(rng.random((400, prior.n_number)))
        cloud = rng.integers(0, len(self.terms.cloud_factor), 400)
        value = self.likelihood(*stellar_states(generator.grid, many), cloud, 0 * cloud)
        best = np.argsort(value)[-N:]
        self.history = {key: part[best] for key, part in many.items()}
        self.cloud, self.value = cloud[best], value[best]
        self.states = stellar_states(generator.grid, self.history)

    @functools.cached_property
    def over_dust(self, n=750):
        """Log prior times likelihood (n, law, A_V) at the middles of fine cells in A_V."""
        edges = np.linspace(0, 3, n + 1)
        middle = 0.5 * (edges[1:] + edges[:-1])
        log_prior = np.log(np.diff(self.terms.a_v_cumulative(edges)))
        out = np.empty((N, len(self.terms.log_law_weight), n))
        for i in range(N):
            history = {key: np.repeat(part[[i]], n, axis=0) for key, part in self.history.items()}
            for law, weight in enumerate(self.terms.log_law_weight):
                dust = (np.full(n, law), middle, middle * self.terms.cloud_factor[self.cloud[i]])
                out[i, law] = weight + log_prior - 0.5 * chi2(self.observed, self.observed.models(history, dust))
        return middle, out


@pytest.fixture(scope="module", params=[(15.0, 0.01), (80.0, 0.0)], ids=["faint", "bright"])
def case(request):
    """A noisy spectrum, where the dust is not sure, and a clean one, where it is."""
    return Case(*request.param)


def test_likelihood_is_the_sum_over_the_dust(case):
    """To a tenth of a unit of log likelihood, relative to the best history."""
    _, log_mass = case.over_dust
    assert_allclose(case.value, logsumexp(log_mass, axis=(1, 2)), atol=0.12)


def test_dust_follows_its_posterior(case):
    """Shares of the laws, mean and width of A_V."""
    a_v, log_mass = case.over_dust
    mass = np.exp(log_mass - logsumexp(log_mass, axis=(1, 2), keepdims=True))
    n, rng = 600, np.random.default_rng(2)
    states = (np.repeat(part, n, axis=0) for part in case.states)
    law, drawn, extra = case.likelihood.draw_dust(*states, np.repeat(case.cloud, n), np.zeros(N * n, int), rng)
    law, drawn, extra = (part.reshape(N, n) for part in (law, drawn, extra))
    for i in range(N):
        assert_allclose(np.bincount(law[i], minlength=mass.shape[1]) / n, mass[i].sum(axis=1), atol=0.08)
        mean = np.sum(mass[i] * a_v)
        width = np.sqrt(np.sum(mass[i] * (a_v - mean) ** 2))
        assert_allclose(drawn[i].mean(), mean, atol=0.15 * width)
        assert_allclose(drawn[i].std(), width, rtol=0.15)
        assert_allclose(extra[i], drawn[i] * case.terms.cloud_factor[case.cloud[i]])


def test_order_and_company_do_not_matter(case):
    """A history has the same likelihood alone and among others."""
    for i in range(N):
        alone = case.likelihood(*(part[[i]] for part in case.states), case.cloud[[i]], np.zeros(1, int))
        assert_allclose(alone, case.value[i], atol=1e-3)


def test_each_dispersion_has_its_own_likelihood():
    """Histories go to the stars that they are told, in any order."""
    case = Case(60.0)
    each = [case.observed.with_dispersion(sigma_kms) for sigma_kms in (40.0, 200.0)]
    generator = small_generator()
    prior = ReplayedPrior(generator.config, generator.grid.edges_yr, 1, (-2.0, 0.4))
    rng = np.random.default_rng(3)
    sample = prior(rng.random((300, prior.n_number))), draw_dust(rng, 300, generator.config.dust)
    both = HistoryLikelihood(each, case.terms, sample)
    which = np.array([1, 0, 0, 1])
    expected = [HistoryLikelihood([one], case.terms, sample)(*case.states, case.cloud, 0 * which) for one in each]
    assert_allclose(both(*case.states, case.cloud, which), np.choose(which, expected))
    assert np.abs(expected[1] - expected[0]).min() > 0.5
    parts = both.draw_dust(*case.states, case.cloud, which, np.random.default_rng(4))
    assert [len(part) for part in parts] == [N, N, N]
