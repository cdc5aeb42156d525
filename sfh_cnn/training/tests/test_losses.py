"""The terms of the loss against values worked out by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core.constants import QUANTILE_LEVELS, SCALAR_NAMES
from sfh_cnn.training import INPUT_NAMES, LossConfig, joint_loss
from sfh_cnn.training.losses import pinball

N, N_AGE = 6, 4


class Posterior:
    """Remembers what it is asked about; the log density is 3 everywhere."""

    n_variable = 10

    def jitter(self, variables, noise):
        """Nothing to spread."""
        self.variables, self.noise = variables, noise
        return variables

    def log_prob(self, variables, latent):
        """A constant."""
        return torch.full((len(variables),), 3.0)


class Oracle:
    """A network that answers with the truth, off by ``shift`` in all quantiles; flat fractions if ``flat``."""

    n_age = N_AGE

    n_scalar = len(SCALAR_NAMES)

    def __init__(self, batch, shift=0.0, flat=False, n_cumulative=0):
        self.batch, self.shift, self.flat, self.n_cumulative = batch, shift, flat, n_cumulative
        self.posterior = Posterior()

    def encode(self, *inputs):
        """The arguments are those of the network, in order."""
        assert [value is self.batch[name] for name, value in zip(INPUT_NAMES, inputs, strict=True)] == [True] * 7
        return torch.zeros(N, 1)

    def targets(self, mass, light, metallicity, scalars):
        """Unscaled."""
        formed = mass.cumsum(1)[:, 1 : 1 + self.n_cumulative]
        return torch.cat([mass, light, metallicity, scalars, formed], 1)

    def leads(self, targets):
        """The first two scalars."""
        return targets[:, 3 * N_AGE : 3 * N_AGE + 2]

    def heads(self, latent):
        """Logits and quantiles."""
        truth = [self.batch[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")]
        quantiles = (self.targets(*truth) + self.shift)[..., None].expand(-1, -1, len(QUANTILE_LEVELS))
        logits = torch.stack(truth[:2], 1).log()
        return (torch.zeros_like(logits) if self.flat else logits), quantiles


@pytest.fixture
def batch():
    """Random truth; the inputs are not looked at."""
    torch.manual_seed(0)
    return {
        **{name: torch.zeros(N, 1) for name in INPUT_NAMES},
        "mass_fraction": torch.rand(N, N_AGE).softmax(1),
        "light_fraction": (3 * torch.rand(N, N_AGE)).softmax(1),
        "metallicity": torch.rand(N, N_AGE) - 1,
        "scalars": torch.randn(N, len(SCALAR_NAMES)),
        "edge_noise": torch.randn(N, N_AGE - 1),
    }


def test_pinball_is_least_at_the_quantiles():
    """For a skewed sample, level by level, against the empirical quantiles."""
    sample = torch.distributions.Exponential(1.0).sample((4000,))
    grid = torch.linspace(0, 5, 251)
    loss = torch.stack([_loss_by_level(q, sample) for q in grid])  # (251, n_level)
    best = grid[loss.argmin(0)]
    assert_close(best, torch.quantile(sample, torch.tensor(QUANTILE_LEVELS)), atol=0.03, rtol=0)


def _loss_by_level(q, sample):
    """Mean pinball loss of one number as each of the quantiles: only one level at a time is off its target."""
    n_level = len(QUANTILE_LEVELS)
    quantiles = sample[:, None, None].expand(-1, n_level, n_level).clone()
    index = torch.arange(n_level)
    quantiles[:, index, index] = q
    return pinball(quantiles, sample[:, None].expand(-1, n_level)).mean(0)


def test_pinball_by_hand():
    """Above by 2: (1 - level) times 2; below by 2: level times 2; averaged over the levels, which are symmetric."""
    n_level = len(QUANTILE_LEVELS)
    for shift in (2.0, -2.0):
        assert pinball(torch.full((n_level,), shift), torch.tensor(0.0)).item() == pytest.approx(1.0)
    one_off = torch.zeros(n_level)
    one_off[0] = 2.0
    expected = 2 * (1 - QUANTILE_LEVELS[0]) / n_level
    assert pinball(one_off, torch.tensor(0.0)).item() == pytest.approx(expected)


def test_the_truth_costs_nothing(batch):
    """All terms but the density are 0; the density is the mean negative log per variable."""
    total, parts = joint_loss(Oracle(batch), batch, LossConfig(posterior=0.5))
    for name in ("fractions", "fraction_quantiles", "metallicity", "scalars"):
        assert parts[name].item() == pytest.approx(0.0, abs=1e-6)
    assert parts["posterior"].item() == pytest.approx(-0.3)
    assert total.item() == pytest.approx(-0.15, abs=1e-5)


def test_flat_fractions_cost_the_missing_information(batch):
    """Sum over both heads of log(n_age) minus the entropy of the truth."""
    _, parts = joint_loss(Oracle(batch, flat=True), batch, LossConfig())
    expected = 0.0
    for name in ("mass_fraction", "light_fraction"):
        entropy = -(batch[name] * batch[name].log()).sum(1).mean()
        expected += math.log(N_AGE) - entropy.item()
    assert parts["fractions"].item() == pytest.approx(expected, rel=1e-5)


def test_quantiles_off_by_one_cost_a_half(batch):
    """Times the weights: 1 in the sum over bins of [M/H], the mean weight of the scalars."""
    _, parts = joint_loss(Oracle(batch, shift=1.0), batch, LossConfig())
    assert parts["fraction_quantiles"].item() == pytest.approx(0.5, rel=1e-5)
    assert parts["metallicity"].item() == pytest.approx(0.5, rel=1e-5)
    lighter = {"velocity_dispersion": 0.3, "velocity": 0.3, "log_recent_fraction": 0.7}
    weights = [lighter.get(name, 1.0) for name in SCALAR_NAMES]
    assert parts["scalars"].item() == pytest.approx(0.5 * sum(weights) / len(weights), rel=1e-5)


def test_metallicity_counts_where_the_stars_are(batch):
    """With all mass and light in one bin an error elsewhere costs 25 times less, 0.02 against 1.02 - 0.5."""
    only_first = torch.eye(N_AGE)[[0] * N]
    batch = {**batch, "mass_fraction": only_first, "light_fraction": only_first}
    costs = []
    for bin_number in (0, 1):
        oracle = Oracle(batch)
        shift = torch.zeros(3 * N_AGE + len(SCALAR_NAMES))
        shift[2 * N_AGE + bin_number] = 1.0
        oracle.shift = shift
        costs.append(joint_loss(oracle, batch, LossConfig())[1]["metallicity"].item())
    assert costs[0] / costs[1] == pytest.approx(1.02 / 0.02, rel=1e-4)


def test_formed_mass_counts_where_there_are_quantiles_of_it(batch):
    """Off by one costs a half of its weight, and nothing else changes."""
    weights = LossConfig(cumulative=3.0)
    with_it, parts = joint_loss(Oracle(batch, shift=1.0, n_cumulative=N_AGE - 2), batch, weights)
    without, others = joint_loss(Oracle(batch, shift=1.0), batch, weights)
    assert float(parts.pop("cumulative")) == pytest.approx(0.5)
    assert parts == others
    assert float(with_it - without) == pytest.approx(1.5, rel=1e-5)


def test_weights_switch_terms(batch):
    """The total is the weighted sum; a posterior of weight 0 is not even computed."""
    weights = LossConfig(fractions=1.0, scalars=2.0, metallicity=3.0, fraction_quantiles=4.0, posterior=0.0)
    total, parts = joint_loss(Oracle(batch, shift=1.0, flat=True), batch, weights)
    assert "posterior" not in parts
    expected = parts["fractions"] + 2 * parts["scalars"] + 3 * parts["metallicity"] + 4 * parts["fraction_quantiles"]
    assert_close(total, expected)


def test_the_posterior_gets_its_own_variables(batch):
    """The leads, then A_V; attenuated M/L last, [M/H] over 0.5 before it; the noise of the batch."""
    oracle = Oracle(batch)
    joint_loss(oracle, batch, LossConfig())
    leads, variables = oracle.posterior.variables.split([2, 2 * N_AGE + 1], 1)
    assert_close(leads, batch["scalars"][:, :2])
    assert_close(variables[:, 0], batch["scalars"][:, SCALAR_NAMES.index("a_v")])
    assert_close(variables[:, -1], batch["scalars"][:, SCALAR_NAMES.index("log_mass_to_light_attenuated")])
    assert_close(variables[:, N_AGE:-1] * 0.5, batch["metallicity"])
    assert oracle.posterior.noise is batch["edge_noise"]
