"""Many cubes, listed in a table."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy import log
from astropy.table import QTable

from sfh_cnn.core import SFHCNNError

__all__ = ["predict_manifest"]

_FILES = ("cube", "output", "variance", "velocity", "bins")
_NUMBERS = ("redshift", "ebv", "calibration_error", "target_snr", "snr_cut", "noise_correlation")
_OTHERS = ("distance", "line_mask", "medium", "binning")


def predict_manifest(predictor, path, overwrite=False, progress_bar=None):
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
        ``noise_correlation``), with a unit (``distance``, ``line_mask``) or words (``medium``, ``binning``). Empty or
        masked entries are left to their defaults.
    overwrite : bool, optional
        Do again what is done.
    progress_bar : bool, optional
        For each cube.

    Returns
    -------
    `~astropy.table.QTable`
        ``cube``, ``output`` and ``status``: "done", "skipped", or what went wrong.

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
    unknown = [name for name in table.colnames if name not in (*_FILES, *_NUMBERS, *_OTHERS)]
    if unknown or not {"cube", "output"} <= set(table.colnames):
        raise SFHCNNError(
            f"{path} needs the columns cube and output, and may have {', '.join((*_FILES[2:], *_NUMBERS, *_OTHERS))}; "
            f"it has {', '.join(table.colnames)}"
        )
    if len(set(table["output"])) < len(table):
        raise SFHCNNError(f"{path} has the same output for two cubes; give each its own")
    rows = [_options(table, i, path.parent) for i in range(len(table))]
    return QTable(
        {
            "cube": [str(row["cube"]) for row in rows],
            "output": [str(row["output"]) for row in rows],
            "status": [_predict_one(predictor, row, overwrite, progress_bar) for row in rows],
        }
    )


def _options(table, i, folder):
    """Arguments of one row; empty ones are left out."""
    options = {}
    for name in table.colnames:
        value = table[name][i]
        if np.any(getattr(value, "mask", False)) or str(value).strip() in ("", "nan", "--"):
            continue
        if name in _FILES:
            options[name] = folder / str(value)
        elif name in _NUMBERS:
            options[name] = float(value)
        else:
            options[name] = value if isinstance(value, u.Quantity) else str(value)
    return options


def _predict_one(predictor, options, overwrite, progress_bar):
    if options["output"].exists() and not overwrite:
        return "skipped"
    try:
        predictor.predict_cube(**options, overwrite=overwrite, progress_bar=progress_bar)
    except (ValueError, OSError, ImportError) as err:  # errors of units and of this package are ValueErrors
        log.error(f"{options['cube']}: {err}")
        return str(err)
    return "done"
