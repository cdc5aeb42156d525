"""Maps as FITS: one image extension per quantity with WCS and BUNIT, and the result they come from.

Images are single precision with the age bins as third axis; the tables ``RESULT`` and ``RECORD`` hold
everything to the last digit, ``BIN_ID`` and ``BINS`` which row each spaxel belongs to.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from sfh_cnn.core import SFHCNNError, atomic_write

from .fits_io import result_from_hdus, result_hdus
from .quantities import QUANTITIES
from .sfh_maps import SFHMaps

__all__ = ["read_maps", "write_maps"]


def write_maps(maps, path, overwrite=False, draws=0):
    """Write maps to FITS; see `SFHMaps.write`."""
    header = fits.Header() if maps.wcs is None else maps.wcs.to_header(relax=True)
    header["IMF"] = maps.contract.imf
    header["NETWORK"] = maps.contract.name
    hdus = [fits.PrimaryHDU(), *_images(maps, header)]
    hdus.append(fits.ImageHDU(maps.bin_id.astype(np.int32), header, name="BIN_ID"))
    size = fits.Column("N_SPAXEL", "J", array=maps.bin_size)
    hdus.append(fits.BinTableHDU.from_columns([size], name="BINS"))
    with atomic_write(path, overwrite) as temporary:
        fits.HDUList([*hdus, *result_hdus(maps.result, draws, spectra=False)]).writeto(temporary, overwrite=True)


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
    try:
        with fits.open(path, memmap=False) as hdus:
            if "BIN_ID" not in hdus or "BINS" not in hdus:
                raise SFHCNNError(f"{path} holds no sfh_cnn maps; if it holds a result, use SFHResult.read")
            wcs = WCS(hdus["BIN_ID"].header)
            return SFHMaps(
                result_from_hdus(hdus, str(path)),
                hdus["BIN_ID"].data.astype(int),
                wcs if wcs.has_celestial else None,
                hdus["BINS"].data["N_SPAXEL"].astype(int),
            )
    except OSError as err:
        raise SFHCNNError(f"{path} could not be read as maps: {err}") from err
