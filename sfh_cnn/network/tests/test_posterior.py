"""The joint posterior is a density, its masks hold, and its draws are draws from it."""

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.network import from_variables, to_variables
from sfh_cnn.network.posterior import JointPosterior, n_variable

N_AGE = 4


@pytest.fixture
def posterior():
    """Untrained, of four age bins."""
    torch.manual_seed(0)
    return JointPosterior(6, N_AGE, n_context=5, n_hidden=4, n_mixture=3)


@pytest.fixture
def latent():
    """Three rows."""
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(5))


def histories(n, n_age=N_AGE):
    """Random histories, a third of their bins empty."""
    torch.manual_seed(1)
    mass = torch.rand(n, n_age) * (torch.rand(n, n_age) > 0.3)
    mass[:, n_age // 2] += 0.01
    return mass / mass.sum(1, keepdim=True), torch.rand(n, n_age) * 2 - 1.5, torch.rand(n) * 3, torch.randn(n)


@pytest.mark.parametrize("variable", [0, 3, n_variable(N_AGE) - 1])
def test_each_conditional_integrates_to_one(posterior, latent, variable):
    """Along any slice; with the chain rule below the whole density does."""
    grid = torch.linspace(-60, 60, 8001, dtype=torch.float64)
    rows = torch.randn(n_variable(N_AGE), generator=torch.Generator().manual_seed(2)).double().repeat(len(grid), 1)
    rows[:, variable] = grid
    density = conditional(posterior.double(), rows, latent[:1].double().expand(len(grid), -1), variable).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-4)


@torch.no_grad()
def conditional(posterior, rows, latent, variable):
    """Log density of one variable given those before it, by an implementation of its own: a sum over Gaussians."""
    context = torch.nn.functional.silu(posterior.context(latent))
    hidden = torch.cat([rows, context], 1)
    for layer, mask in ((posterior.first, posterior.mask_1), (posterior.second, posterior.mask_2)):
        hidden = torch.nn.functional.silu(hidden @ (layer.weight * mask).T + layer.bias)
        hidden = torch.cat([hidden, context], 1)
    raw = hidden @ (posterior.last.weight * posterior.mask_3).T + posterior.last.bias
    weight, mean, width = posterior._parameters_of(raw.view(len(rows), -1, 9)[:, variable])
    gaussians = torch.distributions.Normal(mean, width.exp()).log_prob(rows[:, variable, None])
    return (weight + gaussians).logsumexp(-1)


def test_log_prob_is_the_sum_of_the_conditionals(posterior, latent):
    """The chain rule, against `torch.distributions`."""
    rows = torch.randn(3, n_variable(N_AGE), generator=torch.Generator().manual_seed(3))
    expected = sum(conditional(posterior, rows, latent, i) for i in range(n_variable(N_AGE)))
    assert_close(posterior.log_prob(rows, latent), expected)


def test_a_variable_acts_on_later_conditionals_only(posterior, latent):
    """Changing variable j leaves the conditionals of the variables before it alone, and changes one after it."""
    base = torch.randn(1, n_variable(N_AGE), generator=torch.Generator().manual_seed(3))
    for j in range(n_variable(N_AGE)):
        moved = base.clone()
        moved[0, j] += 1.0
        change = [
            float(conditional(posterior, moved, latent[:1], i) - conditional(posterior, base, latent[:1], i))
            for i in range(n_variable(N_AGE))
        ]
        assert change[:j] == [0.0] * j
        assert j == n_variable(N_AGE) - 1 or any(value != 0 for value in change[j + 1 :])


def test_draws_have_the_density_that_log_prob_says(posterior, latent):
    """Mean of log p over draws is minus the entropy: importance sampling from a wide Gaussian gives total mass 1."""
    draws = posterior.sample(latent[:1], 4000, torch.Generator().manual_seed(0))[0]
    # E_q[r] = 1 for r = g / q with any density g that is narrower than q: here g a Gaussian fitted to the draws.
    mean, std = draws.mean(0), 0.7 * draws.std(0)
    g = torch.distributions.Normal(mean, std).log_prob(draws).sum(1)
    log_q = posterior.log_prob(draws, latent[:1].expand(len(draws), -1))
    ratio = (g - log_q).exp()
    assert ratio.mean().item() == pytest.approx(1.0, abs=4 * ratio.std().item() / len(draws) ** 0.5)
    assert ratio.std() / len(draws) ** 0.5 < 0.1  # the test has power


def test_draws_of_the_first_variable_follow_its_distribution(posterior, latent):
    """Kolmogorov-Smirnov distance of 4000 draws to the mixture's own cumulative distribution."""
    draws = posterior.sample(latent[:1], 4000, torch.Generator().manual_seed(0))[0, :, 0].sort().values
    grid = torch.linspace(-30, 30, 60001)
    rows = torch.zeros(len(grid), n_variable(N_AGE))
    rows[:, 0] = grid
    density = conditional(posterior, rows, latent[:1].expand(len(grid), -1), 0).exp()
    cumulative = torch.cumsum(density, 0) * (grid[1] - grid[0])
    expected = cumulative[torch.searchsorted(grid, draws).clamp(max=len(grid) - 1)]
    distance = (expected - torch.arange(1, 4001) / 4000).abs().max()
    assert distance < 1.63 / 4000**0.5  # 1 per cent level


def test_it_learns_a_known_mixture():
    """Trained on two correlated Gaussians whose place depends on the latent vector, draws have their moments."""
    torch.manual_seed(0)
    n_var = n_variable(1)  # three variables
    posterior = JointPosterior(1, 1, n_context=16, n_hidden=16, n_mixture=4)
    mixing = torch.tensor([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.3, 0.2, 0.2]])

    def truth(n):
        latent = torch.rand(n, 1) * 2 - 1
        sign = torch.where(torch.rand(n, 1) < 0.3, -1.0, 1.0)
        return latent, torch.randn(n, n_var) @ mixing.T + latent + sign * torch.tensor([0.0, 1.5, -1.0])

    optimizer = torch.optim.Adam(posterior.parameters(), lr=1e-2)
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 300) + 1e-5
        latent, values = truth(256)
        loss = -posterior.log_prob(values, latent).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    at = torch.tensor([[0.5]])
    draws = posterior.sample(at, 20000, torch.Generator().manual_seed(0))[0]
    shift = torch.tensor([0.0, 1.5, -1.0])
    assert_close(draws.mean(0), 0.5 + 0.4 * shift, atol=0.1, rtol=0)  # 0.7 - 0.3
    covariance = mixing @ mixing.T + 0.84 * torch.outer(shift, shift)  # 4 * 0.3 * 0.7
    assert_close(torch.cov(draws.T), covariance, atol=0.15, rtol=0)


def test_draws_of_a_row_do_not_depend_on_its_neighbours(posterior, latent):
    """With common random numbers a row drawn alone and among others is the same."""
    together = posterior.sample(latent, 50, torch.Generator().manual_seed(7), common=True)
    for i in range(3):
        alone = posterior.sample(latent[i : i + 1], 50, torch.Generator().manual_seed(7), common=True)
        assert_close(together[i], alone[0])


@torch.no_grad()
def test_draws_are_those_of_the_masked_network(posterior, latent):
    """Each draw is what its random numbers select from the conditionals that the whole network gives at that draw."""
    n_draw = 40
    draws = posterior.sample(latent, n_draw, torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    uniform = torch.rand(posterior.n_variable, 3, n_draw, generator=generator)
    normal = torch.randn(posterior.n_variable, 3, n_draw, generator=generator)
    rows = draws.flatten(0, 1)
    context = torch.nn.functional.silu(posterior.context(latent)).repeat_interleave(n_draw, 0)
    hidden = torch.cat([rows, context], 1)
    for layer, mask in ((posterior.first, posterior.mask_1), (posterior.second, posterior.mask_2)):
        hidden = torch.nn.functional.silu(hidden @ (layer.weight * mask).T + layer.bias)
        hidden = torch.cat([hidden, context], 1)
    raw = hidden @ (posterior.last.weight * posterior.mask_3).T + posterior.last.bias
    weight, mean, width = posterior._parameters_of(raw.view(3, n_draw, posterior.n_variable, 9))
    chosen = torch.searchsorted(weight.exp().cumsum(-1), uniform.permute(1, 2, 0)[..., None].contiguous()).clamp(max=2)
    expected = (mean.gather(-1, chosen) + width.gather(-1, chosen).exp() * normal.permute(1, 2, 0)[..., None])[..., 0]
    assert_close(draws, expected, atol=1e-4, rtol=1e-4)


def test_rows_are_independent_unless_asked(posterior, latent):
    """The same latent vector twice gives other numbers: ranks of many spectra need independent draws."""
    twice = latent[:1].expand(2, -1)
    draws = posterior.sample(twice, 2000, torch.Generator().manual_seed(7))
    assert abs(torch.corrcoef(draws[..., 0])[0, 1]) < 0.1


def test_variables_and_back():
    """Histories with empty bins, young-only and old-only ones come back; empty bins stay exactly empty."""
    mass, metallicity, a_v, mass_to_light = histories(500)
    mass[0], mass[1] = torch.eye(N_AGE)[0], torch.eye(N_AGE)[-1]
    variables = to_variables(mass, metallicity, a_v, mass_to_light)
    assert variables.shape == (500, n_variable(N_AGE))
    assert variables.abs().max() < 6
    back = from_variables(variables, N_AGE)
    for value, expected in zip(back, (mass, metallicity, a_v, mass_to_light), strict=True):
        assert_close(value, expected, atol=2e-5, rtol=1e-5)
    assert (back[0][mass == 0] == 0).all()


def test_draws_are_histories(posterior, latent):
    """Fractions sum to 1 and are not negative, A_V is not negative, whatever the variables are."""
    variables = 4 * torch.randn(1000, n_variable(N_AGE), generator=torch.Generator().manual_seed(0))
    mass, _, a_v, _ = from_variables(variables, N_AGE)
    assert_close(mass.sum(1), torch.ones(1000))
    assert mass.min() >= 0
    assert a_v.min() >= 0


def test_jitter_moves_cut_logits_only_and_outward(posterior):
    """The decoded history does not change."""
    mass, *rest = histories(200)
    mass[0], mass[1] = torch.eye(N_AGE)[0], torch.eye(N_AGE)[-1]
    variables = to_variables(mass, *rest)
    noise = torch.randn(200, N_AGE - 1, generator=torch.Generator().manual_seed(0))
    moved = posterior.jitter(variables, noise)
    cut = variables[:, 1:N_AGE].abs() >= 3 - 1e-3
    assert cut.any()
    assert (moved[:, 1:N_AGE].abs()[cut] > variables[:, 1:N_AGE].abs()[cut]).all()
    assert torch.equal(moved[:, 1:N_AGE][~cut], variables[:, 1:N_AGE][~cut])
    assert torch.equal(moved[:, [0, *range(N_AGE, 2 * N_AGE + 1)]], variables[:, [0, *range(N_AGE, 2 * N_AGE + 1)]])
    assert_close(from_variables(moved, N_AGE)[0], from_variables(variables, N_AGE)[0], atol=1e-6, rtol=0)


def test_leads_come_first_and_drop_out():
    """Before everything else; the jitter does not touch them, and the history does not need them."""
    mass, *rest = histories(50)
    leads = torch.randn(50, 2)
    variables = to_variables(mass, *rest, leads)
    assert variables.shape == (50, n_variable(N_AGE, n_lead=2))
    assert_close(variables[:, :2], leads)
    assert_close(variables[:, 2:], to_variables(mass, *rest))
    posterior = JointPosterior(6, N_AGE, n_lead=2)
    noise = torch.randn(50, N_AGE - 1)
    moved = posterior.jitter(variables, noise)
    assert_close(moved[:, :2], leads)
    assert_close(moved[:, 2:], JointPosterior(6, N_AGE).jitter(variables[:, 2:], noise))
    for part, expected in zip(from_variables(moved, N_AGE), (mass, *rest), strict=True):
        assert_close(part, expected, atol=2e-5, rtol=0)
