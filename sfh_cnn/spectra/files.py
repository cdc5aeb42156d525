"""Spectra in files: SDSS, MUSE, plain tables; everything else is left to specutils."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from sfh_cnn.core import SFHCNNError, one_clear_error, parse_flux_unit

from .conventions import bare_flux_unit, header_wavelengths, medium_of_ctype
from .plain import PlainSpectrum

if TYPE_CHECKING:
    from typing import Any

    from specutils import Spectrum

__all__ = ["is_cube_file", "open_spectrum_file", "read_spectrum_file"]

#: Names of columns in plain tables, lower case, and what they mean.
_WAVELENGTH = ("wavelength", "wave", "lambda", "lam", "spectral_axis")
_FLUX = ("flux", "flux_density", "flam")
_UNCERTAINTY = {
    **dict.fromkeys(("uncertainty", "error", "err", "flux_err", "flux_error", "sigma", "std"), StdDevUncertainty),
    **dict.fromkeys(("variance", "var", "stat"), VarianceUncertainty),
    "ivar": InverseVariance,
}
_MASK = ("mask", "qual")
#: All columns that are looked at.
_KNOWN = {*_WAVELENGTH, *_FLUX, *_UNCERTAINTY, *_MASK}
#: How a FITS file begins that is not compressed.
_PLAIN_FITS = b"SIMPLE  ="
#: Bits of ``and_mask`` from this one on are about pixels, those below about the fibre (SDSS bitmask SPPIXMASK).
_SDSS_PIXEL_BIT = 16
#: A table that was made with ``spectrum.wavelength`` remembers that class, which astropy writes and does not read.
_AS_QUANTITY = ("specutils.spectra.spectral_axis.SpectralAxis", "astropy.units.quantity.Quantity")


def read_spectrum_file(path: str | Path, format: str | None = None) -> Spectrum:  # noqa: A002 (the name astropy users expect)
    """Read a spectrum of any common kind.

    Parameters
    ----------
    path : str or `pathlib.Path`
        One of these:

        - a spectrum of SDSS, BOSS or eBOSS (columns ``loglam``, ``flux``, ``ivar``; in vacuum; with its redshift);
        - a MUSE spectrum as mpdaf writes it (a one-dimensional ``DATA`` with ``STAT`` and ``DQ``);
        - a table, FITS (also one row of arrays, as ESO has them) or text such as ECSV, with columns ``wavelength``,
          ``flux`` and, for errors, ``uncertainty``, ``error``, ``variance`` or ``ivar``, and ``mask`` or ``qual`` (0
          is good). The wavelength needs a unit; a flux without one gives histories but no masses. ``redshift`` or
          ``z`` and ``medium`` ("air" or "vacuum") may stand in the header or metadata. Many spectra on one axis are
          columns of vectors: a row for each wavelength, an element for each spectrum;
        - whatever `specutils.Spectrum.read` knows.
    format : str, optional
        Name of a format of specutils; by default the file decides.

    Returns
    -------
    `~specutils.Spectrum`

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SFHCNNError
        If the file holds a cube or no spectrum that is understood.
    """
    spectrum = _read(Path(path), format, mapped=False)
    if not isinstance(spectrum, PlainSpectrum):
        return spectrum
    with one_clear_error(path, "no spectrum"):
        return spectrum.to_specutils()


def open_spectrum_file(path: str | Path, format: str | None = None) -> Any:  # noqa: A002
    """`read_spectrum_file` for prediction: it does without specutils, which takes a second to import, if it can.

    Large tables of spectra stay in the file until a block is asked for; it must not be changed meanwhile.

    Parameters
    ----------
    path, format : str
        As in `read_spectrum_file`.

    Returns
    -------
    object
        What `read_spectra` takes.

    Raises
    ------
    FileNotFoundError, SFHCNNError
        As `read_spectrum_file`.
    """
    return _read(Path(path), format, mapped=True)


def _read(path, format_name, mapped):
    """A spectrum of any kind; ``mapped`` leaves it in the file where that is possible."""
    if not path.is_file():
        raise FileNotFoundError(f"no spectrum file at {path}")
    if format_name is not None:
        return _read_with_specutils(path, format_name)
    if _is_fits(path):
        with one_clear_error(path, "no FITS file of a spectrum"):
            return _read_fits(path, mapped)
    with one_clear_error(path, "no table of a spectrum"):
        return _read_text(path)


def is_cube_file(path: str | Path) -> bool:
    """Whether a file is FITS with an image of three axes.

    Parameters
    ----------
    path : str or `pathlib.Path`

    Returns
    -------
    bool
        False also if there is no such file.
    """
    from astropy.io import fits

    path = Path(path)
    if not (path.is_file() and _is_fits(path)):
        return False
    try:
        with one_clear_error(path, "no FITS file"), fits.open(path) as hdus:
            return _has_cube(hdus)
    except SFHCNNError:
        return False  # the reader of spectra says what is wrong with it


def _has_cube(hdus):
    return any(hdu.is_image and hdu.header.get("NAXIS") == 3 for hdu in hdus)


def _is_fits(path):
    start = _start(path)
    return start == _PLAIN_FITS or (start[:2] == b"\x1f\x8b" and ".fit" in path.name.lower())


def _start(path):
    with open(path, "rb") as stream:
        return stream.read(len(_PLAIN_FITS))


def _read_fits(path, mapped):
    from astropy.io import fits

    with fits.open(path) as hdus:
        kinds = [_names(hdu) for hdu in hdus]
        coadd = next((hdu for hdu, names in zip(hdus, kinds, strict=True) if {"loglam", "flux"} <= names), None)
        if coadd is not None:
            return _read_sdss(hdus, coadd)
        if _has_cube(hdus):
            raise SFHCNNError(f"{path} holds a cube; give it alone to predict_cube (sfh-cnn predict knows cubes)")
        if "DATA" in hdus and hdus["DATA"].header.get("NAXIS") == 1:
            return _read_muse_spectrum(path, hdus)
        for i, names in enumerate(kinds):
            if names & set(_WAVELENGTH) and names & set(_FLUX):
                for card in hdus[i].header.cards:
                    if card.keyword == "COMMENT" and _AS_QUANTITY[0] in card.value:
                        card.value = card.value.replace(*_AS_QUANTITY)
                if mapped and (found := _mapped(path, hdus[i])) is not None:
                    columns, meta = found
                    spectrum = _from_table(columns, {**hdus[0].header, **meta}, path)
                    if not spectrum.mask.any():
                        spectrum.mask = None  # nor need anybody look at it again
                    return spectrum
                table = _read_table(hdus[i])
                # Spectra of the ESO archive are one row of arrays.
                row = 0 if len(table) == 1 else slice(None)
                columns = {name: table[name][row] for name in table.colnames}
                return _from_table(columns, {**hdus[0].header, **table.meta}, path)
    return _read_with_specutils(path, None)


def _mapped(path, hdu):
    """Columns that `QTable.read` would give, as they lie in the file, and metadata; None if it does more than read.

    It copies each value up to three times. Here it reads the first row, and so says what class and unit each column
    has; where values are what is stored, no more and no less, the stored ones then take the place of that row.
    """
    from astropy.io import fits
    from astropy.table import Column

    if not isinstance(hdu, fits.BinTableHDU) or _start(path) != _PLAIN_FITS:
        return None
    header, layout = hdu.header.copy(), hdu.columns.dtype.newbyteorder(">")
    if header["NAXIS2"] < 2 or header["NAXIS1"] != layout.itemsize or header["PCOUNT"]:
        return None
    # Not hdu.data, which copies all columns when it goes.
    rows = np.memmap(path, layout, mode="r", offset=hdu.fileinfo()["datLoc"], shape=header["NAXIS2"])
    header["NAXIS2"] = 1
    one_row = fits.BinTableHDU.fromstring(header.tostring().encode("ascii") + rows[:1].tobytes())
    # NaN is a bad pixel to whoever looks at it, without a mask of the whole column.
    first = _read_table(one_row, mask_invalid=False)
    columns = {}
    for name in first.colnames:
        if name.lower() not in _KNOWN:
            continue
        column, stored = first[name], hdu.columns[name] if name in hdu.columns.names else None
        if (
            stored is None
            or {stored.bscale, stored.bzero, stored.null} - {None, ""}  # scaled, or with a word for nothing
            or type(column) not in (u.Quantity, Column)  # masked, logarithmic, a mixin of somebody's
            or column.dtype != rows.dtype[name].base
            or column.dtype.kind not in ("iu" if name.lower() in _MASK else "f")
            or column.shape[1:] != rows.dtype[name].shape
        ):
            return None
        is_plain = type(column) is Column
        values = rows[name].view(np.ndarray)
        columns[name] = Column(values, unit=column.unit, copy=False) if is_plain else values << column.unit
    return columns, first.meta


def _read_table(*args, **kwargs):
    """`QTable.read`, without its warnings of units that it does not know: `_bare` reads more of them, or refuses."""
    from astropy.table import QTable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)
        return QTable.read(*args, **kwargs)


def _names(hdu):
    """Columns of a table in lower case; none of anything else."""
    return {name.lower() for name in getattr(getattr(hdu, "columns", None), "names", ())}


def _read_text(path):
    from astropy.io import ascii as astropy_ascii

    with open(path, "rb") as stream:
        is_ecsv = stream.read(7) == b"# %ECSV"
    try:
        if is_ecsv:
            lines = path.read_text(encoding="utf-8").replace(*_AS_QUANTITY).splitlines()
            table = _read_table(lines, format="ascii.ecsv")
        else:
            table = _read_table(path, format="ascii")
    except (astropy_ascii.InconsistentTableError, ValueError) as err:
        raise SFHCNNError(
            f"{path} is no spectrum that is understood ({str(err).strip().splitlines()[0]}); give a FITS file, or a "
            "table (ECSV keeps units) with columns wavelength, flux and uncertainty"
        ) from err
    return _from_table({name: table[name] for name in table.colnames}, table.meta, path)


def _read_sdss(hdus, coadd):
    header = hdus[0].header.copy()
    header.update(coadd.header)
    data = coadd.data
    redshift = next((hdu.data["z"][0] for hdu in hdus if "z" in _names(hdu)), header.get("Z"))
    unit = parse_flux_unit(hdus[0].header.get("BUNIT", "1E-17 erg/cm^2/s/Ang"))
    mask = np.asarray(data["ivar"]) <= 0
    if "and_mask" in _names(coadd):
        mask |= np.asarray(data["and_mask"]) >> _SDSS_PIXEL_BIT != 0
    return PlainSpectrum(
        spectral_axis=10 ** np.asarray(data["loglam"], dtype=float) * u.AA,
        flux=np.asarray(data["flux"], dtype=float) * unit,
        uncertainty=InverseVariance(np.asarray(data["ivar"], dtype=float), unit=unit**-2),
        mask=mask,
        redshift=None if redshift is None else float(redshift),
        meta={"header": header, "medium": "vacuum"},
    )


def _read_muse_spectrum(path, hdus):
    header = hdus["DATA"].header
    if "BUNIT" not in header:
        raise SFHCNNError(f"{path} has no BUNIT; add it to DATA, such as '1e-20 erg / (s cm2 Angstrom)'")
    unit = parse_flux_unit(header["BUNIT"])
    flux = np.array(hdus["DATA"].data, dtype=float)
    mask = ~np.isfinite(flux)
    if "DQ" in hdus:
        mask |= hdus["DQ"].data != 0
    variance = np.array(hdus["STAT"].data, dtype=float) if "STAT" in hdus else None
    return PlainSpectrum(
        spectral_axis=header_wavelengths(header, 1),
        flux=flux * unit,
        uncertainty=None if variance is None else VarianceUncertainty(variance, unit=unit**2),
        mask=mask,
        meta={"header": header, "medium": medium_of_ctype(header.get("CTYPE1")) or "air"},
    )


def _from_table(table, header, path):
    columns = {name.lower(): table[name] for name in table}

    def find(names, required=False):
        found = next((name for name in names if name in columns), None)
        if required and found is None:
            raise SFHCNNError(f"{path} has no column {names[0]}; it has {', '.join(columns)}")
        return found

    wavelength = columns[find(_WAVELENGTH, required=True)]
    if getattr(wavelength, "unit", None) is None:
        raise SFHCNNError(f"the wavelengths in {path} have no unit; give them one, such as Angstrom (ECSV keeps units)")
    flux, bad = _bare(columns[find(_FLUX, required=True)], parse_flux_unit)
    bare_flux_unit(flux.unit)  # refuses magnitudes, which no Spectrum of specutils can hold either
    uncertainty = None
    if (name := find(_UNCERTAINTY)) is not None:
        values, bad_error = _bare(columns[name], parse_flux_unit)
        bad = bad | bad_error
        kind = _UNCERTAINTY[name]
        # Errors without a unit are in that of the flux.
        unit = None if values.unit == u.dimensionless_unscaled else values.unit
        uncertainty = kind(values.value, unit=unit, copy=False)
    for name in _MASK:
        if name in columns:
            bad = bad | (np.asarray(columns[name]) != 0)
    meta = {str(key).lower(): value for key, value in header.items()}
    redshift = meta.get("redshift", meta.get("z"))
    return PlainSpectrum(
        spectral_axis=u.Quantity(_bare(wavelength)[0]),
        flux=flux,
        uncertainty=uncertainty,
        mask=np.broadcast_to(bad, flux.shape),
        redshift=None if redshift is None else float(redshift),
        meta={"header": meta},
    )


def _bare(column, parse=u.Unit):
    """A column as a Quantity, without a unit where it has none, and its mask; ``parse`` reads odd units."""
    mask = np.asarray(getattr(column, "mask", False), dtype=bool)
    values = getattr(column, "unmasked", column)
    if not isinstance(values, u.Quantity):
        values = np.ma.getdata(values) << u.dimensionless_unscaled
    if isinstance(values.unit, u.UnrecognizedUnit):
        values = values.value << parse(values.unit.name)
    return values, mask


def _read_with_specutils(path, format_name):
    from specutils import Spectrum

    what = "of no format that specutils recognises" if format_name is None else f"not readable as {format_name!r}"
    with one_clear_error(path, what):
        return Spectrum.read(path, format=format_name)
