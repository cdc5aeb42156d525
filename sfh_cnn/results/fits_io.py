"""Results as FITS: a table of stored arrays, a record of the contract, and a summary for people.

Extensions: ``SUMMARY`` (point values and 68 per cent intervals, as `SFHResult.to_table`; not read back),
``RESULT`` (every stored array, one row per spectrum) and ``RECORD`` (contract and settings as JSON).
"""

import numpy as np
from astropy.io import fits

from sfh_cnn.core import SFHCNNError

from .fits_stream import open_stream, table_header, write_table
from .packing import FORMAT_NAME, column_unit, pack, unpack

__all__ = ["read_fits", "record_table", "result_from_hdus", "result_header", "write_fits"]


def result_header(columns):
    """Header of the extension RESULT, given the columns of `pack`."""
    return table_header(columns, {name: column_unit(name) for name in columns}, "RESULT")


def record_table(record):
    """Header and columns of the extension RECORD, given the record of `pack`."""
    columns = {key: np.array([text.encode("ascii")]) for key, text in record.items()}
    return table_header(columns, {}, "RECORD"), columns


def _summary_table(result):
    """Header and columns of the extension SUMMARY."""
    summary = result.to_table()
    columns = {name: np.asarray(getattr(column, "value", column)) for name, column in summary.columns.items()}
    units = {name: str(getattr(column, "unit", None) or "") for name, column in summary.columns.items()}
    header = table_header(columns, units, "SUMMARY")
    for i, name in enumerate(columns, start=1):
        header[f"TCOMM{i}"] = summary[name].info.description or ""
    header["NETWORK"] = (result.contract.name, "name of the network")
    header["IMF"] = (result.contract.imf, "initial mass function of the masses")
    for i, edge in enumerate(result.contract.age_edges_yr):
        header[f"AGEEDG{i:02d}"] = (edge, "edge of age bins [yr]")
    return header, columns


def result_from_hdus(hdus, path):
    """Read a result from the extensions RESULT and RECORD.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        Open file.
    path : str
        Its name, for messages.

    Returns
    -------
    SFHResult

    Raises
    ------
    SFHCNNError
        If the file holds no result.
    """
    names = [hdu.name for hdu in hdus]
    if "RECORD" not in names or "RESULT" not in names:
        raise SFHCNNError(f"{path} holds no sfh_cnn result (no RESULT and RECORD extensions; it has {names})")
    record = {name: str(hdus["RECORD"].data[name][0]) for name in hdus["RECORD"].columns.names}
    if record.get("format") != FORMAT_NAME:
        raise SFHCNNError(f"{path} holds {record.get('format')!r}, not an {FORMAT_NAME!r}")
    table = hdus["RESULT"].data
    columns = {name: np.asarray(table[name]) for name in table.names}
    # FITS is big-endian; what comes back should be as fast and as picklable as what went in.
    columns = {name: value.astype(value.dtype.newbyteorder("=")) for name, value in columns.items()}
    return unpack(columns, record, path)


def write_fits(result, path, draws=0, spectra=True):
    """Write a result to ``path``, replacing what is there."""
    columns, record = pack(result, draws, spectra)
    with open_stream(path) as stream:
        for header, table in (_summary_table(result), (result_header(columns), columns), record_table(record)):
            write_table(stream, header, [table])


def read_fits(path):
    """Read a result from a FITS file."""
    with fits.open(path, memmap=False) as hdus:
        return result_from_hdus(hdus, str(path))
