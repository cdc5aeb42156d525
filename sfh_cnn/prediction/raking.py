"""Raking: of many joint draws those are chosen whose single quantities are distributed as they should be.

The joint density says how quantities hang together, the calibrated quantiles say better what each of them is. Draws are
weighted until both are true (Deming & Stephan 1940, Ann. Math. Stat. 11, 427): among all weights that give the
quantiles, these change the joint density least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sfh_cnn.core.constants import QUANTILE_LEVELS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["choose", "rake"]

#: Rounds over all quantities; more change coverages by less than a per cent.
_N_ROUND = 5
#: Quantiles that differ by less, in the units of the quantity, are more or less equal.
_SAME = 1e-3
#: Least weight of a draw relative to the largest; zero could not be raked to anything.
_LEAST = 1e-6
#: No round changes a weight by more, for each quantity: pieces without draws cannot be filled.
_MAX_CHANGE = 4.0


def rake(values: Tensor, quantiles: Tensor, n_draw: int, weight: Tensor | None = None) -> Tensor:
    """Probability with which each draw should be kept.

    Weights are continuous functions of the values, so that rounding errors do not decide on draws: each draw belongs
    to the two quantiles around it, the more to one the nearer it is.

    Parameters
    ----------
    values : Tensor, shape (n_spec, n_quantity, n_pool)
        Quantities of the draws.
    quantiles : Tensor, shape (n_spec, n_quantity, n_level)
        Those that they should have, at ``QUANTILE_LEVELS``; ascending. Where some are equal, as those of an empty age
        bin, the draws there count together.
    n_draw : int
        How many draws will be kept, at most ``n_pool``.
    weight : Tensor, shape (n_spec, n_pool), optional
        What the draws count for to begin with, relative to each other; by default all the same.

    Returns
    -------
    Tensor, shape (n_spec, n_pool)
        Between 0 and 1; each row sums to ``n_draw``, or less where hardly any draw is where the quantiles are.
    """
    values, quantiles = values.double(), quantiles.double()
    n_spec, n_quantity, n_pool = values.shape
    step = quantiles.diff(dim=-1).clamp(min=1e-9)
    above = ((values[..., None] - quantiles[:, :, None, :-1]) / step[:, :, None]).clamp(0.0, 1.0)
    one = torch.ones_like(above[..., :1])
    belongs = torch.cat([one, above], -1) - torch.cat([above, 0.0 * one], -1)  # (..., n_pool, n_level), sums to 1
    equal = _equal_levels(quantiles)
    expected = equal @ _expected_shares()
    weight = torch.ones(n_spec, n_pool) if weight is None else weight
    weight = (weight / weight.amax(1, keepdim=True).clamp(min=1e-30)).double().clamp(min=_LEAST)
    keep = (weight * (n_draw / weight.sum(1, keepdim=True))).clamp(max=1.0)
    for _ in range(_N_ROUND):
        for i in range(n_quantity):
            share = (keep[:, None] @ belongs[:, i])[:, 0] / n_draw
            share = (equal[:, i] @ share[..., None])[..., 0]
            change = (expected[:, i] / share.clamp(min=1e-9)).clamp(1 / _MAX_CHANGE, _MAX_CHANGE).log()
            keep = (keep * (belongs[:, i] @ change[..., None])[..., 0].exp()).clamp(max=1.0)
        keep = keep * (n_draw / keep.sum(1, keepdim=True))
    for _ in range(_N_ROUND):  # no draw is kept twice: what is cut goes to the others
        keep = keep.clamp(max=1.0)
        keep = keep * (n_draw / keep.sum(1, keepdim=True))
    return keep.clamp(max=1.0)


def choose(keep: Tensor, uniform: Tensor, n_draw: int) -> Tensor:
    """Which draws are kept, exactly ``n_draw`` of each spectrum and none twice, in the order of the pool.

    Pareto sampling: Rosen 1997, J. Stat. Plan. Inference 62, 159.

    Parameters
    ----------
    keep : Tensor, shape (n_spec, n_pool)
        Probabilities from `rake`.
    uniform : Tensor, shape (n_spec or 1, n_pool)
        Random numbers between 0 and 1.
    n_draw : int

    Returns
    -------
    Tensor of int, shape (n_spec, n_draw)
    """
    rank = torch.logit(uniform.double()) - torch.logit(keep)
    return rank.topk(n_draw, dim=1, largest=False).indices.sort(1).values


def _equal_levels(quantiles):
    """1 for pairs of levels with the same quantile, whose draws are one share, (..., n_level, n_level); continuous."""
    near = (1.0 - quantiles.diff(dim=-1) / _SAME).clamp(0.0, 1.0)
    n_level = quantiles.shape[-1]
    equal = torch.eye(n_level, dtype=quantiles.dtype).repeat(*quantiles.shape[:-1], 1, 1)
    for i in range(n_level - 1):
        equal[..., i, i + 1 :] = equal[..., i + 1 :, i] = near[..., i:].cumprod(-1)
    return equal


def _expected_shares():
    """What belongs to each quantile if the draws have them, (n_level,); normal scores are even between quantiles."""
    level = torch.tensor(QUANTILE_LEVELS, dtype=torch.float64)
    score = torch.special.ndtri(level)
    integral = score * level + torch.exp(torch.distributions.Normal(0.0, 1.0).log_prob(score))  # of the levels
    above = 1.0 - integral.diff() / score.diff()
    ends = level.new_tensor([1.0]), level.new_tensor([0.0])
    return torch.cat([ends[0], above]) - torch.cat([above, ends[1]])
