"""Scales and principal components before the first step."""

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.tests.small import small_config, small_generator
from sfh_cnn.training import INPUT_NAMES, build_network, to_tensors


@pytest.fixture(scope="module")
def network():
    """As training starts with it."""
    return build_network(small_config(), small_generator())


@pytest.fixture(scope="module")
def mocks():
    """Eight groups of kinematics, none of them used for the initialisation."""
    return to_tensors(small_generator().chunk(77, 2048))


@torch.no_grad()
def test_features_are_standardised(network, mocks):
    """Blocks, projections and targets have means near 0 and widths near 1 on other mocks."""
    high_passed, _, blocks, _, _ = network.features(*[mocks[name] for name in INPUT_NAMES[:3]])
    standard = (blocks - network.block_mean) / network.block_std
    assert standard.mean((0, 2)).abs().max() < 0.15
    assert (standard.std(0)[:2] - 1).abs().max() < 0.3
    assert (network.projection(network.coarse(high_passed)).std(0) - 1).abs().max() < 0.6
    truth = [mocks[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")]
    targets = network.targets(*truth)
    kinematics = slice(48 + network.n_scalar - 2, 48 + network.n_scalar)  # those of the groups: far too few
    assert SCALAR_NAMES[-2:] == ("velocity_dispersion", "velocity")
    targets[:, kinematics] = 0.0
    assert targets.mean(0).abs().max() < 0.3
    assert (targets[:, 48 : kinematics.start].std(0) - 1).abs().max() < 0.3
    # The mass formed since bin edges shares a scale with the fractions of bins.
    assert_close(network.quantity_std[-network.n_cumulative :], network.quantity_std[: network.n_cumulative])


@torch.no_grad()
def test_the_projection_looks_where_the_signal_is(network, mocks):
    """It keeps far more of the noise-free variance than as many random filters do."""
    clean = to_tensors(small_generator().chunk(78, 512, observed=False))["flux"]
    signal, _, _, _, _ = network.features(clean, 1e-3 * clean, torch.zeros_like(clean, dtype=torch.bool))
    signal = network.coarse(signal)
    signal = signal - signal.mean(0)

    def share_kept(filters):
        basis, _ = torch.linalg.qr(filters.T)
        return ((signal @ basis).square().sum() / signal.square().sum()).item()

    random = torch.randn(network.projection.weight.shape, generator=torch.Generator().manual_seed(0))
    assert share_kept(network.projection.weight) > 0.95
    assert share_kept(random) < 0.3


def test_it_depends_on_the_seed_alone(network):
    """The same bytes again; another seed, other weights."""
    again = build_network(small_config(), small_generator())
    for name, value in network.state_dict().items():
        assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    other = build_network(small_config(seed=2), small_generator())
    assert not torch.equal(other.join.weight, network.join.weight)
