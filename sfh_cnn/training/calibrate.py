"""calibrate(): intervals that hold what they promise, and a threshold for unusual spectra, from held-out mocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sfh_cnn.core.constants import QUANTILE_LEVELS

from .losses import INPUT_NAMES

if TYPE_CHECKING:
    from torch import Tensor

    from sfh_cnn.network import SFHNet

__all__ = ["FALSE_ALARM_RATE", "calibrate"]

#: Calibration mends a few per cent; more would hide a network that has not learnt.
_FACTOR_RANGE = (0.5, 2.0)
#: Share of in-domain spectra that a check of the latent distance or of the reconstruction flags.
FALSE_ALARM_RATE = 0.01


@torch.no_grad()
def calibrate(network: SFHNet, mocks: dict[str, Tensor], batch_size: int = 512) -> Tensor:
    """Set the network's interval factors and latent distance from mocks it was not trained on.

    Each predicted quantile keeps its distance from the median times a factor, one per quantity and level, such
    that the share of truths below it is its level.

    Parameters
    ----------
    network : SFHNet
        Trained; changed in place.
    mocks : dict of Tensor
        Observed mocks, ten thousand or more.
    batch_size : int, optional

    Returns
    -------
    Tensor, shape (n_quantity, n_level)
        The factors.
    """
    network.eval()
    network.interval_factor.fill_(1.0)
    parts = []
    for start in range(0, len(mocks["redshift"]), batch_size):
        batch = {name: value[start : start + batch_size] for name, value in mocks.items()}
        latent = network.encode(*[batch[name] for name in INPUT_NAMES])
        truth = [batch[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")]
        parts.append((network.heads(latent)[1], network.targets(*truth), latent))
    quantiles, targets, latents = (torch.cat(part) for part in zip(*parts, strict=True))
    middle = QUANTILE_LEVELS.index(0.5)
    error = targets - quantiles[..., middle]
    for i, level in enumerate(QUANTILE_LEVELS):
        if i != middle:
            spread = quantiles[..., i] - quantiles[..., middle]
            share = level if i > middle else 1 - level  # below the median the spread is negative
            factor = torch.quantile(error / spread, share, dim=0)
            network.interval_factor[:, i] = factor.clamp(*_FACTOR_RANGE)
    # Mahalanobis distance in latent space. A covariance knows the mocks it was made from: with hundreds of dimensions
    # they look closer than new ones, so that the threshold needs mocks of its own.
    half = len(latents) // 2
    known, fresh = latents[:half], latents[half:]
    mean = known.mean(0)
    covariance = torch.cov(known.T) + 1e-4 * torch.diag(torch.ones_like(mean)) * known.var(0).mean()
    value, vector = torch.linalg.eigh(covariance.double())
    network.latent_mean.copy_(mean)
    network.latent_whitening.copy_((vector / value.sqrt()).float())
    distance = ((fresh - mean) @ network.latent_whitening).square().mean(1)
    network.latent_threshold.fill_(float(torch.quantile(distance, 1 - FALSE_ALARM_RATE)))
    return network.interval_factor
