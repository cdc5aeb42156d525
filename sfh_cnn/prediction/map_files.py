"""Maps that go with a cube, from files and arrays: bins, velocities, redshifts."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy import log

from sfh_cnn.core import SFHCNNError, one_clear_error, to_plain
from sfh_cnn.core.constants import C_KMS, LOWEST_REDSHIFT
from sfh_cnn.spectra import plain_redshift

__all__ = ["read_bin_map", "redshift_map"]

#: Extensions that bin maps have in the files of PHANGS-MUSE and of the MaNGA analysis pipeline.
_BIN_EXTENSIONS = ("BIN_ID", "BINID", "BIN ID")
#: Bits that spoil a velocity of the MaNGA pipeline: UNRELIABLE and DONOTUSE (SDSS bitmask MANGA_DAPPIXMASK). The latter
#: sums up the others but NOCORRECTION and MULTICOMP, which are remarks.
_VELOCITY_BAD = 2**5 | 2**30
#: The same for stellar velocities, and the extension that marks bad ones.
_VELOCITY_EXTENSIONS = {"V_STARS": None, "STELLAR_VEL": "STELLAR_VEL_MASK"}


def redshift_map(redshift, velocity, shape):
    """Redshift of each spaxel.

    Parameters
    ----------
    redshift : float or ndarray, shape (n_y, n_x)
        Of the galaxy, or of each spaxel.
    velocity : `~astropy.units.Quantity`, str, `~pathlib.Path` or None
        Stellar velocities relative to ``redshift``, shape (n_y, n_x): a map, or a FITS file with the extension
        ``V_STARS`` (MAPS of PHANGS-MUSE) or ``STELLAR_VEL`` (of the MaNGA pipeline).
    shape : tuple of int
        (n_y, n_x).

    Returns
    -------
    ndarray, shape (n_y, n_x)
        ``(1 + redshift) (1 + velocity / c) - 1``; NaN where there is no velocity, or one that no galaxy has.

    Raises
    ------
    SFHCNNError
        If a shape is another.
    astropy.units.UnitTypeError
        If the velocity has no unit.
    """
    redshift = plain_redshift(redshift)
    if redshift.shape not in ((), tuple(shape)):
        raise SFHCNNError(f"redshift has shape {redshift.shape}, the cube's image {tuple(shape)}; they must agree")
    if velocity is None:
        return np.broadcast_to(redshift, shape).copy()
    if isinstance(velocity, (str, Path)):
        velocity = _velocity_image(Path(velocity))
    mask = np.asarray(getattr(velocity, "mask", False))
    velocity = to_plain(getattr(velocity, "unmasked", velocity), u.km / u.s, "velocity")
    if velocity.shape != tuple(shape):
        raise SFHCNNError(f"velocity has shape {velocity.shape}, the cube's image {tuple(shape)}; they must agree")
    redshifts = (1 + redshift) * (1 + np.where(mask, np.nan, velocity) / C_KMS) - 1
    away = (redshifts < LOWEST_REDSHIFT) & (redshift >= LOWEST_REDSHIFT)
    if away.any():
        log.warning(f"velocity leads to redshifts below {LOWEST_REDSHIFT} in {away.sum()} spaxels; they are left out")
    return np.where(away, np.nan, redshifts)


def _velocity_image(path):
    from astropy.io import fits

    if not path.is_file():
        raise FileNotFoundError(f"no velocity map at {path}")
    with one_clear_error(path, "no map of velocities"), fits.open(path, memmap=False) as hdus:
        for name, mask_name in _VELOCITY_EXTENSIONS.items():
            if name in hdus:
                values = np.array(hdus[name].data, dtype=float)
                if mask_name in hdus:
                    values[hdus[mask_name].data & _VELOCITY_BAD != 0] = np.nan
                return values * u.km / u.s
        raise SFHCNNError(
            f"{path} has no velocities; looked for {', '.join(_VELOCITY_EXTENSIONS)} in {[hdu.name for hdu in hdus]}"
        )


def read_bin_map(bins, shape, usable):
    """A map of bins of any kind, numbered from 0.

    Parameters
    ----------
    bins : ndarray, str or `~pathlib.Path`
        Image of integers, shape (n_y, n_x); negative, masked or NaN where a spaxel is in no bin. Or a FITS file: MAPS
        of PHANGS-MUSE (extension ``BIN_ID``) or of the MaNGA pipeline (``BINID``, first plane), a table of nGIST with
        the column ``BIN_ID`` and a row for each spaxel (``RUN_table.fits``; ``RUN_mask.fits`` is read too, if it is
        beside it), or the first image.
    shape : tuple of int
        (n_y, n_x) of the cube.
    usable : ndarray of bool, shape (n_y, n_x)
        False for spaxels that are to be in no bin.

    Returns
    -------
    bin_id : ndarray of int, shape (n_y, n_x)
        0 to the number of bins - 1, in the order of the numbers given; -1 for none.

    Raises
    ------
    SFHCNNError
        If the shape is another or there is no bin.
    """
    values = _bin_image(Path(bins), shape) if isinstance(bins, (str, Path)) else bins
    masked = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else np.zeros(np.shape(values), dtype=bool)
    values = np.asarray(np.ma.getdata(values))
    if values.shape != tuple(shape):
        raise SFHCNNError(f"bins has shape {values.shape}, the cube's image {tuple(shape)}; they must agree")
    if values.dtype.kind == "f":
        masked = masked | ~np.isfinite(values)
        values = np.where(masked, -1, values)
        if np.any(values != np.round(values)):
            raise SFHCNNError("bins must be whole numbers, one for each spaxel")
    inside = ~masked & (values >= 0) & usable
    if not inside.any():
        raise SFHCNNError("bins has no bin with a usable spaxel; numbers of bins are 0 or positive")
    bin_id = np.full(shape, -1)
    bin_id[inside] = np.unique(values[inside], return_inverse=True)[1]
    return bin_id


def _bin_image(path, shape):
    from astropy.io import fits

    if not path.is_file():
        raise FileNotFoundError(f"no bin map at {path}")
    with one_clear_error(path, "no map of bins"), fits.open(path, memmap=False) as hdus:
        for name in _BIN_EXTENSIONS:
            if name in hdus and hdus[name].is_image:
                data = np.array(hdus[name].data)
                return data[0] if data.ndim == 3 else data
        for hdu in hdus:
            if "BIN_ID" in getattr(getattr(hdu, "columns", None), "names", ()):
                data = np.array(hdu.data["BIN_ID"])
                if data.size != shape[0] * shape[1]:
                    raise SFHCNNError(f"{path} has {data.size} rows, the cube {shape[0] * shape[1]} spaxels")
                # nGIST writes minus the nearest bin where it masks a spaxel, and minus 0 is 0.
                data[_masked_by_ngist(path, data.size)] = -1
                return data.reshape(shape)
        image = next((hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2), None)
        if image is None:
            raise SFHCNNError(f"{path} has no map of bins; it has {[hdu.name for hdu in hdus]}")
        return np.array(image.data)


def _masked_by_ngist(path, n_spaxel):
    """Rows of a table of nGIST that its table of masks marks, if that lies beside it."""
    from astropy.io import fits

    beside = path.with_name(path.name.replace("_table.fits", "_mask.fits"))
    if beside == path or not beside.is_file():
        return np.zeros(n_spaxel, dtype=bool)
    with one_clear_error(beside, "no table of masks"), fits.open(beside, memmap=False) as hdus:
        mask = np.asarray(hdus[1].data["MASK"]) != 0
    if mask.size != n_spaxel:
        raise SFHCNNError(f"{beside} has {mask.size} rows, {path} {n_spaxel}; they must agree")
    return mask
