"""merge_tokens(): a network whose attention sees fewer tokens, as close as can be to one that sees more."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from .refit import fit, watch

if TYPE_CHECKING:
    from torch import Tensor

    from sfh_cnn.network import SFHNet

__all__ = ["merge_tokens"]


@torch.no_grad()
def merge_tokens(large: SFHNet, small: SFHNet, mocks: dict[str, Tensor]) -> SFHNet | None:
    """The large network with the tokens of the small one.

    Tokens keep the leading directions of what they were. The attention does to tokens side by side what it did to the
    mean of them; what gathers its outputs is fitted anew.

    Parameters
    ----------
    large : SFHNet
        Trained; its attention sees every token by itself.
    small : SFHNet
        With as many channels in all.
    mocks : dict of Tensor

    Returns
    -------
    SFHNet or None
        None if there is more that differs: pixels, bands, convolutions, or the channels that the attention sees.
    """
    width, n_channel = large.attention.mix.out_features, small.tokens.out_channels
    together = width // n_channel
    alike = small.attention.mix.out_features == width == together * n_channel == large.tokens.out_channels
    if not alike or _sees(large) != _sees(small):
        return None
    merged = copy.deepcopy(large)
    for name in ("tokens", "position", "pool"):
        setattr(merged, name, copy.deepcopy(getattr(small, name)))
    merged.token_padding = small.token_padding
    before = large.attention
    merged.attention = type(before)(width, small.attention.n_head, before.inner.out_features)

    # Leading directions of the tokens, as the layer behind them counts their channels.
    rows = watch(large, ["attention"], mocks)["attention"]
    mean, importance = rows.mean(0), large.pool.weight.view(-1, len(large.position), width).norm(dim=(0, 1))
    importance = importance / importance.mean()
    directions = torch.linalg.svd((rows - mean) * importance, full_matrices=False)[2][:n_channel]
    into, back = directions * importance, (directions / importance).T  # (n_channel, width) and its inverse
    weight, bias = torch.tensordot(into, large.tokens.weight, 1), into @ (large.tokens.bias - mean)
    merged.tokens.load_state_dict({"weight": weight, "bias": bias})
    missing = len(small.position) * together - len(large.position)
    position = torch.cat([large.position, large.position[-1:].expand(missing, -1)])
    merged.position.copy_((position @ into.T).view(len(small.position), width))

    to_mean, to_each = back.repeat(1, together) / together, into.repeat(together, 1)
    spread = rows.std(1).mean()  # what the attention divides by, before and after
    ratio = watch(merged, ["attention"], mocks)["attention"].std(1).mean() / spread
    for norm, name, other in (("norm_1", "query_key_value", "mix"), ("norm_2", "inner", "outer")):
        scale, layer, after = (getattr(before, part) for part in (norm, name, other))
        offset = scale.bias + scale.weight * (mean - mean.mean()) / spread
        getattr(merged.attention, name).weight.copy_(layer.weight * scale.weight @ to_mean * ratio)
        getattr(merged.attention, name).bias.copy_(layer.bias + layer.weight @ offset)
        getattr(merged.attention, other).weight.copy_(to_each @ after.weight)
        getattr(merged.attention, other).bias.copy_(to_each @ after.bias)
    seen = [watch(network, ["pool"], mocks)["pool"] for network in (large, merged)]
    merged.pool.weight, merged.pool.bias = (nn.Parameter(part) for part in fit(seen[1], large.pool(seen[0])))
    return merged


def _sees(network):
    """Pixels, bands and convolutions, the latter but for the channels of the tokens."""
    features, kernel = network.features, network.tokens.weight.shape
    return features.n_block, features.block_px, network.photometry[0].in_features, kernel[1], kernel[2]
