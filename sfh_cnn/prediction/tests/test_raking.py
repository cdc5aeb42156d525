"""Raking: draws of the wrong width and place get the quantiles that they should have, and stay joint draws."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sfh_cnn import SFHPredictor
from sfh_cnn.core.constants import QUANTILE_LEVELS
from sfh_cnn.examples import load_example_spectrum
from sfh_cnn.prediction import engine
from sfh_cnn.prediction.raking import choose, rake
from sfh_cnn.results import draw_scalars

N_SPEC, N_DRAW, N_POOL = 30, 400, 800
LEVELS = np.array(QUANTILE_LEVELS)
MEANS = ("mass_weighted_log_age", "light_weighted_log_age", "mass_weighted_metallicity", "light_weighted_metallicity")
#: What the quantiles are of.
PLACE, WIDTH = np.array([10.0, -0.3]), np.array([0.2, 0.1])
CORRELATION = -0.5


def pool(shift=0.0, width=1.3):
    """Two anticorrelated quantities, in units of what they should be, as (n_spec, 2, n_pool); and their quantiles."""
    rng = np.random.default_rng(0)
    z = shift + width * rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], (N_SPEC, N_POOL))
    score = torch.special.ndtri(torch.tensor(QUANTILE_LEVELS)).numpy()
    quantiles = np.broadcast_to(PLACE[:, None] + WIDTH[:, None] * score, (N_SPEC, 2, len(LEVELS)))
    return torch.from_numpy(np.swapaxes(PLACE + WIDTH * z, 1, 2)), torch.from_numpy(quantiles.copy())


def below(values, quantiles):
    """Share of the draws below each quantile, mean over spectra, (2, n_level)."""
    return (values[..., None] < quantiles[:, :, None]).double().mean((0, 2)).numpy()


def raked(values, quantiles, n_draw=N_DRAW):
    """The draws that are kept."""
    uniform = torch.rand(len(values), values.shape[-1], generator=torch.Generator().manual_seed(1))
    kept = choose(rake(values, quantiles, n_draw), uniform, n_draw)
    return values.gather(2, kept[:, None].expand(-1, values.shape[1], -1)), kept


@pytest.mark.parametrize("wrong", [{"width": 1.3}, {"shift": 0.3, "width": 1.1}, {"width": 0.9}])
def test_kept_draws_have_the_quantiles(wrong):
    """Shares below each, which were off by up to ten per cent, are its level."""
    values, quantiles = pool(**wrong)
    kept, _ = raked(values, quantiles)
    assert np.abs(below(values, quantiles) - LEVELS).max() > 0.025
    assert_allclose(below(kept, quantiles), [LEVELS, LEVELS], atol=0.02)


def test_they_are_joint_draws_still():
    """Of all Gaussians with these widths, the correlation is that of the one nearest to the pool.

    Weights are a function of the first quantity times one of the second: the element of the inverse covariance that
    belongs to both is that of the pool.
    """
    both = CORRELATION / (1.3**2 * (CORRELATION**2 - 1))
    expected = (1 - np.sqrt(1 + 4 * both**2)) / (2 * both)
    assert -0.36 < expected < -0.34
    kept, _ = raked(*pool())
    mean = np.mean([np.corrcoef(row)[0, 1] for row in kept.numpy()])
    assert mean == pytest.approx(expected, abs=0.03)


def test_each_draw_is_kept_once_at_most():
    """Exactly as many as asked, in the order of the pool, whatever the quantiles."""
    values, quantiles = pool()
    for n_draw in (1, 7, N_DRAW, N_POOL):
        for far in (0.0, 0.4, 50.0):
            keep = rake(values, quantiles + far, n_draw)
            assert ((keep >= 0) & (keep <= 1)).all()
            assert (raked(values, quantiles + far, n_draw)[1].diff(dim=1) > 0).all()
            assert raked(values, quantiles + far, n_draw)[1].shape == (N_SPEC, n_draw)
    assert_allclose(rake(values, quantiles, N_DRAW).sum(1), N_DRAW, rtol=0.01)


def test_draws_that_are_right_are_kept_evenly():
    """But for the chance of finite pools."""
    keep = rake(*pool(width=1.0), N_DRAW)
    assert_allclose(keep.mean(), 0.5, atol=1e-3)
    assert keep.std() < 0.1
    assert rake(*pool(width=1.3), N_DRAW).std() > 0.13


def test_probabilities_are_kept():
    """How often each is chosen, over many random numbers."""
    keep = torch.linspace(0.05, 0.95, 19)[None].double()
    keep = torch.cat([keep, torch.full((1, 1), 0.5)], 1)  # sums to 10
    uniform = torch.rand(20000, 20, generator=torch.Generator().manual_seed(2))
    kept = choose(keep.expand(20000, -1), uniform, 10)
    assert_allclose(np.bincount(kept.flatten(), minlength=20) / 20000, keep[0], atol=0.015)


def test_rounding_errors_do_not_decide():
    """Values that are moved by a ten-millionth of their width have the same weights to 1e-5."""
    values, quantiles = pool()
    moved = values + 1e-8 * torch.randn(values.shape, generator=torch.Generator().manual_seed(3))
    assert_allclose(rake(moved, quantiles, N_DRAW), rake(values, quantiles, N_DRAW), atol=1e-5)


def test_draws_that_count_less_are_kept_less():
    """Of two in three draws; the quantiles are still kept to."""
    values, quantiles = pool(width=1.1)
    weight = torch.ones(N_SPEC, N_POOL)
    weight[:, ::3] = 1e-4
    keep = rake(values, quantiles, N_DRAW, weight)
    assert keep[:, ::3].mean() < 0.02
    assert_allclose(keep.sum(1), N_DRAW, rtol=1e-3)
    kept = choose(keep, torch.rand(N_SPEC, N_POOL, generator=torch.Generator().manual_seed(1)), N_DRAW)
    kept = values.gather(2, kept[:, None].expand(-1, 2, -1))
    assert_allclose(below(kept, quantiles), [LEVELS, LEVELS], atol=0.03)


def test_bins_should_have_the_means_that_draws_began_with(artifact_path):
    """Off by nothing counts 1, by the width exp(-1/2), and what several means are off by adds up."""
    made = SFHPredictor.from_file(artifact_path).engine
    told = torch.zeros(1, 3 * 16 + 10, len(LEVELS))
    told[:, 48:52] = torch.tensor([-3.0, -1.0, -0.7, 0.0, 0.7, 1.0, 3.0]) * 0.2
    scalars = {name: np.array([[9.5, 9.6, 9.6]]) for name in MEANS}
    leads = torch.full((1, 3, 4), 9.5)
    width = 0.2 * engine._MEANS_OFF
    leads[:, 1, 1:], leads[:, 2] = 9.6, 9.6
    leads[:, 1, 0] = 9.6 + width
    leads[:, 2, 2:] = 9.6 + 2 * width
    expected = np.exp([[0.0, -0.5, -4.0]])
    assert_allclose(made._coherence(scalars, leads, told), expected, rtol=1e-3)


def test_a_quantity_at_its_floor():
    """Quantiles that coincide, and draws that are all the same, leave the other quantity its own."""
    values, quantiles = pool()
    values[:, 1], quantiles[:, 1] = -5.0, -5.0
    kept, _ = raked(values, quantiles)
    assert_allclose(below(kept, quantiles)[0], LEVELS, atol=0.02)


def test_a_bin_that_may_be_empty():
    """Draws at a floor are kept in the share that the quantiles have there, those beyond it where they have theirs."""
    values, quantiles = pool()
    floor = quantiles[0, 1, 3]  # the median: half of what should be there is at the floor
    values[:, 1], quantiles[:, 1] = values[:, 1].clamp(min=floor), quantiles[:, 1].clamp(min=floor)
    values[:, 1, ::7] = floor  # more than half of the pool
    kept, _ = raked(values, quantiles)
    shares = [(part[:, 1] <= floor).double().mean().item() for part in (values, kept)]
    assert shares[0] > 0.55
    assert shares[1] == pytest.approx(0.5, abs=0.03)
    assert_allclose(below(kept, quantiles)[1, 4:], LEVELS[4:], atol=0.02)


def test_quantiles_that_part_change_weights_a_little_at_a_time():
    """Two that are equal, and then are not by a millionth: no weight jumps."""
    values, quantiles = pool()
    quantiles[:, :, 2] = quantiles[:, :, 3]
    apart = quantiles.clone()
    apart[:, :, 2] -= 1e-6
    assert_allclose(rake(values, apart, N_DRAW), rake(values, quantiles, N_DRAW), atol=2e-3)


def test_draws_are_raked_to_the_quantiles_that_are_told(monkeypatch, artifact_path, observed):
    """Also where calibration gives levels factors with which they would cross."""
    predictor = SFHPredictor.from_file(artifact_path)
    factor = predictor.engine.network.interval_factor
    factor.copy_(0.2 + 2 * torch.rand(factor.shape, generator=torch.Generator().manual_seed(5)))
    result = predictor.predict(observed.spectrum())
    asked = []

    def spy(values, quantiles, n_draw, weight):
        asked.extend([quantiles.numpy(), values.numpy()])
        return rake(values, quantiles, n_draw, weight)

    monkeypatch.setattr("sfh_cnn.prediction.engine.rake", spy)
    result.draws(10)
    told = np.stack([result.arrays[f"q_{name}"] for name in engine._RAKED], axis=1)
    assert (np.diff(told) == 0).any()
    n_age = result.mass_fraction.shape[-1]
    network, n_formed = predictor.engine.network, n_age - 2
    # Around the same median all but the means by mass are asked to be narrower, the mean age by mass to be wider.
    other = {"mass_weighted_metallicity": 1.0, "mass_weighted_log_age": 1.03}
    sharper = np.array([other.get(name, 0.97) for name in engine._RAKED])[:, None]

    def narrower(quantiles, factor=0.97):
        return quantiles[..., 3:4] + factor * (quantiles - quantiles[..., 3:4])

    assert_allclose(asked[0][:, n_age + n_formed :], narrower(told, sharper), rtol=1e-4, atol=1e-3)
    quantiles = network.in_units(network.heads(torch.from_numpy(result.arrays["latent"]))[1])
    formed = quantiles[:, -n_formed:].flip(1).clamp(min=engine._EMPTY)
    assert_allclose(asked[0][:, n_age : n_age + n_formed], narrower(formed, 0.95), rtol=1e-4, atol=1e-3)
    # What the draws have in the place of these, but for what the floor hides: the mass formed since an edge.
    bins = (asked[1][:, :n_age][:, ::-1] ** 3).cumsum(1)[:, 1:-1]
    assert_allclose(asked[1][:, n_age : n_age + n_formed][:, ::-1] ** 3, bins, atol=0.02)
    roots = np.cbrt(result.arrays["q_mass_fraction"]).clip(engine._EMPTY)[:, ::-1]
    assert_allclose(asked[0][:, :n_age], narrower(roots), rtol=1e-4, atol=1e-3)


def test_draws_of_a_released_network_keep_to_its_intervals():
    """Of a spectrum whose joint density and quantiles do not agree: 16, 50 and 84 per cent, in half widths."""
    result = SFHPredictor.pretrained().predict(load_example_spectrum(), ebv=0.45).as_many()

    def off(raked):
        draws = result.engine.draw(result.arrays["latent"], 4000, seed=1, raked=raked)
        scalars = draw_scalars(result.age_grid, draws)
        stated = np.array([result.arrays[f"q_{name}"][0, [1, 3, 5]] for name in MEANS])
        drawn = np.array([np.quantile(scalars[name], LEVELS[[1, 3, 5]]) for name in MEANS])
        return np.mean(np.abs(drawn - stated) / (stated[:, 2:] - stated[:, :1]) * 2)

    assert off(raked=False) > 1.5 * off(raked=True)
    assert off(raked=True) < 0.2
