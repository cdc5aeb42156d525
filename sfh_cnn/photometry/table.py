"""The bands that go with spectra: a table or a dict into plain arrays."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy import log
from astropy.table import Column

from sfh_cnn.core import FLUX_UNIT, SFHCNNError

from .calibration import to_flux_density

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from astropy.table import QTable

__all__ = ["read_photometry"]

#: Error of bands that come without one, as a share of their flux: a typical sum of zero-point and aperture errors.
DEFAULT_RELATIVE_ERROR = 0.05


def read_photometry(
    photometry: QTable | dict[str, Any] | None, bands: Sequence[str], n_spec: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take in the band fluxes of spectra.

    Parameters
    ----------
    photometry : `~astropy.table.QTable`, dict or None
        A table with a row for each spectrum and columns such as ``F275W`` and ``F275W_err`` with units; or a dict
        from band to Quantity, or to a pair of Quantities, flux and error. Units as in `to_flux_density`. Bands that
        are not given are missing. A band without errors gets 5 per cent, which is logged. Columns that are no
        fluxes are not looked at.
    bands : sequence of str
        Bands of the network, in its order.
    n_spec : int
        Number of spectra.

    Returns
    -------
    band_flux, band_flux_err : ndarray, shape (n_spec, n_band)
        In erg/s/cm2/Angstrom; NaN where a band is missing.
    bad_band : ndarray of bool, shape (n_spec,)
        True where a band was given and left out: flux or error not finite, or error not positive. A masked entry of
        a table is missing, not bad.

    Raises
    ------
    SFHCNNError
        If a band is unknown to the network, no band is left, or the number of fluxes or errors is not ``n_spec``.
    astropy.units.UnitTypeError
        If a unit is missing.
    astropy.units.UnitConversionError
        If a unit is neither a flux density nor a magnitude.

    Examples
    --------
    >>> import astropy.units as u
    >>> from sfh_cnn.photometry import read_photometry
    >>> flux, flux_err, bad_band = read_photometry({"F814W": (20 * u.ABmag, 0.1 * u.mag)}, ["F555W", "F814W"], 1)
    >>> flux
    array([[          nan, 1.676e-17]])
    """
    bands = list(bands)
    flux = np.full((n_spec, len(bands)), np.nan)
    flux_err = flux.copy()
    bad = np.zeros((n_spec, len(bands)), dtype=bool)
    for band, (value, error) in _entries(photometry, bands).items():
        i = bands.index(band)
        value, absent = _bare(value)
        error, error_absent = _bare(error)
        if np.iscomplexobj(value) or np.iscomplexobj(error):
            raise SFHCNNError(f"photometry[{band!r}] must be real numbers, got complex ones")
        if np.shape(value) not in ((n_spec,), () if n_spec == 1 else (n_spec,)):
            rows = np.shape(value)[0] if np.ndim(value) else "one value"
            raise SFHCNNError(f"photometry[{band!r}] has {rows} for {n_spec} spectra; give a row for each")
        if np.shape(error) not in ((), (1,), (n_spec,)):  # None has the shape of a number
            raise SFHCNNError(
                f"the error of photometry[{band!r}] has shape {np.shape(error)} for {n_spec} spectra; give one for each"
            )
        flux_here, err_here = to_flux_density(value, band, error, name=f"photometry[{band!r}]")
        if err_here is None:
            _tell_default_error()
            err_here = DEFAULT_RELATIVE_ERROR * np.abs(flux_here)
        missing = absent | error_absent
        good = np.isfinite(flux_here) & np.isfinite(err_here) & (err_here > 0)
        bad[:, i] = ~good & ~missing
        flux[:, i] = np.where(good & ~missing, flux_here, np.nan)
        flux_err[:, i] = np.where(good & ~missing, err_here, np.nan)
    return flux, flux_err, np.any(bad, axis=1)


def _entries(photometry, bands):
    """Pairs of flux and error (or None) by band name."""
    if photometry is None:
        return {}
    if hasattr(photometry, "colnames"):
        names = photometry.colnames
        entries = {
            name: (photometry[name], photometry[f"{name}_err"] if f"{name}_err" in names else None)
            for name in names
            if name in bands or (not name.endswith("_err") and _is_flux(photometry[name]))
        }
    elif isinstance(photometry, dict):
        entries = {name: value if isinstance(value, tuple) else (value, None) for name, value in photometry.items()}
        for name, value in entries.items():
            if len(value) != 2:
                raise SFHCNNError(
                    f"photometry[{name!r}] needs a flux, or a flux and its error, got {len(value)} values"
                )
    else:
        raise SFHCNNError(
            f"photometry must be a QTable or a dict from band to Quantity, got {type(photometry).__name__}"
        )
    unknown = [name for name in entries if name not in bands]
    if unknown:
        raise SFHCNNError(f"photometry has {', '.join(unknown)}; the network knows {', '.join(bands)}; remove the rest")
    if not entries:
        raise SFHCNNError(f"photometry has none of the bands {', '.join(bands)}; name the columns after them")
    return entries


def _is_flux(column):
    unit = getattr(column, "unit", None)
    if isinstance(unit, u.MagUnit):
        return True
    return unit is not None and unit.is_equivalent(FLUX_UNIT, u.spectral_density(5000 * u.AA))


def _bare(value):
    """A Quantity and its mask, from a Quantity, a Masked one, or a column of a plain Table."""
    if value is None:
        return None, False
    mask = np.asarray(getattr(value, "mask", False), dtype=bool)
    if isinstance(value, Column):
        data = np.asarray(value)
        return (data if value.unit is None else data << value.unit), mask
    return getattr(value, "unmasked", value), mask


@functools.cache  # once per session
def _tell_default_error():
    log.info(f"bands without errors get {100 * DEFAULT_RELATIVE_ERROR:.0f} per cent; give errors for better results")
