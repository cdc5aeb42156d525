"""Many cubes, listed in a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy import log
from astropy.table import QTable

from sfh_cnn.core import SFHCNNError

if TYPE_CHECKING:
    from typing import Any

    from .predictor import SFHPredictor

__all__ = ["predict_manifest"]

_FILES = ("cube", "output", "variance", "velocity", "bins")
_NUMBERS = ("redshift", "ebv", "calibration_error", "target_snr", "snr_cut", "noise_correlation")
_WITH_UNIT = ("distance", "line_mask")
_WORDS = ("medium", "binning")
_OTHERS = (*_NUMBERS, *_WITH_UNIT, *_WORDS)


def predict_manifest(
    predictor: SFHPredictor,
    path: str | Path,
    overwrite: bool = False,
    progress_bar: bool | None = None,
    scheduler: Any = None,
) -> QTable:
    """Predict the cubes of a list, one after the other.

    A cube whose output exists is done and skipped, one that was stopped goes on, and one that fails does not keep the
    others from their turn: call it again after any accident.

    Parameters
    ----------
    predictor : SFHPredictor
    path : str or `~pathlib.Path`
        Table such as ECSV, a row for each cube. Columns ``cube`` and ``output``, file names relative to the table's
        folder; and if wanted the other arguments of `SFHPredictor.predict_cube` that are files (``variance``,
        ``velocity``, ``bins``), numbers (``redshift``, ``ebv``, ``calibration_error``, ``target_snr``, ``snr_cut``,
        ``noise_correlation``), with a unit (``distance``, ``line_mask``; also as text, "11 Mpc") or words (``medium``,
        ``binning``). Empty or masked entries are left to their defaults.
    overwrite : bool, optional
        Do again what is done.
    progress_bar : bool, optional
        For each cube.
    scheduler : str, ``distributed.Client`` or cluster, optional
        Dask cluster for each cube; see `SFHPredictor.predict_cube`.

    Returns
    -------
    `~astropy.table.QTable`
        ``cube``, ``output``, ``status`` ("done", "skipped", or what went wrong), ``n_spec`` (spaxels or bins with a
        result; 0 if nothing was done) and ``time``.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    SFHCNNError
        If a column is missing or unknown, or two rows have the same output.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}")
    table = QTable.read(path, format=None if path.suffix in (".ecsv", ".fits") else "ascii")
    unknown = [name for name in table.colnames if name not in (*_FILES, *_OTHERS)]
    if unknown or not {"cube", "output"} <= set(table.colnames):
        raise SFHCNNError(
            f"{path} needs the columns cube and output, and may have {', '.join((*_FILES[2:], *_OTHERS))}; "
            f"it has {', '.join(table.colnames)}"
        )
    rows = [_options(table, i, path) for i in range(len(table))]
    if len({row["output"] for row in rows}) < len(rows):
        raise SFHCNNError(f"{path} has the same output for two cubes; give each its own")
    every = {"overwrite": overwrite, "progress_bar": progress_bar, "scheduler": scheduler}
    done = [_predict_one(predictor, {**row, **every}) for row in rows]
    return QTable(
        {
            "cube": [str(row["cube"]) for row in rows],
            "output": [str(row["output"]) for row in rows],
            "status": [status for status, _, _ in done],
            "n_spec": [n_spec for _, n_spec, _ in done],
            "time": [seconds for _, _, seconds in done] * u.s,
        }
    )


def _options(table, i, path):
    """Arguments of one row; empty ones are left out."""
    folder, options = path.parent, {}
    for name in table.colnames:
        value = table[name][i]
        if np.any(getattr(value, "mask", False)) or str(value).strip() in ("", "nan", "--"):
            continue
        if name in _FILES:
            options[name] = folder / str(value)
        elif name in _WORDS:
            options[name] = str(value)
        else:
            try:
                options[name] = _with_unit(value) if name in _WITH_UNIT else _number(value)
            except (TypeError, ValueError) as err:
                kind = "a number with a unit" if name in _WITH_UNIT else "a number"
                raise SFHCNNError(f"{path}, row {i + 1}: {name} must be {kind}, got {str(value)!r}") from err
    for name in ("cube", "output"):
        if name not in options:
            raise SFHCNNError(f"{path}, row {i + 1} has no {name}")
    return options


def _with_unit(value):
    """A Quantity, which has a unit."""
    value = u.Quantity(value)
    if value.unit == u.dimensionless_unscaled:
        raise ValueError("no unit")
    return value


def _number(value):
    """A number, plain or in magnitudes as E(B-V) may be."""
    return value.to_value(u.mag) if getattr(value, "unit", None) == u.mag else float(value)


def _predict_one(predictor, options):
    """Status, number of spectra and seconds of a cube."""
    if options["output"].exists() and not options["overwrite"]:
        return "skipped", 0, 0.0
    begin, n_spec, status = time.perf_counter(), 0, "done"
    try:
        n_spec = predictor.predict_cube(**options).result.n_spec
    except Exception as err:  # noqa: BLE001 - whatever is wrong with one cube, the others get their turn
        known = isinstance(err, (ValueError, OSError, ImportError))  # errors of units and of this package too
        status = str(err) if known else f"{type(err).__name__}: {err}"
        log.error(f"{options['cube']}: {status}")
    return status, n_spec, time.perf_counter() - begin
