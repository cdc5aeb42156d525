"""A smaller network that begins where a larger one has ended."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core import SFHCNNError
from sfh_cnn.network import SFHNet
from sfh_cnn.synthesis import MockGenerator
from sfh_cnn.tests.small import NETWORK, small_config, small_generator, small_library
from sfh_cnn.training import INPUT_NAMES, build_network, shrink, to_tensors
from sfh_cnn.training.refit import watch

#: Layers of the large one.
FULL = {
    "n_residual_hidden": 24,
    "n_token_hidden": 16,
    "n_projection": 20,
    "projection_px": 1,
    "n_token_channel": 8,
    "tokens_together": 1,
    "cumulative": False,
}


def network_of(**layers):
    """Fresh weights, whatever they are."""
    torch.manual_seed(3)
    return SFHNet(small_generator().contract(), dataclasses.replace(NETWORK, **layers)).eval()


@pytest.fixture(scope="module")
def large():
    """Its projection is that of the mocks; with weights in all other layers, also in those that begin with zeros."""
    layers = dataclasses.replace(NETWORK, **FULL)
    network = build_network(dataclasses.replace(small_config(), network=layers), small_generator()).eval()
    torch.manual_seed(4)
    for name, value in network.named_parameters():
        if name != "projection.weight":
            value.data += 0.1 * torch.randn_like(value)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def mocks():
    """To fit with, and others to compare with."""
    return [to_tensors(small_generator().chunk(index, n)) for index, n in ((90, 2048), (91, 512))]


def distance(one, other, mocks):
    """Rms difference of latent vectors."""
    inputs = [mocks[name] for name in INPUT_NAMES]
    with torch.no_grad():
        return (one.encode(*inputs) - other.encode(*inputs)).square().mean().sqrt().item()


def with_state(network, state):
    """The same network with other weights."""
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize(
    ("layers", "share"),
    [
        ({"n_residual_hidden": 12}, 0.5),
        ({"n_token_hidden": 8}, 0.5),
        ({"n_projection": 12, "projection_px": 2}, 0.9),  # in miniature all its directions count
        ({"n_token_channel": 4, "tokens_together": 2}, 0.6),
        ({"n_residual_hidden": 16, "n_token_hidden": 10, "n_projection": 16}, 0.6),
    ],
    ids=["trunk", "attention", "projection", "tokens", "all"],
)
def test_it_is_closer_than_what_is_simply_cut_off(large, mocks, layers, share):
    """To mocks that were not fitted; what the networks share is the same."""
    small = network_of(**{**FULL, **layers})
    state = shrink(large, small, mocks[0])
    old = large.state_dict()
    for name, value in state.items():
        if value.shape == old[name].shape and not name.startswith(
            ("join", "gate", "attention.", "trunk.", "pool.bias")
        ):
            assert_close(value, old[name], rtol=0, atol=0)
    cut = {}
    for name, value in small.state_dict().items():
        source = old[name]
        if name == "projection.weight":
            source = source.view(len(source), value.shape[1], -1).sum(2)
        if name == "join.weight":  # the projection comes first
            n, n_old = (len(each.projection.weight) for each in (small, large))
            source = torch.cat([source[:, :n], source[:, n_old:]], 1)
        cut[name] = source[tuple(slice(length) for length in value.shape)]
    shrunk = distance(with_state(network_of(**{**FULL, **layers}), state), large, mocks[1])
    assert shrunk < share * distance(with_state(small, cut), large, mocks[1])


def test_nothing_to_shrink_changes_little(large, mocks):
    """The fit of the first shared layer to its own outputs gives itself, but for the ridge."""
    same = network_of(**FULL)
    state = shrink(large, same, mocks[0])
    assert distance(with_state(same, state), large, mocks[1]) < 0.05


def test_tokens_that_are_alike_are_merged_without_loss(large, mocks):
    """Where half of the directions of the tokens are empty, and attention adds nothing, nothing is lost."""
    plain = network_of(**FULL)
    plain.load_state_dict(large.state_dict())
    for layer in (plain.attention.mix, plain.attention.outer):
        layer.weight.data.zero_()
    torch.manual_seed(5)
    into, back = torch.linalg.qr(torch.randn(8, 4))[0].T, torch.linalg.qr(torch.randn(8, 4))[0]
    plain.tokens.weight.data = torch.tensordot(back @ into, plain.tokens.weight.data, 1)
    plain.position.data.zero_()
    merged = network_of(**{**FULL, "n_token_channel": 4, "tokens_together": 2})
    state = shrink(plain, merged, mocks[0])
    assert distance(with_state(merged, state), plain, mocks[1]) < 0.05


def test_more_quantities_leave_the_others_alone(large, mocks):
    """What the large network has no quantiles of begins at its mean."""
    more = network_of(**{**FULL, "cumulative": True})
    state = shrink(large, more, mocks[0])
    inputs = [mocks[1][name] for name in INPUT_NAMES]
    with_state(more, state)
    with torch.no_grad():
        assert_close(more(*inputs), large(*inputs))
        own = more.heads(more.encode(*inputs))[1][:, large.n_quantity :]
    assert own.shape[1] == more.n_cumulative == 14
    assert (own[..., own.shape[-1] // 2] == 0).all()


def test_all_tokens_are_looked_at(large, mocks):
    """One of each spectrum, in turn."""
    seen = watch(large, ["attention.outer"], mocks[1])["attention.outer"]
    every = []
    hook = large.attention.outer.register_forward_pre_hook(lambda _, inputs: every.append(inputs[0]))
    large.encode(*[mocks[1][name] for name in INPUT_NAMES])
    hook.remove()
    n_token = every[0].shape[1]
    assert seen.shape == every[0][:, 0].shape
    for i in range(2 * n_token):
        assert_close(seen[i], every[0][i, i % n_token])


def test_pairs_of_pixels_cannot_become_triples(large, mocks):
    """They are put together whole."""
    pairs, triples = (network_of(**{**FULL, "projection_px": px}) for px in (2, 3))
    with pytest.raises(SFHCNNError, match=r"projection_px \(3\) must be a multiple of"):
        shrink(pairs, triples, mocks[0])


@pytest.mark.parametrize(
    "layers",
    [
        {"n_latent": 16},
        {"n_residual_hidden": 30},
        {"n_residual": 2},
        {"n_token_channel": 4},
        {"n_token_channel": 4, "tokens_together": 2, "token_stride": 2},
        {"n_token_channel": 4, "tokens_together": 2, "n_channel": 3},
        {"n_token_channel": 4, "tokens_together": 2, "block_px": 8},
    ],
)
def test_other_layers_are_refused(large, mocks, layers):
    """Wider ones, too."""
    small = network_of(**{**FULL, "n_residual_hidden": 12, **layers})
    with pytest.raises(SFHCNNError, match="has other pixels, bands, age bins or layers"):
        shrink(large, small, mocks[0])


@pytest.mark.parametrize("layers", [{}, {"n_token_channel": 4, "tokens_together": 2}])
@pytest.mark.parametrize("instrument", [{"n_wave": 224}, {"bands": ("F438W",)}])
def test_other_data_are_refused(large, mocks, layers, instrument):
    """Pixels or bands, whether tokens are merged or not."""
    synthesis = small_config().synthesis
    instrument = dataclasses.replace(synthesis.instrument, **instrument)
    generator = MockGenerator(dataclasses.replace(synthesis, instrument=instrument), [small_library()])
    small = SFHNet(generator.contract(), dataclasses.replace(NETWORK, **{**FULL, **layers}))
    with pytest.raises(SFHCNNError, match="has other pixels, bands, age bins or layers"):
        shrink(large, small, mocks[0])
