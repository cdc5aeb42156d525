"""Results on other age bins, and the sum of many results: done draw by draw, so that intervals follow."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError
from sfh_cnn.core.constants import QUANTILE_LEVELS

from .derived import v_luminosity_lsun
from .draws import DRAW_KEYS, INTERVAL_SEED, draw_scalars
from .packing import spectra_with_model
from .sfh_result import DRAW_BLOCK, SFHResult

if TYPE_CHECKING:
    from sfh_cnn.core import AgeGrid

__all__ = ["can_be_stacked", "rebin_result", "stack_result", "summarise_draws"]


def summarise_draws(age_grid: AgeGrid, draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means and quantiles of every stored quantity from joint draws.

    Parameters
    ----------
    age_grid : `~sfh_cnn.core.AgeGrid`
        Bins of the draws.
    draws : dict of ndarray
        ``mass_fraction``, ``light_fraction``, ``metallicity`` (n_spec, n_draws, n_age), ``a_v``,
        ``log_mass_to_light``, ``log_mass_to_light_attenuated`` (n_spec, n_draws).

    Returns
    -------
    dict of ndarray
        The means ``mass_fraction`` and ``light_fraction`` and all ``q_*`` arrays of `SFHResult`.
    """
    values = {key: draws[key] for key in ("mass_fraction", "light_fraction", "metallicity")}
    values |= draw_scalars(age_grid, draws)
    arrays = {
        f"q_{key}": np.moveaxis(np.quantile(value, QUANTILE_LEVELS, axis=1), 0, -1) for key, value in values.items()
    }
    return {key: values[key].mean(axis=1) for key in ("mass_fraction", "light_fraction")} | arrays


def _with_draws(contract, result_arrays, draws):
    stored = {f"draw_{key}": np.asarray(draws[key], dtype=np.float32) for key in DRAW_KEYS}
    return {**result_arrays, **summarise_draws(contract.age_grid, draws), **stored}


def rebin_result(result, age_grid):
    """A result on other age bins; see `SFHResult.rebin`."""
    if result.n_spec > DRAW_BLOCK:  # the draws of a cube do not fit into memory at once
        starts = range(0, result.n_spec, DRAW_BLOCK)
        return SFHResult.concatenate([rebin_result(result[i : i + DRAW_BLOCK], age_grid) for i in starts])
    old = result.age_grid
    draws = dict(result._draw_arrays(result.n_interval_draws, INTERVAL_SEED))
    mass, metallicity = draws["mass_fraction"], draws["metallicity"]
    new_mass = old.rebin(mass, age_grid)
    matrix = old.rebin_matrix(age_grid)
    # Metals of a wider bin are weighted by mass; where a draw has no mass there, by time.
    by_time = matrix * np.diff(old.edges_yr)[:, None]
    # New bins beyond the old ones hold no mass; they take the [M/H] of the nearest bin, so that sums stay finite.
    beyond = by_time.sum(axis=0) == 0
    nearest = np.where(age_grid.edges_yr[:-1] >= old.edges_yr[-1], old.n_age - 1, 0)
    by_time[nearest[beyond], beyond] = 1
    by_time /= by_time.sum(axis=0)
    mean, surviving = result.arrays["mass_fraction"], result.arrays["surviving_fraction"]
    new_metallicity = _ratio((mass * metallicity) @ matrix, new_mass, metallicity @ by_time)
    new_surviving = _ratio((mean * surviving) @ matrix, mean @ matrix, surviving @ by_time)
    draws.update(mass_fraction=new_mass, metallicity=new_metallicity, light_fraction=draws["light_fraction"] @ matrix)
    contract = result.contract.replace(age_edges_yr=tuple(float(edge) for edge in age_grid.edges_yr))
    arrays = _with_draws(contract, {**result.arrays, "surviving_fraction": new_surviving}, draws)
    # The point values are the old ones added up, free of the noise of the draws.
    arrays["mass_fraction"] = old.rebin(mean, age_grid)
    arrays["light_fraction"] = old.rebin(result.arrays["light_fraction"], age_grid)
    for key in result.arrays:
        if key.startswith("q_") and arrays[key].shape == result.arrays[key].shape and arrays[key].ndim == 2:
            arrays[key] = result.arrays[key]  # not per bin: unchanged by the binning
    return SFHResult(contract, arrays, result.meta, spectra_with_model(result), scalar=result.scalar)


def can_be_stacked(result):
    """Which spectra have a history, and light to weigh it with: an array of bool, (n_spec,)."""
    return np.isfinite(result.arrays["mass_fraction"]).all(axis=1) & (result.arrays["v_flux"] > 0)


def stack_result(result, weights=None):
    """The population of all spectra together; see `SFHResult.stack`."""
    good = can_be_stacked(result)
    weights = np.ones(result.n_spec) if weights is None else np.asarray(weights, dtype=float)
    if weights.shape != (result.n_spec,) or not np.all(np.isfinite(weights) & (weights >= 0)):
        raise SFHCNNError(f"weights needs {result.n_spec} finite numbers that are not negative, one per spectrum")
    good &= weights > 0
    if not good.any():
        raise SFHCNNError("no spectrum with a prediction and a positive weight is left to stack")
    part = result.as_many()[good]
    arrays, weights = part.arrays, weights[good]
    distance_mpc = arrays["distance_mpc"]
    if np.isfinite(distance_mpc).any() != np.isfinite(distance_mpc).all():
        raise SFHCNNError("some spectra have a distance and some have none; stack them apart, or give all a distance")
    # Without a distance all are taken to be equally far, which cancels in every ratio.
    common_mpc = distance_mpc if np.isfinite(distance_mpc).all() else np.ones_like(distance_mpc)

    luminosity = weights * v_luminosity_lsun(arrays["v_flux"], arrays["redshift"], common_mpc)  # (n_spec,)
    draws, surviving_fraction = _sum_of_draws(part, luminosity)
    redshift = np.average(arrays["redshift"], weights=luminosity)
    distance = np.average(distance_mpc, weights=luminosity)
    signal = weights * arrays["v_flux"]
    one = {
        "flags": np.bitwise_or.reduce(arrays["flags"]),
        "snr": signal.sum() / np.sqrt(np.sum((signal / arrays["snr"]) ** 2)),
        "redshift": redshift,
        "calibration_error": arrays["calibration_error"].max(),
        "reduced_chi2": np.average(arrays["reduced_chi2"], weights=luminosity),
        "unusualness": arrays["unusualness"].max(),
        "v_flux": luminosity.sum() / v_luminosity_lsun(1.0, redshift, np.average(common_mpc, weights=luminosity)),
        "distance_mpc": distance,
        "surviving_fraction": surviving_fraction,
        "latent": np.average(arrays["latent"], axis=0, weights=luminosity),
    }
    stacked = _with_draws(
        part.contract,
        {key: np.asarray(value)[None] for key, value in one.items()},
        {key: value[None] for key, value in draws.items()},
    )
    return SFHResult(part.contract, stacked, {**part.meta, "n_stacked": int(good.sum())}, scalar=True)


def _sum_of_draws(result, luminosity_lsun):
    """Draws of the sum of all populations, and the surviving fraction of its bins.

    Works through blocks of spectra: the draws of a cube do not fit into memory at once.
    """
    rng = np.random.default_rng(INTERVAL_SEED)
    total = collections.defaultdict(float)
    for start in range(0, result.n_spec, DRAW_BLOCK):
        block = result[start : start + DRAW_BLOCK]
        draws = _shuffled(block._draw_arrays(block.n_interval_draws, INTERVAL_SEED), rng)
        mass = luminosity_lsun[start : start + DRAW_BLOCK, None] * 10 ** draws["log_mass_to_light_attenuated"]
        light = mass / 10 ** draws["log_mass_to_light"]  # dust-free, (n_block, n_draws)
        mass_in_bin = mass[..., None] * draws["mass_fraction"]
        mean_in_bin = mass_in_bin.mean(axis=1)
        total["mass"] += mass.sum(0)
        total["light"] += light.sum(0)
        total["mass_in_bin"] += mass_in_bin.sum(0)
        total["light_in_bin"] += (light[..., None] * draws["light_fraction"]).sum(0)
        total["metals_in_bin"] += (mass_in_bin * draws["metallicity"]).sum(0)
        total["metallicity"] += draws["metallicity"].sum(0) / result.n_spec
        total["a_v"] += (light * draws["a_v"]).sum(0)
        total["mean_in_bin"] += mean_in_bin.sum(0)
        total["surviving_in_bin"] += (mean_in_bin * block.arrays["surviving_fraction"]).sum(0)
        total["surviving"] += block.arrays["surviving_fraction"].sum(0) / result.n_spec
    summed = {
        "mass_fraction": total["mass_in_bin"] / total["mass"][:, None],
        "light_fraction": total["light_in_bin"] / total["light"][:, None],
        "metallicity": _ratio(total["metals_in_bin"], total["mass_in_bin"], total["metallicity"]),
        "a_v": total["a_v"] / total["light"],
        "log_mass_to_light": np.log10(total["mass"] / total["light"]),
        "log_mass_to_light_attenuated": np.log10(total["mass"] / luminosity_lsun.sum()),
    }
    return summed, _ratio(total["surviving_in_bin"], total["mean_in_bin"], total["surviving"])


def _ratio(numerator, denominator, otherwise):
    """Weighted mean where there is weight, the plain mean where no draw has mass."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, otherwise)


def _shuffled(draws, rng):
    """Shuffle the draws of each spectrum on its own, for spectra may share the random numbers behind them."""
    n_spec, n_draws = np.shape(draws["a_v"])
    order = np.argsort(rng.random((n_spec, n_draws)), axis=1)
    rows = np.arange(n_spec)[:, None]
    return {key: np.asarray(draws[key])[rows, order] for key in DRAW_KEYS}
