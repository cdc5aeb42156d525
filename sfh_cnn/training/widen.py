"""widen(): a network for wider pixels that begins where one for narrower pixels has ended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sfh_cnn.core import SFHCNNError

if TYPE_CHECKING:
    from torch import Tensor

    from sfh_cnn.network import SFHNet

__all__ = ["pixels_together", "widen"]


def pixels_together(narrow: SFHNet, wide: SFHNet) -> int:
    """How many pixels of one network make one of another, with blocks as wide and as many; 1 if it is not so.

    Parameters
    ----------
    narrow, wide : SFHNet

    Returns
    -------
    int
    """
    blocks, others = narrow.features, wide.features
    together = blocks.block_px // others.block_px
    same = blocks.n_block == others.n_block and others.block_px * together == blocks.block_px
    return together if same and narrow.projection_px == wide.projection_px else 1


@torch.no_grad()
def widen(narrow: SFHNet, wide: SFHNet) -> dict[str, Tensor]:
    """Weights with which a network for wider pixels does what one for narrower pixels does.

    A pixel of the wide one is the mean of some of the narrow one's, with an error that is smaller by the root of their
    number. Where flux, errors and mask are the same in all of them, the two networks agree to rounding; elsewhere the
    wide one lacks what the pixels differ in, which is noise for spectra that resolve no more.

    Parameters
    ----------
    narrow : SFHNet
        Trained.
    wide : SFHNet
        Its blocks have fewer pixels, and its ``signal_floor`` is smaller by the root of that factor. Not changed.

    Returns
    -------
    dict of Tensor
        State of the wide network.

    Raises
    ------
    SFHCNNError
        If the noise at which the signal saturates is another one, or other layers differ.
    """
    together = pixels_together(narrow, wide)
    root = math.sqrt(together)
    floor = narrow.features.signal_floor / root
    if not math.isclose(wide.features.signal_floor, floor, rel_tol=0.01):
        raise SFHCNNError(
            f"signal_floor is {wide.features.signal_floor:g}; where {together} pixels become one it must be "
            f"{floor:.4g}, that of the network to start from over the root of their number"
        )
    state = {name: value.clone() for name, value in narrow.state_dict().items()}
    # In units of its expected scatter, the flux of a wide pixel is larger by the root of their number.
    projection = state["projection.weight"]
    state["projection.weight"] = projection.view(len(projection), -1, together).sum(2) / root
    patches = state["patches.weight"]  # (n_channel, flux and precision, pixels)
    patches = patches.view(*patches.shape[:2], -1, together).sum(3)
    patches[:, 0] /= root
    state["patches.weight"] = patches
    state["block_mean"][1] -= math.log10(root)  # the noise of a pixel
    return state
