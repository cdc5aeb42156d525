"""Units of flux density as they are spelled in the wild."""

from __future__ import annotations

import functools
import re
import warnings

import astropy.units as u

from .exceptions import SFHCNNError

__all__ = ["parse_flux_unit", "strip_solid_angle"]


def parse_flux_unit(text: str | u.UnitBase) -> u.UnitBase:
    """Read a unit such as the BUNIT of a cube, in any of the usual spellings.

    Parameters
    ----------
    text : str or `~astropy.units.Unit`
        For example ``"10**(-20)*erg/s/cm**2/Angstrom"`` (MUSE), ``"1E-17 erg/s/cm^2/Ang/spaxel"`` (MaNGA).

    Returns
    -------
    `~astropy.units.Unit`
        The unit; ``A`` is read as Angstrom, for an ampere has no place in a flux, and a spaxel as a pixel.

    Raises
    ------
    SFHCNNError
        If it cannot be read.

    Examples
    --------
    >>> from sfh_cnn.core import parse_flux_unit
    >>> parse_flux_unit("10**(-20)*erg/s/cm**2/Ang")
    Unit("1e-20 erg / (Angstrom s cm2)")
    """
    if not isinstance(text, str):
        return u.Unit(text)
    spelled = re.sub(r"\b(Ang|ang|angstroms?|Angstroms|AA|A)\b", "Angstrom", text.strip())
    spelled = re.sub(r"\bspaxels?\b", "pix", spelled)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)  # several slashes: bad style, but clear
            return u.Unit(spelled)
    except ValueError as err:
        raise SFHCNNError(
            f"the flux unit {text!r} is not understood; give the unit, such as '1e-20 erg / (s cm2 Angstrom)'"
        ) from err


@functools.lru_cache(maxsize=64)  # units are few, and their arithmetic is slow
def strip_solid_angle(unit: u.UnitBase) -> tuple[u.UnitBase, str]:
    """Take "per spaxel", "per pixel" or "per square arcsecond" off a unit.

    Parameters
    ----------
    unit : `~astropy.units.Unit`
        Flux density, or surface brightness.

    Returns
    -------
    unit : `~astropy.units.Unit`
        Without the solid angle, and with an ampere turned into the Angstrom that was meant.
    per : str
        What was taken off, such as ``"arcsec2"`` or ``"pix"``; empty if nothing.
    """
    kept, per = u.CompositeUnit(unit.scale, [], []), []
    for base, power in zip(unit.bases, unit.powers, strict=True):
        if any(base.is_equivalent(angle) for angle in (u.rad, u.sr, u.pix, u.beam)):
            per.append((base**-power).to_string())
        else:
            kept *= (u.AA if base == u.A else base) ** power
    return kept, " ".join(per)
