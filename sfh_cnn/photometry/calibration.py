"""Magnitudes, maggies and detector counts into flux density per wavelength."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, parse_flux_unit, strip_solid_angle, to_plain

from .bandpass import load_bandpass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from astropy.wcs import WCS

    from .bandpass import Bandpass

__all__ = ["flux_per_count", "to_flux_density"]

#: How images say that they count; short words must stand alone, so that the exponent of 1e-20 is no electron.
_COUNTING = re.compile(r"electron|count|(?<![a-z])(cts?|cps|dn|adus?)(?![a-z])|(?<!\w)e-(?!\d)", re.IGNORECASE)


def to_flux_density(
    value: u.Quantity, bandpass: str | Bandpass, error: u.Quantity | None = None, *, name: str = "photometry"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Broad-band measurements of any kind into f_lambda at the band's pivot wavelength.

    Parameters
    ----------
    value : `~astropy.units.Quantity` or `~astropy.units.Magnitude`
        Flux density per wavelength or frequency, AB or ST magnitude (``u.ABmag``, ``u.STmag``), or maggies
        (``u.mgy``, 3631 Jy each). A solid angle in the unit is dropped, as it is for spectra.
    bandpass : str or Bandpass
        The band; its pivot wavelength is where f_nu and f_lambda of any source agree.
    error : `~astropy.units.Quantity`, optional
        1-sigma error in a unit of the same kind; magnitudes for magnitudes, which are taken to first order,
        ``0.4 ln(10) flux error``.
    name : str, optional
        Name of the argument, for the error message.

    Returns
    -------
    flux : ndarray
        In erg/s/cm2/Angstrom.
    flux_err : ndarray or None
        The same for the error.

    Raises
    ------
    astropy.units.UnitTypeError
        If a unit is missing, or a magnitude does not say which system it is in.
    astropy.units.UnitConversionError
        If the unit is none of the above.

    Examples
    --------
    >>> import astropy.units as u
    >>> from sfh_cnn.photometry import to_flux_density
    >>> flux, flux_err = to_flux_density(20 * u.ABmag, "F814W", 0.1 * u.mag)
    >>> print(f"{flux:.3e} +- {flux_err:.1e}")
    1.676e-17 +- 1.5e-18
    """
    equivalencies = _conversions(float(load_bandpass(bandpass).pivot.to_value(u.AA)))
    if isinstance(value, u.Magnitude):
        flux = to_plain(value, FLUX_UNIT, name, equivalencies=equivalencies)
        if error is None:
            return flux, None
        return flux, 0.4 * np.log(10) * flux * to_plain(error, u.mag, f"error of {name}")
    if getattr(value, "unit", None) == u.mag:
        raise u.UnitTypeError(f"{name} is in mag without a system; give u.ABmag or u.STmag")
    flux = to_plain(_bare_flux(value), FLUX_UNIT, name, equivalencies=equivalencies)
    if error is None:
        return flux, None
    return flux, to_plain(_bare_flux(error), FLUX_UNIT, f"error of {name}", equivalencies=equivalencies)


@functools.cache  # as long to make as a prediction
def _conversions(wave_aa):
    return u.spectral_density(wave_aa * u.AA)


def _bare_flux(value):
    """Without a solid angle in the unit, and maggies in Jy."""
    if not isinstance(value, u.Quantity):
        return value
    value = u.Quantity(value.value, strip_solid_angle(value.unit)[0])
    return value.to(u.Jy, u.zero_point_flux(u.AB)) if value.unit.is_equivalent(u.mgy) else value


def flux_per_count(header: Mapping[str, Any], name: str = "image", wcs: WCS | None = None) -> tuple[float, u.UnitBase]:
    """Factor from the pixel values of an image to flux density, from its FITS header.

    Parameters
    ----------
    header : `~astropy.io.fits.Header` or dict
        With a flux density or surface brightness in ``BUNIT`` (then counts play no role), or ``PHOTFLAM``:
        erg/s/cm2/Angstrom for one electron or count per second. Counts without "/S" in ``BUNIT`` are totals and are
        divided by ``EXPTIME``; without any ``BUNIT`` they are rates, as in drizzled HST images.
    name : str, optional
        Name of the image, for the error message.
    wcs : `~astropy.wcs.WCS`, optional
        Celestial coordinates of the image. A surface brightness is multiplied by the area of a pixel.

    Returns
    -------
    factor : float
        Multiplies pixel values.
    unit : `~astropy.units.Unit`
        Of the product, the flux density of a pixel.

    Raises
    ------
    SFHCNNError
        If the header has neither, or the area of a pixel is needed and not known.

    Examples
    --------
    >>> from sfh_cnn.photometry import flux_per_count
    >>> flux_per_count({"BUNIT": "ELECTRONS/S", "PHOTFLAM": 1.5e-19})
    (1.5e-19, Unit("erg / (Angstrom s cm2)"))
    """
    text = str(header.get("BUNIT", "")).strip()
    unit, per = _flux_unit(text)
    if unit is not None:
        return _pixel_area(per, wcs, name), unit
    if (text and not _COUNTING.search(text)) or "PHOTFLAM" not in header:
        raise SFHCNNError(
            f"the header of {name} has neither PHOTFLAM nor a flux density in BUNIT (it is {text or 'missing'!r}); "
            "add one of them to the header"
        )
    factor = float(header["PHOTFLAM"])
    rate = (
        not text
        or "CPS" in text.upper()
        or "/S" in text.upper().replace(" ", "")
        or text.upper().endswith(("S-1", "S^-1", "S**-1"))
    )
    if not rate:
        if "EXPTIME" not in header:
            raise SFHCNNError(f"{name} is in {text} and its header has no EXPTIME; divide it by the exposure time")
        factor /= float(header["EXPTIME"])
    return factor, FLUX_UNIT


def _flux_unit(text):
    """Flux density that a BUNIT says and the solid angle it is per; None if it is something else."""
    try:
        unit = parse_flux_unit(text)
    except SFHCNNError:
        return None, ""
    if not isinstance(unit, u.UnitBase):  # magnitudes, which cannot be summed
        return None, ""
    unit, per = strip_solid_angle(unit)
    return (unit if unit.is_equivalent(FLUX_UNIT, u.spectral_density(5000 * u.AA)) else None), per


def _pixel_area(per, wcs, name):
    """Area of a pixel in the solid angle that its flux is per; 1 if it is the flux of the pixel already."""
    area = u.Unit(per)
    if not per or area in (u.pix, u.pix**2):
        return 1.0
    if wcs is None or not area.is_equivalent(u.sr):
        raise SFHCNNError(
            f"{name} is a surface brightness per {per}, which takes the area of a pixel; give a header with a "
            "celestial WCS and a BUNIT per sr, arcsec2 or pix"
        )
    from astropy.wcs.utils import proj_plane_pixel_area

    return float(proj_plane_pixel_area(wcs) * (u.deg**2).to(area))
