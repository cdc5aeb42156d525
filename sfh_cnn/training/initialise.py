"""Scales of inputs and outputs, and principal components, set from mocks before the first step."""

import torch

from .losses import INPUT_NAMES

__all__ = ["initialise"]


@torch.no_grad()
def initialise(network, mocks, clean):
    """Set the network's buffers and its first layer from mocks.

    The dense projection starts from the principal components of noise-free, high-passed mocks, scaled
    to unit variance on noisy ones: the signal is below 1 per cent per pixel, and random filters take
    long to find it.

    Parameters
    ----------
    network : SFHNet
    mocks : dict of Tensor
        Observed mocks.
    clean : dict of Tensor
        Noise-free ``flux`` of other mocks.
    """
    high_passed, _, blocks, _, _ = network.features(*[mocks[name] for name in INPUT_NAMES[:3]])
    network.block_mean.copy_(blocks.mean(0))
    network.block_std.copy_(blocks.std(0).clamp(min=0.05))
    truth = [mocks[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")]
    # The buffers still hold 0 and 1, so these are plain values. Fractions, and bins of one kind, share a scale.
    targets = network.targets(*truth)
    n_age = network.n_age
    mean, std = targets.mean(0), targets.std(0).clamp(min=1e-3)
    std[: 2 * n_age] = 0.2
    std[2 * n_age : 3 * n_age] = std[2 * n_age : 3 * n_age].mean()
    std[len(std) - network.n_cumulative :] = 0.2
    network.quantity_mean.copy_(mean)
    network.quantity_std.copy_(std)

    flux = clean["flux"]
    smooth, _, _, _, _ = network.features(flux, 1e-3 * flux.abs(), torch.zeros_like(flux, dtype=torch.bool))
    smooth, high_passed = network.coarse(smooth), network.coarse(high_passed)
    smooth = smooth - smooth.mean(0)
    rank = network.projection.out_features
    _, _, components = torch.svd_lowrank(smooth, q=rank, niter=3)
    noisy_scale = (high_passed @ components).std(0).clamp(min=1e-3)
    network.projection.weight.copy_((components / noisy_scale).T)
