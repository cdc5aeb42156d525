"""What stored units, masks, uncertainties and axes mean: the rules that the readers of spectra and of cubes share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, strip_solid_angle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from astropy.wcs import WCS

__all__ = [
    "bare_flux_unit",
    "celestial_part",
    "header_wavelengths",
    "medium_of_ctype",
    "per_spaxel",
    "plain_redshift",
    "uncertainty_kind",
    "uncertainty_unit_error",
    "unmask",
]

#: The kind that each class of uncertainty is, and the power of the unit of the flux that it is in.
_KINDS = {StdDevUncertainty: ("std", 1), VarianceUncertainty: ("variance", 2), InverseVariance: ("ivar", -2)}
#: What the wavelengths are in, for the kinds of axes of FITS.
_MEDIA = {"AWAV": "air", "WAVE": "vacuum", "FREQ": "vacuum"}


def unmask(array: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The values of a plain, numpy.ma or astropy Masked array, and its mask or None."""
    mask = getattr(array, "mask", None)
    return np.asarray(getattr(array, "unmasked", array)), None if mask is None else np.asarray(mask, dtype=bool)


def uncertainty_kind(uncertainty: Any) -> tuple[str, int]:
    """What an uncertainty of astropy is.

    Parameters
    ----------
    uncertainty : `~astropy.nddata.NDUncertainty`

    Returns
    -------
    kind : {"std", "variance", "ivar"}
    power : int
        Power of the unit of the flux that it is in.

    Raises
    ------
    SFHCNNError
        If it is none of these.
    """
    found = next((kind for cls, kind in _KINDS.items() if isinstance(uncertainty, cls)), None)
    if found is None:
        raise SFHCNNError(
            f"uncertainty of type {type(uncertainty).__name__} is not understood; give a StdDevUncertainty, "
            "VarianceUncertainty or InverseVariance"
        )
    return found


def uncertainty_unit_error(name: str, unit: Any, flux_unit: u.UnitBase, power: int) -> u.UnitConversionError:
    """What to raise where an uncertainty is in a unit that does not belong to the flux.

    Parameters
    ----------
    name : str
        Of the argument.
    unit, flux_unit : `~astropy.units.Unit`
    power : int
        Power of the unit of the flux that the uncertainty should be in.

    Returns
    -------
    astropy.units.UnitConversionError
    """
    given, right = (one.to_string() or "no unit" for one in (unit, flux_unit**power))
    return u.UnitConversionError(f"{name} is in {given}, which does not belong to the flux; give it in {right}")


def bare_flux_unit(unit: Any) -> tuple[u.UnitBase, str]:
    """`~sfh_cnn.core.strip_solid_angle`, where the unit has no logarithm in it.

    Parameters
    ----------
    unit : `~astropy.units.Unit` or `~astropy.units.FunctionUnitBase`
        Of a flux.

    Returns
    -------
    unit : `~astropy.units.Unit`
    per : str
        The solid angle that was taken off.

    Raises
    ------
    astropy.units.UnitConversionError
        If it is a magnitude, dex or decibel.
    """
    if isinstance(unit, u.FunctionUnitBase):
        raise u.UnitConversionError(
            f"flux is in {unit}, which is logarithmic; convert it to {FLUX_UNIT} or Jy, and its uncertainty to the same"
        )
    return strip_solid_angle(unit)


def per_spaxel(unit: u.UnitBase, wcs: WCS | None) -> u.UnitBase:
    """The unit of a spaxel's flux, where it was one of surface brightness and the area of a spaxel is known.

    Parameters
    ----------
    unit : `~astropy.units.Unit`
        Of the cube.
    wcs : `~astropy.wcs.WCS` or None
        Celestial coordinates.

    Returns
    -------
    `~astropy.units.Unit`
    """
    bare, per = bare_flux_unit(unit)
    angle = u.Unit(per) if per else None
    if angle is None or wcs is None or not angle.is_equivalent(u.sr):
        return unit
    return u.Unit(bare * wcs.proj_plane_pixel_area().to_value(angle))


def celestial_part(wcs: Any) -> WCS | None:
    """The celestial coordinates of a FITS WCS; None where there are none, or for what is no FITS WCS."""
    return wcs.celestial if hasattr(wcs, "wcs") and wcs.has_celestial else None


def medium_of_ctype(ctype: Any) -> str | None:
    """Air or vacuum, as the CTYPE of an axis says; None where it is no name that FITS knows.

    Such are LINEAR and WAVELENGTH of mpdaf and CALIFA, whose wavelengths are in air.
    """
    return _MEDIA.get(str(ctype).strip().upper().partition("-")[0])


def header_wavelengths(header: Mapping, axis: int) -> u.Quantity:
    """Wavelengths of an axis; linear ones also where its CTYPE is no name that FITS knows.

    Parameters
    ----------
    header : `~astropy.io.fits.Header` or dict
    axis : int
        Number of the axis in FITS.

    Returns
    -------
    `~astropy.units.Quantity`, shape (n_wave,)

    Raises
    ------
    SFHCNNError
        If the header does not say them.
    """
    from astropy.wcs import WCS

    n_wave = header[f"NAXIS{axis}"]
    if medium_of_ctype(header.get(f"CTYPE{axis}")):
        return u.Quantity(WCS(header).spectral.pixel_to_world(np.arange(n_wave)).to(u.AA))
    step = header.get(f"CD{axis}_{axis}", header.get(f"CDELT{axis}"))
    if step is None or f"CRVAL{axis}" not in header:
        raise SFHCNNError(f"the header does not say its wavelengths (CRVAL{axis}, CDELT{axis} or CD{axis}_{axis})")
    index = np.arange(n_wave) + 1 - header.get(f"CRPIX{axis}", 1)
    return u.Quantity((header[f"CRVAL{axis}"] + index * step) * u.Unit(header.get(f"CUNIT{axis}") or "Angstrom"), u.AA)


def plain_redshift(redshift: Any) -> np.ndarray:
    """A redshift, or several, as plain floats.

    Parameters
    ----------
    redshift : float, array or `~astropy.units.Quantity`
        Masked ones become NaN.

    Returns
    -------
    ndarray

    Raises
    ------
    SFHCNNError
        If it is a velocity, or no number.

    Examples
    --------
    >>> import numpy as np
    >>> from sfh_cnn.spectra import plain_redshift
    >>> plain_redshift(np.ma.array([0.01, 0.02], mask=[False, True]))
    array([0.01,  nan])
    """
    unit = getattr(redshift, "unit", None)
    if unit is not None and unit.is_equivalent(u.km / u.s):
        raise SFHCNNError("redshift is a velocity; give the redshift itself (v / c for an optical velocity)")
    with contextlib.suppress(TypeError, ValueError):
        value, masked = unmask(getattr(redshift, "value", redshift))
        if not np.iscomplexobj(value):
            value = value.astype(float)
            return value if masked is None else np.where(masked, np.nan, value)
    raise SFHCNNError(f"redshift must be a number, or one for each spectrum, got {redshift!r}")
