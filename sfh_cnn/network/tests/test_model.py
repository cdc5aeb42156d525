"""The network as a whole: shapes, ordered quantiles, invariances, attention."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core import SFHCNNError
from sfh_cnn.core.constants import QUANTILE_LEVELS, SCALAR_NAMES
from sfh_cnn.network import NetworkConfig, SFHNet
from sfh_cnn.network.model import AttentionBlock
from sfh_cnn.tests.small import small_config, small_generator

N_AGE, N_LEVEL, N = 16, len(QUANTILE_LEVELS), 64


@torch.no_grad()
def test_shapes_and_simplex(network, inputs):
    """What the docstring promises; fractions are positive and sum to 1."""
    out = network(*inputs)
    shapes = {name: tuple(value.shape) for name, value in out.items()}
    assert shapes == {
        "mass_fraction": (N, N_AGE),
        "light_fraction": (N, N_AGE),
        "fraction_quantiles": (N, 2, N_AGE, N_LEVEL),
        "metallicity_quantiles": (N, N_AGE, N_LEVEL),
        "scalar_quantiles": (N, len(SCALAR_NAMES), N_LEVEL),
        "latent": (N, network.latent_mean.numel()),
        "unusualness": (N,),
    }
    for name in ("mass_fraction", "light_fraction"):
        assert_close(out[name].sum(1), torch.ones(N))
        assert out[name].min() > 0
    assert all(torch.isfinite(value).all() for value in out.values())


@torch.no_grad()
def test_quantiles_never_cross(network, inputs):
    """Even if calibration gives neighbouring levels factors that would make them, and whatever the weights are."""
    network = copy.deepcopy(network)
    torch.manual_seed(0)
    network.quantiles.weight.copy_(3 * torch.randn_like(network.quantiles.weight))
    network.interval_factor.copy_(0.5 + 1.5 * torch.rand_like(network.interval_factor))
    raw = network.heads(network.encode(*inputs))[1]
    assert (raw.diff(dim=-1) < 0).any()  # they would
    out = network(*inputs)
    for name in ("fraction_quantiles", "metallicity_quantiles", "scalar_quantiles"):
        assert (out[name].diff(dim=-1) >= 0).all()
    # The median stays where it was.
    rows = slice(3 * N_AGE, 3 * N_AGE + 4)
    median = raw[:, rows, N_LEVEL // 2] * network.quantity_std[rows] + network.quantity_mean[rows]
    assert_close(out["scalar_quantiles"][:, :4, N_LEVEL // 2], median)


@torch.no_grad()
def test_interval_factors_stretch_the_intervals(network, inputs):
    """Twice the factor is twice the distance from the median."""
    wide = copy.deepcopy(network)
    network = copy.deepcopy(network)
    network.interval_factor.fill_(1.0)
    wide.interval_factor.fill_(2.0)
    here, there = network(*inputs)["scalar_quantiles"], wide(*inputs)["scalar_quantiles"]
    median = here[..., N_LEVEL // 2 : N_LEVEL // 2 + 1]
    assert_close(there - median, 2 * (here - median), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fractions_of_quantiles_are_fractions(network, inputs):
    """The cube root is undone, and nothing is below 0 or above 1."""
    quantiles = network(*inputs)["fraction_quantiles"]
    assert quantiles.min() >= 0
    assert quantiles.max() <= 1


@torch.no_grad()
def test_the_unit_of_the_flux_does_not_matter(network, inputs):
    """Spectrum and bands together times a power of two: the same digits."""
    scaled = list(inputs)
    for i in (0, 1, 3, 4):
        scaled[i] = inputs[i] * 2.0**25
    here, there = network(*inputs), network(*scaled)
    for name in here:
        assert torch.equal(here[name], there[name])


@torch.no_grad()
def test_masked_pixels_and_missing_bands_do_not_matter(network, inputs):
    """What is masked may be NaN; a missing band's error may be anything."""
    flux, flux_err, mask, band_flux, band_flux_err, *rest = inputs
    missing = ~torch.isfinite(band_flux)
    assert missing.any()
    assert mask.any()
    other = (
        flux.masked_fill(mask, math.nan),
        flux_err.masked_fill(mask, math.inf),
        mask,
        band_flux,
        band_flux_err.masked_fill(missing, 3.0),
    )
    here, there = network(*inputs), network(*other, *rest)
    for name in here:
        assert torch.equal(here[name], there[name])


@torch.no_grad()
@pytest.mark.parametrize("changed", range(7))
def test_every_input_matters(network, inputs, changed):
    """None of the seven arguments is ignored."""
    other = list(inputs)
    if changed == 2:
        other[2] = ~inputs[2]
    elif changed in (5, 6):
        other[changed] = inputs[changed] + 0.02
    else:
        other[changed] = inputs[changed] * torch.linspace(0.5, 1.5, inputs[changed].shape[1])
    assert (network(*inputs)["mass_fraction"] - network(*other)["mass_fraction"]).abs().max() > 1e-5


@torch.no_grad()
def test_rows_do_not_know_each_other(network, inputs):
    """A row alone and in a batch, beside a row of NaN too."""
    poisoned = [value.clone() for value in inputs]
    poisoned[0][1] = math.nan
    whole, alone = network(*poisoned), network(*[value[:1] for value in inputs])
    for name in whole:
        assert_close(whole[name][:1], alone[name], atol=1e-5, rtol=1e-4)
        assert torch.isfinite(whole[name][2:]).all()


def test_targets_are_what_the_quantile_head_predicts(network, mocks):
    """Standardised cube roots of fractions, [M/H] and scalars; the inverse of what forward does."""
    truth = [mocks[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")]
    targets = network.targets(*truth) * network.quantity_std + network.quantity_mean
    assert_close(targets[:, :N_AGE] ** 3, truth[0], atol=1e-5, rtol=1e-4)
    assert_close(targets[:, N_AGE : 2 * N_AGE] ** 3, truth[1], atol=1e-5, rtol=1e-4)
    assert_close(targets[:, 2 * N_AGE : 3 * N_AGE], truth[2], atol=1e-5, rtol=1e-4)
    n_known = 3 * N_AGE + truth[3].shape[1]
    assert_close(targets[:, 3 * N_AGE : n_known], truth[3], atol=1e-3, rtol=1e-4)
    # The mass formed since the second of the inner edges of the age bins, and since each later one but the last.
    formed = torch.stack([truth[0][:, : j + 2].sum(1) for j in range(N_AGE - 2)], 1)
    assert_close(targets[:, n_known:] ** 3, formed, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("n_age", [1, 2, 3])
def test_few_age_bins(n_age, inputs):
    """With one or two there is no mass to be formed between first and last edge; scalars are where they should be."""
    contract = small_generator().contract()
    contract = contract.replace(age_edges_yr=(0.0, *np.geomspace(1e8, 1.38e10, n_age + 1)[1:]))
    few = SFHNet(contract, small_config().network).eval()
    assert few.n_cumulative == max(n_age - 2, 0)
    out = few(*inputs)
    assert out["scalar_quantiles"].shape[1] == len(SCALAR_NAMES)
    fractions = torch.full((5, n_age), 1.0 / n_age)
    assert few.targets(fractions, fractions, fractions, torch.zeros(5, len(SCALAR_NAMES))).shape == (5, few.n_quantity)


@torch.no_grad()
def test_attention_is_blind_to_the_order_of_tokens():
    """Without positions a permutation of the tokens permutes the answer; with one token changed all others notice."""
    torch.manual_seed(0)
    block, tokens = AttentionBlock(8, 2, 12), torch.randn(3, 5, 8)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_close(block(tokens[:, order]), block(tokens)[:, order])
    changed = tokens.clone()
    changed[:, 0] = torch.randn(3, 8)
    assert ((block(changed) - block(tokens))[:, 1:].abs().amax((0, 2)) > 1e-5).all()


@torch.no_grad()
def test_attention_is_softmax_of_scaled_products():
    """Against the formula of Vaswani et al. (2017, arXiv:1706.03762), head by head."""
    torch.manual_seed(0)
    block, tokens = AttentionBlock(8, 2, 12), torch.randn(3, 5, 8)
    query, key, value = block.query_key_value(block.norm_1(tokens)).split(8, -1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 2.0).softmax(-1)
        heads.append(weights @ value[..., part])
    mixed = tokens + block.mix(torch.cat(heads, -1))
    expected = mixed + block.outer(torch.nn.functional.silu(block.inner(block.norm_2(mixed))))
    assert_close(block(tokens), expected)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_latent": 0}, "n_latent must be positive, got 0"),
        ({"block_px": 15}, "block_px must be even, got 15"),
        (
            {"n_token_channel": 15, "tokens_together": 2, "n_head": 4},
            r"n_token_channel times tokens_together \(30\) must be a multiple of n_head \(4\)",
        ),
    ],
)
def test_impossible_layers_are_refused(setting, message):
    """With the name and the value."""
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**setting)


def test_the_projection_sees_means_of_neighbours(network):
    """Each pixel once; a number of pixels that cannot be shared out is refused."""
    values = torch.arange(12.0).view(2, 6)
    network = copy.deepcopy(network)
    network.projection_px = 3
    assert_close(network.coarse(values), torch.tensor([[1.0, 4.0], [7.0, 10.0]]))
    with pytest.raises(SFHCNNError, match=r"projection_px \(7\) must divide the number of pixels, 240"):
        SFHNet(small_generator().contract(), NetworkConfig(projection_px=7))


@torch.no_grad()
def test_tokens_are_those_of_the_convolutions(network):
    """The matrix products give what PyTorch's convolutions with the same weights give."""
    torch.manual_seed(0)
    block_px = network.features.block_px
    n_block = network.features.n_block
    high_passed, precision = torch.randn(2, 3, n_block * block_px).unbind(0)
    blocks = torch.randn(3, 3, n_block)
    patches = torch.nn.functional.silu(network.patches(torch.stack([high_passed, precision], 1)))
    padded = torch.nn.functional.pad(torch.cat([patches, blocks], 1), [0, network.token_padding])
    expected = network.tokens(padded).transpose(1, 2).reshape(3, *network.position.shape)  # side by side
    assert_close(network.tokenise(high_passed, precision, blocks), expected, atol=1e-5, rtol=1e-4)
