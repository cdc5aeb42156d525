"""A network for wider pixels does what the one that it begins with does."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core import SFHCNNError
from sfh_cnn.network import SFHNet
from sfh_cnn.tests.small import NETWORK, small_config, small_generator, small_library
from sfh_cnn.training import INPUT_NAMES, held_out_mocks, train, widen

#: Half of the pixels of `small_generator`, each twice as wide, from the same edge on.
WIDE_PIXELS = {"wave_start_aa": 4805.0, "wave_step_aa": 10.0, "n_wave": 120}
WIDE_LAYERS = {"block_px": NETWORK.block_px // 2, "signal_floor": NETWORK.signal_floor / 2**0.5}


def wide_network(**layers):
    """Fresh weights, for pixels twice as wide as those of `small_generator`."""
    contract = small_generator().contract().replace(**WIDE_PIXELS)
    return SFHNet(contract, dataclasses.replace(NETWORK, **{**WIDE_LAYERS, **layers})).eval()


@pytest.fixture
def narrow():
    """With weights in all layers, and scales that count."""
    torch.manual_seed(5)
    network = SFHNet(small_generator().contract(), NETWORK).eval()
    for value in network.parameters():
        value.data += 0.1 * torch.randn_like(value)
    network.block_mean.normal_()
    network.block_std.uniform_(0.5, 1.5)
    return network.requires_grad_(False)


@torch.no_grad()
def test_the_same_answers_from_the_same_data(narrow):
    """Both pixels of a pair have the same flux, error and mask; the pair has an error smaller by root two.

    All blocks have the same mean, for a continuum with a slope is another one in the two pixels.
    """
    inputs = {
        name: value for name, value in held_out_mocks(small_generator(), "test", 64).items() if name in INPUT_NAMES
    }
    noise, valid = 0.05 * torch.randn(64, 15, 8), (torch.rand(64, 15, 8) > 0.2).float()
    noise -= (noise * valid).sum(2, keepdim=True) / valid.sum(2, keepdim=True).clamp(min=1)
    flux, mask = (1.0 + noise).flatten(1), (valid == 0).flatten(1)
    pairs = {"flux": flux, "flux_err": 0.01 + 0.1 * torch.rand(64, 120), "mask": mask}
    both = {name: value.repeat_interleave(2, 1) for name, value in pairs.items()}
    pairs["flux_err"] = pairs["flux_err"] / 2**0.5
    wide = wide_network()
    wide.load_state_dict(widen(narrow, wide))
    expected, out = (
        network(*({**inputs, **data}[name] for name in INPUT_NAMES))
        for network, data in ((narrow, both), (wide, pairs))
    )
    for name, value in expected.items():
        assert_close(out[name], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()), msg=name)


def test_the_saturation_must_go_along(narrow):
    """Another floor is another network."""
    wide = wide_network(signal_floor=NETWORK.signal_floor)
    with pytest.raises(SFHCNNError, match=r"it must be 0\.01414"):
        widen(narrow, wide)


def test_training_begins_with_it(tmp_path, narrow):
    """``init_from`` a network of narrower pixels: after one small step the network still does nearly the same."""
    config = small_config(n_mocks=32, learning_rate=1e-9)
    instrument = dataclasses.replace(config.synthesis.instrument, **WIDE_PIXELS)
    synthesis = dataclasses.replace(config.synthesis, instrument=instrument)
    layers = dataclasses.replace(config.network, **WIDE_LAYERS)
    config = dataclasses.replace(config, synthesis=synthesis, network=layers)
    trained = train(config, tmp_path, libraries=[small_library()], init_from=narrow, progress_bar=False)
    for name, value in widen(narrow, wide_network()).items():
        if name not in ("interval_factor", "latent_mean", "latent_whitening", "latent_threshold"):
            assert_close(trained.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)
