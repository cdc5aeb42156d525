"""Results as ASDF: the stored arrays, their units and the record as one tree. Needs the asdf package."""

import numpy as np

from sfh_cnn.core import SFHCNNError, require

from .packing import FORMAT_NAME, column_unit, pack, unpack

__all__ = ["read_asdf", "write_asdf"]


def write_asdf(result, path, draws=0, spectra=True):
    """Write a result to ``path``, replacing what is there."""
    columns, record = pack(result, draws, spectra)
    units = {name: column_unit(name) for name in columns if column_unit(name)}
    tree = {"record": record, "columns": columns, "units": units}
    require("asdf", "all").AsdfFile(tree).write_to(str(path))


def read_asdf(path):
    """Read a result from an ASDF file.

    Raises
    ------
    SFHCNNError
        If the file is not a result.
    """
    with require("asdf", "all").open(path, memmap=False, lazy_load=False) as tree:
        if "record" not in tree or tree["record"].get("format") != FORMAT_NAME:
            raise SFHCNNError(f"{path} holds no sfh_cnn result")
        columns = {name: np.array(value) for name, value in tree["columns"].items()}
        return unpack(columns, dict(tree["record"]), str(path))
