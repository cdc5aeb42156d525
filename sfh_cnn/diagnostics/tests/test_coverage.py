"""Ranks and TARP on Gaussians whose posterior is known: the right one passes, wrong ones do not."""

from typing import cast

import numpy as np
import pytest
from scipy import stats

from sfh_cnn.core import SFHCNNError
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.diagnostics import joint_coverage, sbc_ranks, tarp_coverage
from sfh_cnn.diagnostics.coverage import _quantities
from sfh_cnn.network import Artifact
from sfh_cnn.prediction import Engine
from sfh_cnn.tests.small import NETWORK, small_generator, small_network
from sfh_cnn.training import build_templates, held_out_mocks

N, N_DRAW, N_DIM = 3000, 200, 3
#: Prior and noise, both correlated.
PRIOR = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, -0.4], [0.0, -0.4, 2.0]])
NOISE = np.array([[0.5, 0.4, 0.2], [0.4, 0.5, 0.2], [0.2, 0.2, 0.3]])


def toy(width=1.0, shift=0.0):
    """Truth from the prior, noisy data, and draws from the posterior, or from one that is wrong as told."""
    rng = np.random.default_rng(0)
    truth = rng.multivariate_normal(np.zeros(N_DIM), PRIOR, N)
    data = truth + rng.multivariate_normal(np.zeros(N_DIM), NOISE, N)
    gain = PRIOR @ np.linalg.inv(PRIOR + NOISE)
    covariance = (np.eye(N_DIM) - gain) @ PRIOR
    noise = rng.multivariate_normal(np.zeros(N_DIM), width**2 * covariance, (N, N_DRAW))
    return (data @ gain.T)[:, None] + shift + noise, truth


def test_ranks_of_the_right_posterior_are_even():
    """Kolmogorov-Smirnov, dimension by dimension."""
    ranks = sbc_ranks(*toy())
    assert ranks.shape == (N, N_DIM)
    assert min(stats.kstest(ranks[:, i], "uniform").pvalue for i in range(N_DIM)) > 0.01


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_ranks_of_narrow_and_wide_posteriors(width):
    """The central 68.27 per cent of draws hold what a Gaussian has within ``width`` sigma."""
    ranks = sbc_ranks(*toy(width=width))
    inside = np.mean(np.abs(ranks - 0.5) < 0.6827 / 2)
    assert inside == pytest.approx(stats.norm.cdf(width) - stats.norm.cdf(-width), abs=0.02)


def test_ranks_of_a_shifted_posterior():
    """Draws too high: the truth ranks low."""
    assert sbc_ranks(*toy(shift=0.5)).mean() < 0.35


def test_ties_are_broken_evenly():
    """A quantity that is 0 in truth and in all draws has even ranks, not all the lowest."""
    ranks = sbc_ranks(np.zeros((5000, 20)), np.zeros(5000))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01


def test_tarp_of_the_right_posterior_is_the_diagonal():
    """Within what N spectra can tell."""
    level, coverage = tarp_coverage(*toy())
    assert level[0] == 0
    assert level[-1] == coverage[-1] == 1
    assert np.abs(coverage - level).max() < 1.63 / np.sqrt(N)


@pytest.mark.parametrize("wrong", [{"width": 0.5}, {"width": 2.0}, {"shift": 0.6}])
def test_tarp_sees_wrong_widths_and_places(wrong):
    """Far beyond chance."""
    level, coverage = tarp_coverage(*toy(**wrong))
    assert np.abs(coverage - level).max() > 3 * 1.63 / np.sqrt(N)


def test_tarp_sees_wrong_correlations_where_ranks_do_not():
    """The margins are right, the joint distribution is not."""
    rng = np.random.default_rng(0)
    mean = 2 * rng.standard_normal((N, 4))
    truth = rng.multivariate_normal(np.zeros(4), 0.05 * np.eye(4) + 0.95, N) + mean  # all four rise together
    draws = mean[:, None] + rng.standard_normal((N, N_DRAW, 4))  # each on its own
    ranks = sbc_ranks(draws, truth)
    assert min(stats.kstest(ranks[:, i], "uniform").pvalue for i in range(4)) > 0.01
    level, coverage = tarp_coverage(draws, truth)
    assert np.abs(coverage - level).max() > 2 * 1.63 / np.sqrt(N)


def test_shapes_are_checked():
    """With both shapes in the message."""
    with pytest.raises(SFHCNNError, match=r"\(4, 7, 2\) need the shape of the truth \(4, 3\)"):
        sbc_ranks(np.zeros((4, 7, 2)), np.zeros((4, 3)))
    with pytest.raises(SFHCNNError, match=r"two spectra or more, got \(1, 7, 2\)"):
        tarp_coverage(np.zeros((1, 7, 2)), np.zeros((1, 2)))


def test_joint_coverage_of_mocks_drawn_from_the_network_itself():
    """If the truth is a draw from the posterior, all is calibrated, however little the network has learnt."""
    import torch

    from sfh_cnn.network import from_variables
    from sfh_cnn.training import INPUT_NAMES

    network, mocks = small_network(), held_out_mocks(small_generator(), "test", 512)
    latent = network.encode(*[mocks[name] for name in INPUT_NAMES])
    truth = network.posterior.sample(latent, 1, torch.Generator().manual_seed(123))[:, 0]
    mass, metallicity, a_v, mass_to_light = from_variables(truth, network.n_age)
    scalars = mocks["scalars"].clone()
    scalars[:, SCALAR_NAMES.index("a_v")] = a_v
    scalars[:, SCALAR_NAMES.index("log_mass_to_light_attenuated")] = mass_to_light
    mocks = {**mocks, "mass_fraction": mass, "metallicity": metallicity, "scalars": scalars}
    result = joint_coverage(network, mocks, small_generator().age_grid.edges_yr, n_draw=100)
    for name in ("mass_weighted_log_age", "mass_weighted_metallicity", "a_v", "log_mass_to_light_attenuated"):
        assert result[name]["uneven"] < result["uneven_limit"]
        assert result[name]["coverage"]["68"] == pytest.approx(0.68, abs=0.07)
    assert result["n_mocks"] == 512
    assert len(result["tarp"]["level"]) == len(result["tarp"]["coverage"])


def test_joint_coverage_sees_a_posterior_that_is_off():
    """The truth of real mocks against an untrained network."""
    mocks = held_out_mocks(small_generator(), "test", 256)
    result = joint_coverage(small_network(), mocks, small_generator().age_grid.edges_yr, n_draw=50)
    assert result["log_mass_to_light_attenuated"]["uneven"] > 2 * result["uneven_limit"]
    assert result["tarp"]["deviation"] > 2 * result["uneven_limit"]


def test_draws_that_users_get_are_measured_with_an_engine():
    """Those of `Engine.draw`, with random numbers for each mock; the truth is known where all draws are too high."""
    mocks = held_out_mocks(small_generator(), "test", 256)
    engine = Engine(
        Artifact(small_network(), build_templates(small_generator().grid), small_generator().contract(), NETWORK, "")
    )
    asked = []

    class TooHigh:
        """All A_V are beyond those of the prior."""

        def draw(self, *args, **kwargs):
            """Draws, and what was asked."""
            asked.append(kwargs)
            draws = engine.draw(*args, **kwargs)
            return {**draws, "a_v": draws["a_v"] + 100}

    result = joint_coverage(
        small_network(), mocks, small_generator().age_grid.edges_yr, n_draw=50, engine=cast("Engine", TooHigh())
    )
    assert asked == [{"common": False}]
    assert result["a_v"]["coverage"]["95"] == 0
    assert result["a_v"]["uneven"] > 0.95
    only_drawn = {"log_t50", "log_t90", "formed_in_last_gyr"}
    assert set(SCALAR_NAMES) - {"velocity", "velocity_dispersion"} | only_drawn <= set(result)


def test_what_only_draws_give():
    """With a constant star formation rate the times and shares are those of the clock."""
    age_grid = small_generator().age_grid
    edges_yr = age_grid.edges_yr
    mass = np.diff(edges_yr)[None, None] / edges_yr[-1]
    draws = {"mass_fraction": mass, "metallicity": 0 * mass, "a_v": mass[..., 0], "log_mass_to_light_attenuated": 0}
    given = _quantities(age_grid, draws)
    span_yr = edges_yr[-1] - edges_yr[0]
    assert given["log_t50"] == pytest.approx(np.log10(edges_yr[0] + 0.5 * span_yr))
    assert given["log_t90"] == pytest.approx(np.log10(edges_yr[0] + 0.1 * span_yr))
    assert given["formed_in_last_gyr"] == pytest.approx((1e9 - edges_yr[0]) / span_yr)
