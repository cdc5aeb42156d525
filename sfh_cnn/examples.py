"""A real spectrum to try things on, with a band flux that belongs to it."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import astropy.units as u
from astropy.table import QTable

if TYPE_CHECKING:
    from typing import Any

    from specutils import Spectrum

__all__ = ["load_example_photometry", "load_example_spectrum", "open_example_spectrum"]

#: Made by benchmarks/make_example_spectrum.py; the header tells what was done.
_FILE = "data/example_spectrum.fits"


def load_example_spectrum() -> Spectrum:
    """The brightest galaxy of the cluster Abell 478, observed with MUSE.

    The sum over a circle of 1.5 arcsec: an elliptical galaxy at redshift 0.0858 with strong emission lines from its
    cool core, S/N about 40 per pixel, behind much Galactic dust. From the data of the mpdaf package (BSD licence).

    Returns
    -------
    `~specutils.Spectrum`
        4750-9350 Angstrom in air, with errors and redshift; ``meta["header"]["COMMENT"]`` tells where it is from.

    Examples
    --------
    >>> from sfh_cnn.examples import load_example_spectrum
    >>> spectrum = load_example_spectrum()
    >>> spectrum.shape, f"{spectrum.redshift:.4f}"
    ((3681,), '0.0858')
    """
    return open_example_spectrum().to_specutils()


def open_example_spectrum() -> Any:
    """`load_example_spectrum` for prediction alone: without specutils, which takes a second to import.

    Returns
    -------
    `~sfh_cnn.spectra.PlainSpectrum`
    """
    from astropy.nddata import StdDevUncertainty

    from sfh_cnn.spectra import PlainSpectrum

    table = _read()
    return PlainSpectrum(
        spectral_axis=table["wavelength"],
        flux=table["flux"],
        uncertainty=StdDevUncertainty(table["uncertainty"]),
        redshift=table.meta["REDSHIFT"],
        meta={"header": table.meta, "medium": table.meta["MEDIUM"]},
    )


def load_example_photometry() -> QTable:
    """The flux in F814W in the same aperture as `load_example_spectrum`, from an image of HST.

    The camera is WFPC2, whose F814W differs a little from that of WFC3 (pivot 7996 and 8059 Angstrom); the error of
    5 per cent allows for it.

    Returns
    -------
    `~astropy.table.QTable`
        One row, with the columns ``F814W`` and ``F814W_err``.

    Examples
    --------
    >>> from sfh_cnn.examples import load_example_photometry
    >>> load_example_photometry().colnames
    ['F814W', 'F814W_err']
    """
    meta = _read().meta
    unit = u.Unit(meta["BANDUNIT"])
    return QTable({"F814W": [meta["F814W"]] * unit, "F814W_err": [meta["F814WERR"]] * unit})


def _read():
    with as_file(files("sfh_cnn") / _FILE) as path:
        return QTable.read(path, format="fits")
