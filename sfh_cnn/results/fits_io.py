"""Results as FITS: a table of stored arrays, a record of the contract, and a summary for people.

Extensions: ``SUMMARY`` (point values and 68 per cent intervals, as `SFHResult.to_table`; not read back),
``RESULT`` (every stored array, one row per spectrum) and ``RECORD`` (contract and settings as JSON).
"""

import numpy as np
from astropy.io import fits

from sfh_cnn.core import SFHCNNError

from .packing import FORMAT_NAME, column_unit, pack, unpack

__all__ = ["read_fits", "result_from_hdus", "result_hdus", "write_fits"]

_FORMAT = {"f8": "D", "f4": "E", "i4": "J", "i8": "K", "i2": "I", "b1": "L"}


def result_hdus(result, draws=0, spectra=True):
    """FITS extensions that hold a result.

    Parameters
    ----------
    result : SFHResult
        What to store.
    draws : int, optional
        Posterior draws to store per spectrum.
    spectra : bool, optional
        Store what was fitted and its reconstruction.

    Returns
    -------
    list of `~astropy.io.fits.BinTableHDU`
        SUMMARY, RESULT and RECORD.
    """
    columns, record = pack(result, draws, spectra)
    summary = result.to_table()
    plain = {name: np.asarray(getattr(column, "value", column)) for name, column in summary.columns.items()}
    units = {name: str(getattr(column, "unit", None) or "") for name, column in summary.columns.items()}
    hdus = [
        _table(plain, units, "SUMMARY"),
        _table(columns, {name: column_unit(name) for name in columns}, "RESULT"),
        fits.BinTableHDU.from_columns(
            [fits.Column(key, f"{len(text)}A", array=np.array([text])) for key, text in record.items()],
            name="RECORD",
        ),
    ]
    header = hdus[0].header
    for i, name in enumerate(plain, start=1):
        header[f"TCOMM{i}"] = summary[name].info.description or ""
    header["NETWORK"] = (result.contract.name, "name of the network")
    header["IMF"] = (result.contract.imf, "initial mass function of the masses")
    for i, edge in enumerate(result.contract.age_edges_yr):
        header[f"AGEEDG{i:02d}"] = (edge, "edge of age bins [yr]")
    return hdus


def result_from_hdus(hdus, path):
    """Read a result from the extensions that `result_hdus` made.

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
    fits.HDUList([fits.PrimaryHDU(), *result_hdus(result, draws, spectra)]).writeto(path, overwrite=True)


def read_fits(path):
    """Read a result from a FITS file."""
    with fits.open(path, memmap=False) as hdus:
        return result_from_hdus(hdus, str(path))


def _table(columns, units, name):
    made = []
    for key, value in columns.items():
        width = int(np.prod(value.shape[1:]))
        if value.dtype.kind == "U":
            code = f"{max(1, value.dtype.itemsize // 4)}A"
        else:
            code = f"{width}{_FORMAT[value.dtype.str[1:]]}"
        # A FITS array counts its axes from the fastest.
        dim = str(value.shape[:0:-1]).replace(" ", "") if value.ndim > 2 else None
        made.append(fits.Column(key, code, array=value, unit=units[key] or None, dim=dim))
    return fits.BinTableHDU.from_columns(made, name=name)
