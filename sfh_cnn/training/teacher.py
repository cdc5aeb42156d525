"""lesson(): what a network learns from another one that has been trained already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from .losses import INPUT_NAMES

if TYPE_CHECKING:
    from torch import Tensor

    from sfh_cnn.network import SFHNet

__all__ = ["lesson"]

#: Least width of a 68 per cent interval, in standardised units, and the difference in such widths from which on it
#: counts by itself instead of by its square.
_LEAST_WIDTH, _FAR = 0.02, 2.0


def lesson(
    teacher: SFHNet, network: SFHNet, batch: dict[str, Tensor], latent: Tensor, quantiles: Tensor
) -> dict[str, Tensor]:
    """How far a network is from its teacher on a batch.

    The truth of a mock is one draw from the posterior; the teacher's answer is the posterior itself, or nearly, and
    says much more (Hinton, Vinyals & Dean 2015, arXiv:1503.02531).

    Parameters
    ----------
    teacher : SFHNet
        For the same pixels, bands and age bins. Not trained.
    network : SFHNet
    batch : dict of Tensor
        From a `MockStream`.
    latent, quantiles : Tensor, shapes (n, n_latent), (n, n_quantity, n_level)
        What ``network.encode`` and ``network.heads`` gave.

    Returns
    -------
    dict of Tensor
        ``latent``: mean square difference of the latent vectors in units of their variance, if they are equally long;
        ``answers``: that of the quantiles in units of the teacher's 68 per cent interval, linear from two of them on.
    """
    with torch.no_grad():
        expected = teacher.encode(*[batch[name] for name in INPUT_NAMES])
        n_shared = min(teacher.n_quantity, network.n_quantity)  # those that one of them may lack come last
        answers = teacher.heads(expected)[1][:, :n_shared]
        width = (answers[..., -2] - answers[..., 1]).clamp(min=_LEAST_WIDTH)[..., None]
        # From the network's standardised units to the teacher's.
        mean, std = (getattr(teacher, name)[:n_shared] for name in ("quantity_mean", "quantity_std"))
        scale = (network.quantity_std[:n_shared] / std)[:, None]
        offset = ((network.quantity_mean[:n_shared] - mean) / std)[:, None]
    off = (quantiles[:, :n_shared] * scale + offset - answers) / width
    parts = {"answers": 2.0 * functional.huber_loss(off, torch.zeros_like(off), delta=_FAR)}
    if latent.shape == expected.shape:
        parts["latent"] = ((latent - expected).square() / expected.var(0).clamp(min=1e-6)).mean()
    return parts
