"""Which density for the joint posterior: heads on the latent vectors of a released network, all trained alike.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/posteriors.py [--n-mocks N] [--write FILE.csv] [--only NAME ...]

The network is frozen. Each head starts from nothing and sees the same fresh mocks in the same order, twice; it is
measured on mocks that nothing was trained on. The density is that of the 33 variables of `to_variables` (A_V, broken
sticks, [M/H], M/L), empty bins spread as in training: heads that work in log-ratios of the mass fractions are brought
to it by their Jacobian. Where the means come first the density has four variables more, which follow from the others,
and its likelihood compares with nothing; score (continuous ranked probability score of the quantities that follow, in
units of their spread), coverage and TARP compare with all. The last rows are the head as it was released, and its draws
as users get them.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from torch import nn
from torch.nn import functional

from sfh_cnn import SFHPredictor
from sfh_cnn.core import history
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.diagnostics import sbc_ranks, tarp_coverage
from sfh_cnn.network.packed import PackedNetwork
from sfh_cnn.network.posterior import JointPosterior, from_variables, to_variables
from sfh_cnn.training import INPUT_NAMES, released_mocks, to_tensors
from sfh_cnn.training.soap import SOAP

NETWORK = "phangs-muse-hst-bc03"
CHUNK, BATCH, N_DRAW, N_EPOCH = 2048, 512, 200, 2
#: Numbers of the first chunks: the network was trained on those from 0 on, and held-out ones begin at 10**9.
TRAIN, TEST = 500_000, 4 * 10**9
#: Truths that are no fractions or metallicities of bins.
SCALARS = ("a_v", "log_mass_to_light_attenuated")
#: Logits over variables, as in `to_variables`.
SCALE = 4.0
#: Log fractions below so much count a tenth in log-ratios: a floor that loses nothing.
FLOOR, BELOW = math.log(1e-4), 0.1
#: Of the normal density, per variable.
NORMAL = 0.5 * math.log(2 * math.pi)
#: 50, 68 and 95 per cent intervals.
LEVELS = (0.5, 0.6827, 0.9545)


def squeeze(log_mass):
    """Log fractions with a soft floor, and their derivative."""
    above = log_mass > FLOOR
    return torch.where(above, log_mass, FLOOR + BELOW * (log_mass - FLOOR)), torch.where(above, 1.0, BELOW)


def to_ratios(variables, n_age):
    """Additive log-ratios to the oldest bin instead of broken sticks; log Jacobian determinant."""
    logit = variables[:, 1:n_age] * SCALE
    left = functional.logsigmoid(-logit).cumsum(1)
    log_mass = torch.cat([functional.logsigmoid(logit), torch.zeros_like(left[:, :1])], 1)
    log_mass = log_mass + functional.pad(left, [1, 0])
    value, slope = squeeze(log_mass)
    # Without a floor the determinant is 1.
    relative = torch.cat([slope[:, -1:] / slope[:, :-1], torch.ones_like(slope[:, :1])], 1)
    determinant = slope[:, :-1].log().sum(1) + (log_mass + relative.log()).logsumexp(1)
    ratios = (value[:, :-1] - value[:, -1:]) / SCALE
    return torch.cat([variables[:, :1], ratios, variables[:, n_age:]], 1), determinant


def from_ratios(variables, n_age):
    """The way back; the oldest bin is what makes the sum 1, found by bisection."""
    ratios = functional.pad(variables[:, 1:n_age] * SCALE, [0, 1])
    low, high = torch.full_like(ratios[:, :1], -60.0), torch.zeros_like(ratios[:, :1])

    def log_mass(oldest):
        value = ratios + oldest
        return torch.where(value > FLOOR, value, FLOOR + (value - FLOOR) / BELOW)

    for _ in range(40):
        middle = (low + high) / 2
        too_much = log_mass(middle).logsumexp(1, keepdim=True) > 0
        low, high = torch.where(too_much, low, middle), torch.where(too_much, middle, high)
    mass = log_mass(low)
    older = mass.flip(1).logcumsumexp(1).flip(1)
    return torch.cat([variables[:, :1], (mass[:, :-1] - older[:, 1:]) / SCALE, variables[:, n_age:]], 1)


class Gaussians(nn.Module):
    """A mixture of Gaussians, each with all its correlations.

    Inverse widths are Cholesky factors of inverse covariances.
    """

    def __init__(self, n_latent, n_variable, n_mixture, n_hidden=256):
        super().__init__()
        self.sizes = [1, n_variable, n_variable, n_variable * (n_variable - 1) // 2]
        self.n_mixture, self.n_variable = n_mixture, n_variable
        self.layers = nn.Sequential(
            nn.Linear(n_latent, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_hidden), nn.SiLU(),
            nn.Linear(n_hidden, n_mixture * sum(self.sizes)),
        )  # fmt: skip

    def parameters_of(self, latent):
        """Log weights (n, k), means (n, k, v) and factors (n, k, v, v)."""
        raw = self.layers(latent).view(len(latent), self.n_mixture, -1)
        weight, mean, diagonal, rest = raw.split(self.sizes, -1)
        # Gaussians that begin at one place would stay together.
        mean = mean + torch.linspace(-1, 1, self.n_mixture)[:, None] * (self.n_mixture > 1)
        row, column = torch.tril_indices(self.n_variable, self.n_variable, -1)
        factor = torch.diag_embed(diagonal.clamp(-4, 5).exp())
        factor[..., row, column] = rest
        return weight[..., 0].log_softmax(-1), mean, factor

    def log_prob(self, values, latent):
        """Log density (n,)."""
        weight, mean, factor = self.parameters_of(latent)
        deviation = (factor @ (values[:, None] - mean)[..., None])[..., 0]
        log_width = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (weight + log_width - 0.5 * deviation.square().sum(-1)).logsumexp(1) - self.n_variable * NORMAL

    def sample(self, latent, n_draw, generator):
        """Draws (n, n_draw, v)."""
        weight, mean, factor = self.parameters_of(latent)
        chosen = torch.multinomial(weight.exp(), n_draw, replacement=True, generator=generator)
        normal = torch.randn(len(latent), self.n_variable, n_draw, generator=generator)
        # All draws of all Gaussians cost less than a factor of each draw.
        draws = mean[..., None] + torch.linalg.solve_triangular(factor, normal[:, None], upper=False)  # (n, k, v, draw)
        index = chosen[:, None, None].expand(-1, 1, self.n_variable, -1)
        return draws.gather(1, index)[:, 0].transpose(1, 2)


class Flow(nn.Module):
    """Affine coupling layers: half of the variables shift and stretch the other half (Dinh et al. 2017)."""

    def __init__(self, n_latent, n_variable, n_layer=8, n_hidden=192, n_context=128):
        super().__init__()
        self.n_variable, self.half = n_variable, n_variable // 2
        self.context = nn.Linear(n_latent, n_context)
        n_out = n_variable - self.half
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(self.half + n_context, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_hidden), nn.SiLU(),
                nn.Linear(n_hidden, 2 * n_out),
            )
            for _ in range(n_layer)
        )  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        self.orders = [torch.randperm(n_variable, generator=generator) for _ in range(n_layer)]
        for layer in self.layers:
            nn.init.zeros_(layer[-1].weight)

    def coupling(self, layer, first, context):
        """Shift and log stretch of the second half."""
        shift, stretch = layer(torch.cat([first, context], 1)).chunk(2, 1)
        return shift, 3 * torch.tanh(stretch / 3)

    def log_prob(self, values, latent):
        """Log density (n,)."""
        context, log_stretch = functional.silu(self.context(latent)), 0.0
        for order, layer in zip(self.orders, self.layers, strict=True):
            first, second = values[:, order].tensor_split([self.half], 1)
            shift, stretch = self.coupling(layer, first, context)
            values = torch.cat([first, (second - shift) * torch.exp(stretch)], 1)
            log_stretch = log_stretch + stretch.sum(1)
        return log_stretch - 0.5 * values.square().sum(1) - self.n_variable * NORMAL

    def sample(self, latent, n_draw, generator):
        """Draws (n, n_draw, v)."""
        context = functional.silu(self.context(latent)).repeat_interleave(n_draw, 0)
        values = torch.randn(len(context), self.n_variable, generator=generator)
        for order, layer in zip(self.orders[::-1], list(self.layers)[::-1], strict=True):
            first, second = values.tensor_split([self.half], 1)
            shift, stretch = self.coupling(layer, first, context)
            values = torch.cat([first, second * torch.exp(-stretch) + shift], 1)[:, order.argsort()]
        return values.view(len(latent), n_draw, -1)


class Head(nn.Module):
    """A density of standardised variables, of sticks or of log-ratios."""

    def __init__(self, density, variables, n_age, ratios):
        super().__init__()
        self.density, self.n_age, self.ratios = density, n_age, ratios
        values = to_ratios(variables, n_age)[0] if ratios else variables
        self.mean, self.std = values.mean(0), values.std(0)

    def log_prob(self, variables, latent):
        """Log density of the variables with broken sticks (n,)."""
        values, jacobian = to_ratios(variables, self.n_age) if self.ratios else (variables, 0.0)
        return self.density.log_prob((values - self.mean) / self.std, latent) - self.std.log().sum() + jacobian

    def sample(self, latent, n_draw, generator):
        """Draws (n, n_draw, v) of them."""
        values = self.density.sample(latent, n_draw, generator) * self.std + self.mean
        return from_ratios(values.flatten(0, 1), self.n_age).view(values.shape) if self.ratios else values


@torch.inference_mode()
def data(network, generator, first, n):
    """Latent vectors, variables with leads, and the truth of new mocks."""
    encode, parts = PackedNetwork(network), []
    for chunk in range(first, first + n // CHUNK):
        mocks = to_tensors(generator.chunk(chunk, CHUNK))
        inputs = [mocks[name].split(BATCH) for name in INPUT_NAMES]
        latent = torch.cat([encode(*batch)["latent"] for batch in zip(*inputs, strict=True)])
        truth = [mocks[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")]
        own = [truth[3][:, SCALAR_NAMES.index(name)] for name in SCALARS]
        leads = network.leads(network.targets(*truth))
        parts.append((latent, to_variables(truth[0], truth[2], *own, leads), truth[0], truth[2], *own))
    return [torch.cat(part).clone() for part in zip(*parts, strict=True)]


def spread(network, variables, n_lead, seed):
    """Variables of a head with so many leads, empty bins spread."""
    noise = torch.randn(len(variables), network.n_age - 1, generator=torch.Generator().manual_seed(seed))
    return network.posterior.jitter(variables, noise)[:, network.n_lead - n_lead :]


def train(head, n_lead, network, latent, variables, rate):
    """Two passes, the rate falling to zero."""
    steps = N_EPOCH * (len(latent) // BATCH)
    optimizer = SOAP(head.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / 100, 1.0) * 0.5 * (1 + math.cos(math.pi * i / steps))
    )
    for epoch in range(N_EPOCH):
        order = torch.randperm(len(latent), generator=torch.Generator().manual_seed(epoch))
        jittered = spread(network, variables, n_lead, epoch)
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = -head.log_prob(jittered[rows], latent[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 10.0)
            optimizer.step()
            schedule.step()


def quantities(age_grid, mass, metallicity, a_v, _):
    """What intervals are made of, (n_spec,) or (n_spec, n_draw); of bins with a last axis more."""
    t50, t90 = (np.log10(history.formation_time(mass, age_grid.edges_yr, share)) for share in (0.5, 0.9))
    age, mean = history.mean_log_age(mass, age_grid.log_ages_dex), history.mean_metallicity(mass, metallicity)
    return {"age": age, "[M/H]": mean, "A_V": a_v, "t50": t50, "t90": t90, "bins": mass}


def crps(draws, truth):
    """Continuous ranked probability score, the mean over spectra and bins, in units of the spread of the truth."""
    draws = np.sort(draws, axis=1)
    n = draws.shape[1]
    weight = (2 * np.arange(n) - n + 1).reshape(-1, *[1] * (draws.ndim - 2)) / (n * (n - 1))
    score = np.abs(draws - truth[:, None]).mean(axis=1) - (weight * draws).sum(axis=1)
    return float((score.mean(axis=0) / truth.std(axis=0)).mean())


@torch.inference_mode()
def likelihood(head, n_lead, network, test):
    """Mean -log density of the variables of held-out mocks."""
    batches = zip(spread(network, test[1], n_lead, seed=99).split(BATCH), test[0].split(BATCH), strict=True)
    return -float(torch.cat([head.log_prob(*batch) for batch in batches]).mean())


@torch.inference_mode()
def sample(head, latent, n_age):
    """Draws of the truths of `data`, each (n_spec, n_draw, ...)."""
    generator = torch.Generator().manual_seed(0)
    variables = torch.cat([head.sample(part, N_DRAW, generator) for part in latent.split(16)])
    return [part.view(*variables.shape[:2], *part.shape[1:]) for part in from_variables(variables.flatten(0, 1), n_age)]


def raked(engine, latent):
    """The same as users get them."""
    draws = engine.draw(latent.numpy(), N_DRAW, seed=0, common=False)
    return [torch.from_numpy(draws[name]) for name in ("mass_fraction", "metallicity", *SCALARS)]


def measure(draw, age_grid, test):
    """Of the draws that a function of the latent vectors gives: score, coverage, TARP and time."""
    latent, _, *truth = test
    start = time.process_time()
    draws = draw(latent)
    milliseconds = 1e3 * (time.process_time() - start) / len(latent)
    drawn, true = (quantities(age_grid, *[part.numpy() for part in values]) for values in (draws, truth))
    row = {"score": f"{np.mean([crps(drawn[name], true[name]) for name in true]):.4f}"}
    for name in true:
        inside = np.abs(sbc_ranks(drawn[name], true[name]) - 0.5)
        row[name] = " ".join(f"{100 * np.mean(inside < level / 2):.0f}" for level in LEVELS)
    variables = to_variables(*[part.flatten(0, 1) for part in draws]).view(len(latent), N_DRAW, -1)
    level, coverage = tarp_coverage(variables.numpy(), to_variables(*truth).numpy())
    deviation = coverage - level
    return row | {"TARP": f"{deviation[np.abs(deviation).argmax()]:+.3f}", "ms": f"{milliseconds:.1f}"}


def heads(network, variables):
    """Names, and functions that make the head and tell how many leads it has."""
    n_age, n_lead, n_latent = network.n_age, network.n_lead, len(network.latent_mean)
    own = spread(network, variables, 0, seed=0)
    n_variable = own.shape[1]

    def wrapped(density, ratios=False):
        return Head(density, own, n_age, ratios), 0

    yield "Gaussian, log-ratios", lambda: wrapped(Gaussians(n_latent, n_variable, 1), ratios=True)
    yield "Gaussian", lambda: wrapped(Gaussians(n_latent, n_variable, 1))
    yield "4 Gaussians, log-ratios", lambda: wrapped(Gaussians(n_latent, n_variable, 4), ratios=True)
    yield "4 Gaussians", lambda: wrapped(Gaussians(n_latent, n_variable, 4))
    yield "flow", lambda: wrapped(Flow(n_latent, n_variable))
    yield "autoregressive, 1 Gaussian", lambda: (JointPosterior(n_latent, n_age, n_mixture=1), 0)
    yield "autoregressive, 8 Gaussians", lambda: (JointPosterior(n_latent, n_age), 0)
    yield "the same, means first", lambda: (JointPosterior(n_latent, n_age, n_lead=n_lead), n_lead)


def main():
    """Train and measure; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-mocks", type=int, default=300_000)
    parser.add_argument("--n-test", type=int, default=16 * CHUNK, help="mocks for the likelihood")
    parser.add_argument("--n-sampled", type=int, default=4096, help="of those, for draws")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--cache", type=Path, help="file that keeps the latent vectors")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    predictor = SFHPredictor.pretrained(NETWORK)
    network, age_grid = predictor.engine.network, predictor.contract.age_grid
    if arguments.cache and arguments.cache.exists():
        train_data, test = torch.load(arguments.cache)
    else:
        generator = released_mocks(predictor.contract)
        sizes = ((TRAIN, arguments.n_mocks), (TEST, arguments.n_test))
        train_data, test = (data(network, generator, *size) for size in sizes)
        if arguments.cache:
            torch.save((train_data[:2], test), arguments.cache)
    (latent, variables), table = train_data[:2], []
    few = [part[: arguments.n_sampled] for part in test]

    def row(head, n_lead):
        masked = sum(int((mask == 0).sum()) for mask in head.buffers())
        return {
            "weights": sum(weight.numel() for weight in head.parameters()) - masked,
            "-log p": "" if n_lead else f"{likelihood(head, n_lead, network, test):.2f}",
            **measure(lambda latent: sample(head, latent, network.n_age), age_grid, few),
        }

    for name, make in heads(network, variables):
        if arguments.only and name not in arguments.only:
            continue
        torch.manual_seed(0)
        head, n_lead = make()
        start = time.process_time()
        train(head, n_lead, network, latent, variables, arguments.rate)
        seconds = time.process_time() - start
        table.append({"head": name, **row(head, n_lead)})
        print(f"{seconds:.0f} s", table[-1], flush=True)
    table.append({"head": "as released", **row(network.posterior, network.n_lead)})
    kept = measure(lambda latent: raked(predictor.engine, latent), age_grid, few)
    table.append({"head": "as released, draws as kept", "weights": "", "-log p": "", **kept})
    table = Table(rows=table)
    table.pprint_all(align="<")
    if arguments.write:
        table.write(arguments.write, format="ascii.csv", overwrite=True)


if __name__ == "__main__":
    main()
