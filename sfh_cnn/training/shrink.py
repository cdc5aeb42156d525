"""shrink(): a network with smaller layers that begins where a larger one has ended."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from sfh_cnn.core import SFHCNNError

from .losses import INPUT_NAMES
from .merge import merge_tokens
from .refit import fit, watch, with_ridge

if TYPE_CHECKING:
    from torch import Tensor

    from sfh_cnn.network import SFHNet

__all__ = ["shrink"]

#: Share of the units still to go that is dropped in each round, at most.
_DROPPED = 0.25
#: What has a row, or more, for each quantity with quantiles.
_BY_QUANTITY = ("quantiles.weight", "quantiles.bias", "quantity_mean", "quantity_std", "interval_factor")


@torch.no_grad()
def shrink(large: SFHNet, small: SFHNet, mocks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with which a smaller network does about what a larger one does.

    Of each perceptron those hidden units stay without which the others can least do, and what follows them is fitted
    anew to the outputs of the larger network; the projection keeps the directions that matter most to what follows.
    Tokens that the attention sees side by side keep the leading directions of what they were, and what it does to them
    it does to their mean. Quantities that the larger network has no quantiles of begin without any knowledge. After
    that the network needs training, best with the larger one as its teacher.

    Parameters
    ----------
    large : SFHNet
        Trained.
    small : SFHNet
        Its ``n_projection``, ``n_token_hidden`` and ``n_residual_hidden`` may be smaller, its ``projection_px`` a
        multiple, its ``tokens_together`` larger than the large one's 1, with as many channels in all, its
        ``cumulative`` true. Not changed.
    mocks : dict of Tensor
        A few times more than the widest layer has inputs.

    Returns
    -------
    dict of Tensor
        State of the small network.

    Raises
    ------
    SFHCNNError
        If other layers differ, too, or a layer of the small network is larger.
    """
    if small.projection_px % large.projection_px:
        raise SFHCNNError(
            f"projection_px ({small.projection_px}) must be a multiple of that of the network to start from, "
            f"{large.projection_px}"
        )
    teacher, merges = large, large.tokens.out_channels != small.tokens.out_channels
    if merges:
        merged = merge_tokens(large, small, mocks)
        if merged is None:
            raise _other_layers("not only the number of tokens that the attention sees as one")
        large = merged
    old, state = large.state_dict(), {name: value.clone() for name, value in small.state_dict().items()}
    fitted = _perceptrons(large, small)
    free = {"projection.weight", "gate.weight", "gate.bias", "join.weight"}
    free |= {f"{name}.{part}" for name in fitted for part in ("inner.weight", "inner.bias", "outer.weight")}
    for name, value in state.items():
        if old[name].shape == value.shape:
            value.copy_(old[name])
        elif name in _BY_QUANTITY and len(value) > len(old[name]):
            if name.startswith("quantiles"):
                value.zero_()
            value[: len(old[name])] = old[name]
        elif name not in free or any(n > m for n, m in zip(value.shape, old[name].shape, strict=True)):
            raise _other_layers(f"{name} has shape {tuple(old[name].shape)}, not {tuple(value.shape)}")

    inputs = watch(large, [f"{name}.outer" for name in fitted], mocks)
    for name in fitted:
        hidden, outer = inputs[f"{name}.outer"], large.get_submodule(f"{name}.outer")
        units = _most_needed(hidden, outer.weight, len(state[f"{name}.inner.bias"]))
        for part in ("inner.weight", "inner.bias"):
            state[f"{name}.{part}"] = old[f"{name}.{part}"][units]
        state[f"{name}.outer.weight"], state[f"{name}.outer.bias"] = fit(hidden[:, units], outer(hidden))
    projects = state["projection.weight"].shape != old["projection.weight"].shape
    if projects:
        state["projection.weight"] = _projection(large, small, mocks)
        for part in ("gate.weight", "gate.bias"):
            state[part].zero_()
    if projects or merges or "attention" in fitted:
        # Whatever has changed before it, the first layer of the latent space makes the best of it.
        trial = _copy_with(small, state)
        seen = [watch(network, ["join"], mocks)["join"] for network in (teacher, trial)]
        state["join.weight"], state["join.bias"] = fit(seen[1], teacher.join(seen[0]))
    return state


def _other_layers(what):
    return SFHCNNError(
        f"the network to start from has other pixels, bands, age bins or layers than the configuration ({what}); of "
        "its layers only n_projection, n_token_hidden and n_residual_hidden may be smaller in the configuration, "
        "projection_px larger, tokens_together larger than 1 where it was 1, with as many channels in all, and "
        "cumulative true where it was false"
    )


def _perceptrons(large, small):
    """Names of the perceptrons whose hidden layers differ."""
    names = ["attention", *(f"trunk.{i}" for i in range(len(small.trunk) - 1))]
    if len(large.trunk) != len(small.trunk):
        raise _other_layers(f"{len(large.trunk) - 1} residual blocks, not {len(small.trunk) - 1}")
    return [
        name
        for name in names
        if large.get_submodule(f"{name}.inner").out_features != small.get_submodule(f"{name}.inner").out_features
    ]


def _copy_with(network, state):
    """A copy of a network with another state, for prediction."""
    other = copy.deepcopy(network)
    other.load_state_dict(state)
    return other.eval()


def _most_needed(hidden, weight, n):
    """Of hidden units (n_row, n_unit), those n from which the output ``hidden @ weight.T`` is best made."""
    centred = (hidden - hidden.mean(0)).double()
    covariance = with_ridge(centred.T @ centred / len(centred))
    with_output = weight.double() @ covariance
    kept = torch.arange(len(covariance))
    while len(kept) > n:
        inverse = torch.linalg.inv(covariance[kept][:, kept])
        # What the fit loses without a unit, while the others take over.
        loss = (with_output[:, kept] @ inverse).square().sum(0) / inverse.diagonal()
        n_drop = max(int(_DROPPED * (len(kept) - n)), 1)
        kept = kept[loss.argsort(descending=True)[: len(kept) - n_drop].sort().values]
    return kept


def _projection(large, small, mocks):
    """Projection of the small network: leading directions of the large one's, by their weight in what follows."""
    high_passed = large.features(*[mocks[name] for name in INPUT_NAMES[:3]])[0]
    old, together = large.projection.weight, small.projection_px // large.projection_px
    projected = large.projection(large.coarse(high_passed))
    importance = large.join.weight[:, : len(old)].norm(dim=0)
    _, _, directions = torch.linalg.svd((projected - projected.mean(0)) * importance, full_matrices=False)
    n_projection = small.projection.out_features
    weight = (directions[:n_projection] * importance) @ old.view(len(old), -1, together).sum(2)
    scale = (small.coarse(high_passed) @ weight.T).std(0).clamp(min=1e-3)
    return weight / scale[:, None]
