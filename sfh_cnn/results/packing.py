"""A result as plain columns and one JSON record, the form that every file format stores."""

import json

import numpy as np

from sfh_cnn.core import ModelContract, SFHCNNError
from sfh_cnn.core.constants import RESULT_FORMAT_VERSION

from .draws import DRAW_KEYS
from .quantities import ARRAY_UNITS
from .sfh_result import SHARED_KEYS, SFHResult

__all__ = ["FORMAT_NAME", "column_unit", "pack", "spectra_with_model", "unpack"]

#: What a file says it is.
FORMAT_NAME = "sfh_cnn result"
#: Columns of what was fitted carry this prefix in files.
_SPECTRUM = "spectrum_"


def column_unit(name):
    """Unit of a stored column as a string, empty if it has none."""
    unit = ARRAY_UNITS.get(name.removeprefix(_SPECTRUM))
    return "" if unit is None else str(unit)


def spectra_with_model(result):
    """What was fitted and, where the network is attached, the reconstruction beside it.

    Parameters
    ----------
    result : SFHResult
        Any result.

    Returns
    -------
    dict of ndarray or None
    """
    if result.spectra is None or result.engine is None:
        return result.spectra
    model = result.engine.reconstruct(result)
    return {**result.spectra, **{f"model_{key}": np.asarray(value) for key, value in model.items()}}


def pack(result, draws=0, spectra=True):
    """Split a result into columns and a record.

    Parameters
    ----------
    result : SFHResult
        What to store.
    draws : int, optional
        Posterior draws per spectrum to store, so that they can be had without the network.
    spectra : bool, optional
        Store what was fitted and its reconstruction.

    Returns
    -------
    columns : dict of ndarray
        One row per spectrum.
    record : dict of str
        Names and JSON texts: format, version, contract, meta and the rest that is not a column.
    """
    columns = dict(result.arrays)
    if draws:
        drawn = result._draw_arrays(draws, seed=0)
        columns.update({f"draw_{key}": np.asarray(drawn[key], dtype=np.float32) for key in DRAW_KEYS})
    shared = {}
    for key, value in ((spectra_with_model(result) if spectra else None) or {}).items():
        if key in SHARED_KEYS:
            shared[key] = value.tolist()
        else:
            columns[_SPECTRUM + key] = value
    # Formats disagree about columns of no width (a network without bands), so these are only named.
    empty = {key: [list(value.shape), value.dtype.str] for key, value in columns.items() if value.size == 0}
    record = {
        "format": FORMAT_NAME,
        "version": str(RESULT_FORMAT_VERSION),
        "contract": result.contract.to_json(),
        "meta": json.dumps(result.meta),
        "layout": json.dumps({"scalar": result.scalar, "shared": shared, "empty": empty}),
    }
    return {key: value for key, value in columns.items() if key not in empty}, record


def unpack(columns, record, path):
    """Put a result together again.

    Parameters
    ----------
    columns : dict of ndarray
        As `pack` gave them.
    record : dict of str
        As `pack` gave it.
    path : str
        Name of the file, for messages.

    Returns
    -------
    SFHResult

    Raises
    ------
    SFHCNNError
        If the record is of another version.
    """
    if record.get("version") != str(RESULT_FORMAT_VERSION):
        raise SFHCNNError(
            f"{path} has result format {record.get('version')}, this version of sfh_cnn reads {RESULT_FORMAT_VERSION}"
        )
    layout = json.loads(record["layout"])
    columns = {**columns, **{key: np.empty(shape, dtype) for key, (shape, dtype) in layout["empty"].items()}}
    spectra = {key: np.array(value) for key, value in layout["shared"].items()}
    spectra.update({key[len(_SPECTRUM) :]: value for key, value in columns.items() if key.startswith(_SPECTRUM)})
    return SFHResult(
        ModelContract.from_json(record["contract"]),
        {key: value for key, value in columns.items() if not key.startswith(_SPECTRUM)},
        meta=json.loads(record["meta"]),
        spectra=spectra or None,
        scalar=layout["scalar"],
    )
