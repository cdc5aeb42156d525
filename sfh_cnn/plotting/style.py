"""Colours that colour-blind readers can tell apart, and axis labels with units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u

from sfh_cnn.core import SFHCNNError, require
from sfh_cnn.results import QUANTITIES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes

    from sfh_cnn.results import SFHResult

__all__ = ["COLORS", "axes_or_new", "axis_label", "label_of", "need_single", "plot_style", "tex_unit"]

#: The palette of Okabe & Ito (2008), by the role each colour plays here.
COLORS = {
    "data": "#4D4D4D",
    "model": "#D55E00",
    "history": "#0072B2",
    "metallicity": "#009E73",
    "band": "#CC79A7",
    "masked": "#BBBBBB",
    "other": "#E69F00",
}

#: Quantities that are better known by their symbol.
_SYMBOL = {
    "a_v": "$A_V$",
    "mass_to_light": "$M/L_V$",
    "mass_to_light_attenuated": "$M/L_V$ (attenuated)",
    "t50": "$t_{50}$",
    "t80": "$t_{80}$",
    "t90": "$t_{90}$",
}
#: Short forms for crowded places.
_SHORT = {
    **_SYMBOL,
    "mass_weighted_metallicity": r"$\langle$[M/H]$\rangle_M$",
    "light_weighted_metallicity": r"$\langle$[M/H]$\rangle_L$",
    "mass_weighted_age": r"$\langle t\rangle_M$",
    "light_weighted_age": r"$\langle t\rangle_L$",
    "mass_weighted_log_age": r"$\langle\log t\rangle_M$",
    "light_weighted_log_age": r"$\langle\log t\rangle_L$",
    "mass_formed": r"$M_{\rm formed}$",
    "mass_surviving": r"$M_{\rm surviving}$",
    "recent_sfr": r"SFR$_{100\,\rm Myr}$",
    "recent_fraction": r"$f(<100\,\rm Myr)$",
}
_TEX_UNIT = {
    u.dimensionless_unscaled: "",
    u.dex: "dex",
    u.dex(u.yr): "dex(yr)",
    u.Gyr: "Gyr",
    u.mag: "mag",
    u.M_sun: r"$\mathrm{M}_\odot$",
    u.M_sun / u.L_sun: r"$\mathrm{M}_\odot\,\mathrm{L}_\odot^{-1}$",
    u.M_sun / u.yr: r"$\mathrm{M}_\odot$ yr$^{-1}$",
    u.yr**-1: "yr$^{-1}$",
    u.M_sun / u.pc**2: r"$\mathrm{M}_\odot$ pc$^{-2}$",
    u.M_sun / u.yr / u.kpc**2: r"$\mathrm{M}_\odot$ yr$^{-1}$ kpc$^{-2}$",
}


def label_of(name: str, short: bool = False) -> str:
    """Name of a quantity as matplotlib draws it, without the unit."""
    known = _SHORT if short else _SYMBOL
    return known.get(name) or (QUANTITIES[name].label if name in QUANTITIES else name.replace("_", " "))


def tex_unit(unit: u.UnitBase) -> str:
    """Unit as matplotlib draws it, "" for none."""
    return _TEX_UNIT.get(unit, unit.to_string("latex_inline"))


def axis_label(name: str, unit: u.UnitBase | None = None, short: bool = False) -> str:
    """Label of an axis that shows a quantity: its name and, in brackets, its unit.

    Parameters
    ----------
    name : str
        Name of a quantity of `~sfh_cnn.results.SFHResult`.
    unit : `~astropy.units.Unit`, optional
        If another than the quantity's own is plotted.
    short : bool, optional
        Symbols instead of words, for crowded places.

    Returns
    -------
    str

    Examples
    --------
    >>> from sfh_cnn.plotting import axis_label
    >>> axis_label("a_v")
    '$A_V$ [mag]'
    >>> axis_label("mass_weighted_age")
    'mass-weighted age [Gyr]'
    """
    if unit is None and name in QUANTITIES:
        unit = QUANTITIES[name].unit
    shown = "" if unit is None else tex_unit(unit)
    return f"{label_of(name, short)} [{shown}]" if shown else label_of(name, short)


def plot_style() -> AbstractContextManager[None]:
    """Matplotlib settings of the figures, as a context: ``with plot_style(): ...``.

    Returns
    -------
    context manager
        Nothing outside it changes.
    """
    settings = {
        "font.size": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.2,
        "xtick.direction": "in",
        "ytick.direction": "in",
        "xtick.top": True,
        "ytick.right": True,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # text stays text in the PDF
    }
    return require("matplotlib", "plot").rc_context(settings)


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    return require("matplotlib.pyplot", "plot").subplots()[1] if ax is None else ax


def need_single(result: SFHResult, function: str) -> None:
    """Refuse a result of many spectra.

    Raises
    ------
    SFHCNNError
    """
    if not result.scalar:
        raise SFHCNNError(f"{function} draws one spectrum, got a result of {result.n_spec}; pass result[i]")
