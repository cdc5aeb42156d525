"""joint_loss(): what the network is rewarded for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sfh_cnn.core.constants import QUANTILE_LEVELS, SCALAR_NAMES
from sfh_cnn.network import to_variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sfh_cnn.network import SFHNet

    from .config import LossConfig

    Teach = Callable[[SFHNet, dict[str, Tensor], Tensor, Tensor], dict[str, Tensor]]

__all__ = ["INPUT_NAMES", "joint_loss", "pinball"]

#: Entries of a batch that the network sees, in the order of its arguments.
INPUT_NAMES = ("flux", "flux_err", "mask", "band_flux", "band_flux_err", "redshift", "calibration_error")
#: Kinematics are by-products: they steer the network less than populations do.
_SCALAR_WEIGHT = {"velocity_dispersion": 0.3, "velocity": 0.3, "log_recent_fraction": 0.7}


def pinball(quantiles, target):
    """Pinball loss, averaged over the levels; its minimum is at the quantiles of the posterior.

    Parameters
    ----------
    quantiles : Tensor, shape (..., n_level)
    target : Tensor, shape (...)

    Returns
    -------
    Tensor, shape (...)

    References
    ----------
    Koenker & Bassett 1978, Econometrica 46, 33.
    """
    level = torch.tensor(QUANTILE_LEVELS, dtype=quantiles.dtype, device=quantiles.device)
    error = target[..., None] - quantiles
    return torch.maximum(level * error, (level - 1) * error).mean(-1)


def joint_loss(
    network: SFHNet, batch: dict[str, Tensor], weights: LossConfig, teach: Teach | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of the terms and each of them.

    Parameters
    ----------
    network : SFHNet
    batch : dict of Tensor
        From a `MockStream`.
    weights : LossConfig
    teach : callable, optional
        More terms, from network, batch, latent vectors and quantiles.

    Returns
    -------
    total : Tensor
    parts : dict of Tensor
        Unweighted terms, detached.
    """
    n_age = network.n_age
    latent = network.encode(*[batch[name] for name in INPUT_NAMES])
    logits, quantiles = network.heads(latent)
    mass, light, metallicity, scalars = (
        batch[name] for name in ("mass_fraction", "light_fraction", "metallicity", "scalars")
    )
    log_share = functional.log_softmax(logits, -1)
    # Less the entropy of the truth, so that a perfect prediction scores 0.
    truth = torch.stack([mass, light], 1)
    cross_entropy = (torch.xlogy(truth, truth) - truth * log_share).sum(-1).mean(0).sum()
    targets = network.targets(mass, light, metallicity, scalars)  # (n, n_quantity)
    score = pinball(quantiles, targets)
    # [M/H] counts where the network sees stars; weights from the truth would make the quantiles conditional on it.
    matter = 0.02 + 0.5 * logits.detach().softmax(-1).sum(1)
    matter = matter / matter.sum(1, keepdim=True)
    scalar_weight = torch.tensor([_SCALAR_WEIGHT.get(name, 1.0) for name in SCALAR_NAMES], device=score.device)
    parts = {
        "fractions": cross_entropy,
        "fraction_quantiles": score[:, : 2 * n_age].mean(),
        "metallicity": (score[:, 2 * n_age : 3 * n_age] * matter).sum(1).mean(),
        "scalars": (score[:, 3 * n_age : 3 * n_age + network.n_scalar] * scalar_weight).mean(),
    }
    if network.n_cumulative:
        parts["cumulative"] = score[:, -network.n_cumulative :].mean()
    if weights.posterior > 0:
        a_v = scalars[:, SCALAR_NAMES.index("a_v")]
        mass_to_light = scalars[:, SCALAR_NAMES.index("log_mass_to_light_attenuated")]
        variables = to_variables(mass, metallicity, a_v, mass_to_light, network.leads(targets))
        variables = network.posterior.jitter(variables, batch["edge_noise"])
        parts["posterior"] = -network.posterior.log_prob(variables, latent).mean() / network.posterior.n_variable
    if teach is not None:
        parts |= teach(network, batch, latent, quantiles)
    total = sum(getattr(weights, name) * value for name, value in parts.items())
    return total, {name: value.detach() for name, value in parts.items()}
