"""Results as ECSV: one text table with units, one row per spectrum, contract and settings in its header."""

import numpy as np
from astropy.table import Table

from sfh_cnn.core import SFHCNNError

from .packing import FORMAT_NAME, column_unit, pack, unpack

__all__ = ["read_ecsv", "write_ecsv"]


def write_ecsv(result, path, draws=0, spectra=True):
    """Write a result to ``path``, replacing what is there."""
    columns, record = pack(result, draws, spectra)
    table = Table(columns, meta=record)
    for name in columns:
        table[name].unit = column_unit(name) or None
    table.write(path, format="ascii.ecsv", overwrite=True)


def read_ecsv(path):
    """Read a result from an ECSV file.

    Raises
    ------
    SFHCNNError
        If the table is not a result.
    """
    table = Table.read(path, format="ascii.ecsv")
    if table.meta.get("format") != FORMAT_NAME:
        raise SFHCNNError(f"{path} is a table, but not an sfh_cnn result (no 'format: {FORMAT_NAME}' in its header)")
    columns = {name: np.asarray(table[name].data) for name in table.colnames}
    return unpack(columns, dict(table.meta), str(path))
