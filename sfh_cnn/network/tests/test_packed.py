"""The packed network gives the numbers of the eager one, for any layers and batch size."""

import copy

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.network import NetworkConfig, PackedNetwork, SFHNet
from sfh_cnn.tests.small import small_generator

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")


def assert_same(network, inputs):
    """Every output, to the rounding of single precision."""
    expected, out = network(*inputs), PackedNetwork(network)(*inputs)
    assert list(out) == list(expected)
    for name, value in expected.items():
        assert_close(out[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()), msg=name)


@torch.inference_mode()
@pytest.mark.parametrize("n", [1, 7, 64])
def test_the_numbers_of_the_eager_network(network, inputs, n):
    """Point estimates, quantiles, latent vectors and unusualness."""
    assert_same(network, [value[:n] for value in inputs])


@torch.inference_mode()
def test_every_weight_counts(network, inputs):
    """Weights that are zero when training starts, biases and positions are in the right places too."""
    network = copy.deepcopy(network)
    torch.manual_seed(3)
    for name, parameter in network.named_parameters():
        if not name.startswith("posterior"):
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.latent_mean.normal_()
    network.latent_whitening.normal_()
    assert_same(network, inputs)


@torch.inference_mode()
@pytest.mark.parametrize(
    "layers",
    [
        {"block_px": 8, "token_stride": 7, "projection_px": 1},
        {"n_head": 2, "n_residual": 1},
        {"block_px": 8, "n_token_channel": 32, "tokens_together": 2, "cumulative": True},
        {"block_px": 8, "token_stride": 4, "n_token_channel": 12, "tokens_together": 3},
    ],
)
def test_other_layers(inputs, layers):
    """Also where the last token is not full."""
    torch.manual_seed(4)
    assert_same(SFHNet(small_generator().contract(), NetworkConfig(**layers)).eval(), inputs)


@torch.inference_mode()
def test_attention_without_the_maximum_stays_finite(network, inputs):
    """Scores far beyond any of a trained network give numbers, not NaN."""
    network = copy.deepcopy(network)
    network.attention.query_key_value.weight.mul_(100.0)
    out = PackedNetwork(network)(*inputs)
    assert all(torch.isfinite(value).all() for value in out.values())


@torch.inference_mode()
def test_half_the_digits_give_the_same_answers(network, inputs):
    """With bfloat16 no median moves by more than a tenth of its error; on the whole they move by a fiftieth."""
    if not PackedNetwork.is_available(network, "bfloat16"):
        pytest.skip("this processor has no products of bfloat16")
    expected = network(*inputs)["scalar_quantiles"]
    out = PackedNetwork(network, "bfloat16")(*inputs)["scalar_quantiles"]
    middle = expected.shape[-1] // 2
    width = 0.5 * (expected[..., middle + 2] - expected[..., middle - 2])  # 16 to 84 per cent
    moved = (out - expected)[..., middle] / width
    assert moved.abs().max() < 0.1
    assert moved.square().mean().sqrt() < 0.02
