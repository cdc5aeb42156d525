"""How well known truth comes back: bias, scatter, outliers and coverage, overall and by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core.constants import QUANTILE_LEVELS, SCALAR_NAMES
from sfh_cnn.prediction import Engine, effective_snr
from sfh_cnn.training import FALSE_ALARM_RATE, INPUT_NAMES, held_out_mocks, mad_std

from .coverage import joint_coverage

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from sfh_cnn.network import Artifact, SFHNet
    from sfh_cnn.synthesis import MockGenerator

__all__ = ["evaluate", "measure", "predict_mocks", "score"]

#: Central intervals whose coverage is measured, by the positions of their bounds among the stored quantiles.
_INTERVALS = {"50": (2, 4), "68": (1, 5), "95": (0, 6)}
#: Mocks on which joint draws are measured.
_N_JOINT = 15_000
_MEDIAN = QUANTILE_LEVELS.index(0.5)
#: Groups by S/N for the limits beyond which predictions are flagged.
_N_LIMIT = 6


def predict_mocks(network: SFHNet, mocks: dict[str, Tensor], batch_size: int = 256) -> dict[str, np.ndarray]:
    """Run a network over mocks.

    Parameters
    ----------
    network : SFHNet
    mocks : dict of Tensor
        With the inputs of the network.
    batch_size : int, optional

    Returns
    -------
    dict of ndarray
        The outputs of the network.
    """
    import torch

    network.eval()
    with torch.inference_mode():
        parts = [
            network(*[mocks[name][start : start + batch_size] for name in INPUT_NAMES])
            for start in range(0, len(mocks["redshift"]), batch_size)
        ]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def score(
    prediction: dict[str, np.ndarray], truth: dict[str, np.ndarray], rows: slice | np.ndarray = slice(None)
) -> dict[str, Any]:
    """Scores of a group of mocks.

    Parameters
    ----------
    prediction : dict of ndarray
        From `predict_mocks`.
    truth : dict of ndarray
        ``mass_fraction`` (n, n_age) and ``scalars`` (n, n_scalar).
    rows : slice or ndarray, optional
        The group.

    Returns
    -------
    dict
        ``n``; for each derived quantity ``bias`` (median), ``scatter`` (1.4826 MAD), ``std``, ``outliers``
        (share off by more than 0.5) and ``coverage`` of the 50, 68 and 95 per cent intervals; and
        ``mass_fraction_mae``, the mean absolute error of the mass fractions.
    """
    quantiles, scalars = prediction["scalar_quantiles"][rows], truth["scalars"][rows]
    result: dict[str, Any] = {"n": len(scalars)}
    for i, name in enumerate(SCALAR_NAMES):
        value, bounds = scalars[:, i], quantiles[:, i]
        error = bounds[:, _MEDIAN] - value
        result[name] = {
            "bias": float(np.median(error)),
            "scatter": mad_std(error),
            "std": float(np.std(error)),
            "outliers": float(np.mean(np.abs(error) > 0.5)),
            "coverage": {
                level: float(np.mean((value >= bounds[:, low]) & (value <= bounds[:, high])))
                for level, (low, high) in _INTERVALS.items()
            },
        }
    difference = prediction["mass_fraction"][rows] - truth["mass_fraction"][rows]
    result["mass_fraction_mae"] = float(np.mean(np.abs(difference)))
    result["mass_fraction_bias_by_bin"] = [float(value) for value in difference.mean(axis=0)]
    return result


def evaluate(
    network: SFHNet,
    mocks: dict[str, Tensor],
    batch_size: int = 256,
    engine: Engine | None = None,
    age_edges_yr: np.ndarray | None = None,
) -> dict[str, Any]:
    """Measure a network on mocks: what the model card says.

    Parameters
    ----------
    network : SFHNet
        Calibrated.
    mocks : dict of Tensor
        Observed mocks held out from training and calibration. Those without a valid pixel are left out: users get
        no prediction of such a spectrum.
    batch_size : int, optional
    engine : `~sfh_cnn.prediction.Engine`, optional
        Also measure how well reconstructions fit the spectra, and bands the spectra; joint draws are then those that
        users get.
    age_edges_yr : array, optional
        Bin edges, yr; also measure the joint posterior on the first six thousand mocks (see `joint_coverage`).

    Returns
    -------
    dict
        ``n_mocks``, ``overall``, and `score` by S/N tercile, with and without bands, by calibration error and
        by coverage; ``velocity_width_limit``, the same as below for the width of the 95 per cent interval of the
        velocity, by ``information`` (effective S/N times the root of the share of valid pixels); with an engine
        ``reduced_chi2_limit``: ``limit``, which 1 per cent of the mocks around
        an effective ``snr`` (of noise and calibration error together) exceed, and ``band_mismatch_limit``, the same
        of the mocks with bands that their spectra cover; with age edges ``joint_posterior``.
    """
    seen = ~mocks["mask"].all(dim=1)
    if not seen.all():
        mocks = {name: value[seen] for name, value in mocks.items()}
    prediction = predict_mocks(network, mocks, batch_size)
    truth = {name: mocks[name].numpy() for name in ("mass_fraction", "scalars")}
    good = ~mocks["mask"].numpy()
    ratio = np.where(good, mocks["flux"].numpy() / mocks["flux_err"].numpy(), np.nan)
    snr = np.nanmedian(ratio, axis=1)
    terciles = np.quantile(snr, [1 / 3, 2 / 3])
    bands, n_band = np.isfinite(mocks["band_flux"].numpy()).sum(axis=1), mocks["band_flux"].shape[1]
    calibration = mocks["calibration_error"].numpy()
    covered = good.mean(axis=1)
    groups = {
        f"S/N < {terciles[0]:.0f}": snr < terciles[0],
        f"S/N {terciles[0]:.0f}-{terciles[1]:.0f}": (snr >= terciles[0]) & (snr < terciles[1]),
        f"S/N > {terciles[1]:.0f}": snr >= terciles[1],
        "no bands": bands == 0,
        "all bands": (bands == n_band) & (n_band > 0),
        "calibration_error = 0": calibration == 0,
        "calibration_error > 0.01": calibration > 0.01,
        "less than 60 % of the pixels": covered < 0.6,
        "more than 90 % of the pixels": covered > 0.9,
    }
    effective = effective_snr(snr, calibration)
    velocity = prediction["scalar_quantiles"][:, SCALAR_NAMES.index("velocity")]
    width = velocity[:, -1] - velocity[:, 0]
    limits = {"velocity_width_limit": _limit_by(effective * np.sqrt(covered), width, "information")}
    if engine is not None:
        fit = _compare(engine, prediction, mocks, batch_size)
        limits["reduced_chi2_limit"] = _limit_by(effective, fit["reduced_chi2"], "snr")
        comparable = np.isfinite(fit["band_mismatch"])
        if comparable.any():
            limits["band_mismatch_limit"] = _limit_by(effective[comparable], fit["band_mismatch"][comparable], "snr")
    joint = {}
    if age_edges_yr is not None:
        few = {name: value[:_N_JOINT] for name, value in mocks.items()}
        joint = {"joint_posterior": joint_coverage(network, few, age_edges_yr, engine=engine)}
    return {
        "n_mocks": len(snr),
        **limits,
        **joint,
        "overall": score(prediction, truth),
        "groups": {name: score(prediction, truth, rows) for name, rows in groups.items() if rows.sum() >= 20},
    }


def measure(artifact: Artifact, generator: MockGenerator, n_mocks: int = 10_000) -> dict[str, Any]:
    """All that a model card says of accuracy: of what users get, on mocks that nothing was trained on.

    Parameters
    ----------
    artifact : `~sfh_cnn.network.Artifact`
        A released network, or one of a run (`sfh_cnn.training.as_artifact`), calibrated.
    generator : MockGenerator
        Of the mocks that it was trained on, from `sfh_cnn.training.load_run` or `~sfh_cnn.training.released_mocks`.
    n_mocks : int, optional
        How many mocks; a few thousand tell per cents.

    Returns
    -------
    dict
        See `evaluate`.
    """
    mocks = held_out_mocks(generator, "test", n_mocks)
    return evaluate(artifact.network, mocks, engine=Engine(artifact), age_edges_yr=generator.age_grid.edges_yr)


def _compare(engine, prediction, mocks, batch_size):
    """What an engine says of predictions and their mocks."""
    import torch

    parts = []
    for start in range(0, len(mocks["redshift"]), batch_size):
        rows = slice(start, start + batch_size)
        outputs = {name: torch.from_numpy(value[rows]) for name, value in prediction.items()}
        parts.append(engine.compare([mocks[name][rows] for name in INPUT_NAMES], outputs))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _limit_by(x, values, name):
    """What few of the values exceed, in groups of equal size along x."""
    groups = np.array_split(np.argsort(x), _N_LIMIT)
    return {
        name: [round(float(np.median(x[rows])), 2) for rows in groups],
        "limit": [round(float(np.quantile(values[rows], 1 - FALSE_ALARM_RATE)), 4) for rows in groups],
    }
