"""Maps as FITS: one image extension per quantity with WCS and BUNIT, and the result they come from.

Images are single precision with the age bins as third axis; the tables ``RESULT`` and ``RECORD`` hold
everything to the last digit, ``BIN_ID`` and ``BINS`` which row each spaxel belongs to.
"""

import mmap
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from sfh_cnn.core import SFHCNNError, atomic_write, one_clear_error

from .fits_io import record_table, result_from_hdus, result_header
from .fits_stream import open_stream, table_header, write_hdu, write_table
from .packing import pack
from .quantities import QUANTITIES
from .sfh_maps import SFHMaps

__all__ = ["read_maps", "write_maps"]

#: Rows of the table of results that are written at a time.
_ROWS = 4096


def write_maps(maps, path, overwrite=False, draws=0):
    """Write maps to FITS; see `SFHMaps.write`.

    One extension after the other is made and written, so that the maps of a large cube need not fit into memory.
    """
    header = fits.Header() if maps.wcs is None else maps.wcs.to_header(relax=True)
    header["IMF"] = maps.contract.imf
    header["NETWORK"] = maps.contract.name
    with atomic_write(path, overwrite) as temporary, open_stream(temporary) as stream:
        for hdu in _images(maps, header):
            write_hdu(stream, hdu)
            _let_go(maps.result)
        write_hdu(stream, fits.ImageHDU(maps.bin_id.astype(np.int32), header, name="BIN_ID"))
        sizes = {"N_SPAXEL": maps.bin_size.astype(np.int32)}
        write_table(stream, table_header(sizes, {}, "BINS"), [sizes])
        _write_result(stream, maps.result, draws)


def _write_result(stream, result, draws):
    """The tables RESULT and RECORD of a result, some rows at a time."""
    columns, record = pack(result[:1], draws, spectra=False)
    header = result_header(columns)
    header["NAXIS2"] = result.n_spec

    def blocks():
        for start in range(0, result.n_spec, _ROWS):
            yield pack(result[start : start + _ROWS], draws, spectra=False)[0]
            _let_go(result)

    write_table(stream, header, blocks())
    header, columns = record_table(record)
    write_table(stream, header, [columns])


def _let_go(result):
    """Tell the system that pages of mapped arrays may leave the memory."""
    for array in result.arrays.values():
        mapped = getattr(getattr(array, "base", None), "_mmap", None)
        if mapped is not None and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _images(maps, header):
    has_distance = np.isfinite(maps.result.arrays["distance_mpc"]).any()
    for name, info in QUANTITIES.items():
        if info.needs_distance and not has_distance:
            continue
        value = getattr(maps, name)
        value = value() if callable(value) else value
        yield _image(value, name, info.description, header)
        if not info.axis and maps.result.has_stored_quantiles(name):
            for end, bound in zip(("lower", "upper"), maps.interval(name), strict=True):
                yield _image(bound, f"{name}_{end}", f"{end} end of the 68 per cent interval", header)
    yield fits.ImageHDU(maps.flags, header, name="FLAGS")
    for name in ("snr", "reduced_chi2", "v_flux"):
        yield _image(getattr(maps, name), name, "", header)


def _image(value, name, description, header):
    plain = np.asarray(value.value, dtype=np.float32)
    if plain.ndim == 3:
        plain = np.moveaxis(plain, -1, 0)
    hdu = fits.ImageHDU(plain, header, name=name.upper())
    hdu.header["BUNIT"] = str(value.unit)
    if description:
        hdu.header["COMMENT"] = description
    return hdu


def read_maps(path):
    """Read maps from FITS; see `SFHMaps.read`.

    Raises
    ------
    SFHCNNError
        If the file holds no maps.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    with one_clear_error(path, "no file of maps"), fits.open(path, memmap=False) as hdus:
        if "BIN_ID" not in hdus or "BINS" not in hdus:
            raise SFHCNNError(f"{path} holds no sfh_cnn maps; if it holds a result, use SFHResult.read")
        wcs = WCS(hdus["BIN_ID"].header)
        return SFHMaps(
            result_from_hdus(hdus, str(path)),
            hdus["BIN_ID"].data.astype(int),
            wcs if wcs.has_celestial else None,
            hdus["BINS"].data["N_SPAXEL"].astype(int),
        )
