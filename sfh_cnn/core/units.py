"""The house unit of each quantity, and the only two doors where units come off and go back on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["DEX_LOG_AGE", "FLUX_UNIT", "METALLICITY_UNIT", "to_plain", "to_quantity"]

#: Flux density per wavelength inside the package.
FLUX_UNIT = u.erg / u.s / u.cm**2 / u.AA
#: Logarithmic ages are dex(yr): log10(age / yr).
DEX_LOG_AGE = u.dex(u.yr)
#: Metallicities [M/H] are dex relative to the library's solar value.
METALLICITY_UNIT = u.dex


def to_plain(
    value: u.Quantity, unit: u.UnitBase, name: str, *, equivalencies: Iterable[Any] = (), dtype: Any = float
) -> np.ndarray:
    """Take the unit off: a Quantity becomes a plain array in the house unit.

    Parameters
    ----------
    value : `~astropy.units.Quantity`
        What the user gave.
    unit : `~astropy.units.Unit`
        House unit.
    name : str
        Name of the argument, for the error message.
    equivalencies : list, optional
        Passed to `~astropy.units.Quantity.to_value`.
    dtype : dtype, optional
        Of the returned array.

    Returns
    -------
    numpy.ndarray
        Value in ``unit``.

    Raises
    ------
    astropy.units.UnitTypeError
        If ``value`` has no unit.
    astropy.units.UnitConversionError
        If its unit cannot be converted.
    """
    if not hasattr(value, "unit"):
        raise u.UnitTypeError(
            f"{name} needs a unit convertible to {unit}, got a plain {type(value).__name__}; "
            f"multiply it by an astropy unit"
        )
    try:
        plain = u.Quantity(value, subok=True).to_value(unit, equivalencies=list(equivalencies))
    except u.UnitConversionError as err:
        raise u.UnitConversionError(f"{name} is in {value.unit}, which cannot be converted to {unit}") from err
    return np.asarray(plain, dtype=dtype)


def to_quantity(value: Any, unit: u.UnitBase) -> u.Quantity:
    """Put the unit back on, without a copy; logarithmic units give the Quantity class that belongs to them."""
    return value << unit
