"""Are joint posteriors honest: ranks of the truth among draws, and coverage from distances to random points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import AgeGrid, SFHCNNError, history
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.results import draw_scalars

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from sfh_cnn.network import SFHNet
    from sfh_cnn.prediction import Engine

__all__ = ["joint_coverage", "sbc_ranks", "tarp_coverage"]

#: Central intervals whose coverage is measured, by name: share inside.
_LEVELS = {"50": 0.5, "68": 0.6827, "95": 0.9545}


def sbc_ranks(draws: np.ndarray, truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ranks of the truth among posterior draws: even between 0 and 1 if the posterior is calibrated.

    A hollow in the middle of their histogram means intervals that are too narrow, a hump too wide ones, a slope a
    bias. The draws of different spectra must be independent.

    Parameters
    ----------
    draws : ndarray, shape (n_spec, n_draw, ...)
        Draws of one or more quantities.
    truth : ndarray, shape (n_spec, ...)
        Their true values.
    seed : int, optional
        Ties, as between empty bins, are broken at random, and ranks spread over their step.

    Returns
    -------
    ndarray, shape (n_spec, ...)
        Between 0 and 1.

    Raises
    ------
    SFHCNNError
        If the shapes do not fit.

    References
    ----------
    Talts et al. 2018, arXiv:1804.06788.
    """
    draws, truth = np.asarray(draws), np.asarray(truth)
    if draws.ndim < 2 or (draws.shape[0], *draws.shape[2:]) != truth.shape:
        raise SFHCNNError(
            f"draws {draws.shape} need the shape of the truth {truth.shape} with draws on the second axis"
        )
    rng = np.random.default_rng(seed)
    below = (draws < truth[:, None]).sum(axis=1)
    tied = (draws == truth[:, None]).sum(axis=1)
    return (below + rng.random(truth.shape) * (tied + 1)) / (draws.shape[1] + 1)


def tarp_coverage(
    draws: np.ndarray, truth: np.ndarray, n_level: int = 101, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of the regions of a joint posterior: equal to their credibility if the posterior is right.

    Tests of accuracy with random points: around a random point, the ball that reaches the truth holds a share of the
    draws; over many spectra these shares are even. Unlike ranks of one quantity after the other it sees wrong
    correlations. Reference points are the truths of other spectra; each dimension is scaled by the spread of the
    truth.

    Parameters
    ----------
    draws : ndarray, shape (n_spec, n_draw, n_dim)
    truth : ndarray, shape (n_spec, n_dim)
    n_level : int, optional
        Credibilities between 0 and 1 at which to measure.
    seed : int, optional
        Of the reference points.

    Returns
    -------
    level, coverage : ndarray, shape (n_level,)
        Credibility and share of spectra whose truth is inside.

    Raises
    ------
    SFHCNNError
        If the shapes do not fit or there are fewer than two spectra.

    References
    ----------
    Lemos et al. 2023, ICML 40, 19256 (arXiv:2302.03026).
    """
    draws, truth = np.asarray(draws, dtype=float), np.asarray(truth, dtype=float)
    if draws.ndim != 3 or (draws.shape[0], draws.shape[2]) != truth.shape or len(truth) < 2:
        raise SFHCNNError(
            f"draws need shape (n_spec, n_draw, n_dim) and truth (n_spec, n_dim) of two spectra or more, got "
            f"{draws.shape} and {truth.shape}"
        )
    rng = np.random.default_rng(seed)
    spread = truth.std(axis=0)
    spread[spread == 0] = 1.0
    # Another spectrum's truth, never the own one: the point must not know where the truth is.
    other = (np.arange(len(truth)) + rng.integers(1, len(truth), len(truth))) % len(truth)
    point = truth[other] / spread
    to_truth = np.sum((truth / spread - point) ** 2, axis=1)
    to_draws = np.sum((draws / spread - point[:, None]) ** 2, axis=2)
    share = sbc_ranks(to_draws, to_truth, seed)
    level = np.linspace(0, 1, n_level)
    return level, np.searchsorted(np.sort(share), level, side="right") / len(share)


def joint_coverage(
    network: SFHNet,
    mocks: dict[str, Tensor],
    age_edges_yr: np.ndarray,
    n_draw: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Calibration of joint draws on mocks.

    Parameters
    ----------
    network : SFHNet
    mocks : dict of Tensor
        Observed mocks held out from training and calibration; a few thousand tell per cents.
    age_edges_yr : array
        Bin edges, yr.
    n_draw, seed : int, optional
        Draws per mock, and their seed.
    batch_size : int, optional
    engine : `~sfh_cnn.prediction.Engine`, optional
        Of the network: measure the draws that users get. Without one, the joint density as it was learnt, and
        nothing that needs the light of the bins.

    Returns
    -------
    dict
        For each quantity ``coverage`` of the central 50, 68 and 95 per cent intervals and ``uneven``, the largest
        deviation of the cumulative ranks from even ones (Kolmogorov-Smirnov); ``uneven_limit``, which chance exceeds
        in 1 case of 100; and ``tarp`` with ``level``, ``coverage`` and ``deviation``, the largest. The quantities
        are those that the network also predicts by itself, but for kinematics, and three that only draws give:
        ``log_t50``, ``log_t90`` and ``formed_in_last_gyr``.
    """
    import astropy.units as u
    import torch

    from sfh_cnn.training import INPUT_NAMES

    network.eval()
    age_grid = AgeGrid(np.asarray(age_edges_yr) * u.yr)
    scalars = dict(zip(SCALAR_NAMES, mocks["scalars"].unbind(1), strict=True))
    truth = {name: mocks[name].numpy() for name in ("mass_fraction", "light_fraction", "metallicity")}
    truth |= {name: scalars[name].numpy() for name in ("a_v", "log_mass_to_light", "log_mass_to_light_attenuated")}
    with torch.inference_mode():
        parts = [
            network.encode(*[mocks[name][start : start + batch_size] for name in INPUT_NAMES])
            for start in range(0, len(mocks["scalars"]), batch_size)
        ]
        latent = torch.cat(parts)
    if engine is None:
        draws = _as_learnt(network, latent, n_draw, seed, batch_size)
    else:
        draws = engine.draw(latent.numpy(), n_draw, seed, common=False)
    drawn, true = (_quantities(age_grid, {name: values[name] for name in draws}) for values in (draws, truth))
    result: dict[str, Any] = {"n_mocks": len(latent)}
    for name, values in drawn.items():
        rank = np.sort(sbc_ranks(values, true[name], seed))
        even = (np.arange(len(rank)) + 0.5) / len(rank)
        result[name] = {
            "coverage": {key: float(np.mean(np.abs(rank - 0.5) < share / 2)) for key, share in _LEVELS.items()},
            "uneven": float(np.abs(rank - even).max()),
        }
    level, coverage = tarp_coverage(_variables(draws), _variables(truth), seed=seed)
    return {
        **result,
        "uneven_limit": float(1.63 / np.sqrt(len(latent))),
        "tarp": {
            "level": level.tolist(),
            "coverage": coverage.tolist(),
            "deviation": float(np.abs(coverage - level).max()),
        },
    }


def _as_learnt(network, latent, n_draw, seed, batch_size):
    """Draws of the joint density as `Engine.draw` gives them, but for light; each mock has numbers of its own."""
    import torch

    from sfh_cnn.network import from_variables

    generator = torch.Generator().manual_seed(seed)
    parts = [network.posterior.sample(block, n_draw, generator) for block in latent.split(batch_size)]
    names = ("mass_fraction", "metallicity", "a_v", "log_mass_to_light_attenuated")
    values = from_variables(torch.cat(parts).flatten(0, 1), network.n_age)
    return {
        name: value.view(len(latent), n_draw, *value.shape[1:]).numpy()
        for name, value in zip(names, values, strict=True)
    }


def _quantities(age_grid, draws):
    """What draws and truth are compared in, each without the last axis of the mass fractions."""
    mass, edges_yr = draws["mass_fraction"], age_grid.edges_yr
    if "light_fraction" in draws:
        scalars = draw_scalars(age_grid, draws)
    else:
        scalars = {
            "mass_weighted_log_age": history.mean_log_age(mass, age_grid.log_ages_dex),
            "mass_weighted_metallicity": history.mean_metallicity(mass, draws["metallicity"]),
            **{name: draws[name] for name in ("a_v", "log_mass_to_light_attenuated")},
        }
    return scalars | {
        "log_t50": np.log10(history.formation_time(mass, edges_yr, 0.5)),
        "log_t90": np.log10(history.formation_time(mass, edges_yr, 0.9)),
        "formed_in_last_gyr": history.recent_fraction(mass, edges_yr, 1e9),
    }


def _variables(draws):
    """What a joint density is of, the last axis: fractions as a broken stick, [M/H], A_V and M/L."""
    import torch

    from sfh_cnn.network import to_variables

    names = ("mass_fraction", "metallicity", "a_v", "log_mass_to_light_attenuated")
    values = [torch.from_numpy(np.asarray(draws[name])) for name in names]
    shape = values[2].shape
    flat = [value.reshape(shape.numel(), *value.shape[len(shape) :]) for value in values]
    return to_variables(*flat).view(*shape, -1).numpy()
