"""Maps on the sky and radial profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import SFHCNNError, require
from sfh_cnn.results import QUANTITIES

from .style import COLORS, axes_or_new, axis_label, plot_style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sfh_cnn.results import RadialProfile, SFHMaps

__all__ = ["LOGARITHMIC", "color_map", "plot_map", "plot_maps", "plot_profile"]

_NAMES = ("light_weighted_log_age", "light_weighted_metallicity", "a_v", "mass_weighted_log_age")
#: Perceptually even colour maps that survive colour blindness and grey printing, one per kind of quantity.
_COLOR_MAPS = {"age": "viridis", "metallicity": "cividis", "a_v": "magma", "mass": "inferno"}
#: Quantities shown as their logarithm.
LOGARITHMIC = ("mass_formed", "mass_surviving", "recent_sfr", "specific_sfr", "recent_fraction")


def color_map(name: str) -> Any:
    """Name of the colour map of a quantity."""
    return next((cmap for part, cmap in _COLOR_MAPS.items() if part in name.removeprefix("mass_weighted_")), "viridis")


def plot_map(
    maps: SFHMaps,
    name: str,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
) -> dict[str, Any]:
    """Draw one quantity on the sky, with a colour bar that carries its unit.

    Masses and rates are drawn as their logarithm.

    Parameters
    ----------
    maps : `~sfh_cnn.results.SFHMaps`
        What to draw from.
    name : str
        A quantity with one number per spaxel.
    ax : `~matplotlib.axes.Axes`, optional
        Where to draw; a new figure, with the maps' WCS, by default.
    limits : tuple of float, optional
        Ends of the colour scale, in the quantity's unit (or its log10); the central 98 per cent by default.
    cmap : str, optional
        Colour map; the default depends on the quantity.

    Returns
    -------
    dict
        Artists ``image`` and ``colorbar``.

    Raises
    ------
    SFHCNNError
        If the quantity has more than one number per spaxel.
    """
    if name not in QUANTITIES or QUANTITIES[name].axis:
        raise SFHCNNError(f"plot_map draws quantities with one number per spaxel, got {name!r}")
    value = getattr(maps, name)
    value = value() if callable(value) else value
    plain, label = value.value, axis_label(name, value.unit)
    if name in LOGARITHMIC:
        with np.errstate(divide="ignore", invalid="ignore"):
            plain, label = np.log10(plain), f"log {label}"
    seen = plain[np.isfinite(plain)]
    if limits is None and seen.size:
        limits = np.quantile(seen, [0.01, 0.99])
    if ax is None:
        plt = require("matplotlib.pyplot", "plot")
        ax = plt.figure(layout="constrained").add_subplot(projection=maps.wcs)
    low, high = limits if limits is not None else (None, None)
    image = ax.imshow(plain, origin="lower", vmin=low, vmax=high, cmap=cmap or color_map(name), interpolation="none")
    bar = ax.figure.colorbar(image, ax=ax, label=label, shrink=0.75)
    if maps.wcs is not None and hasattr(ax, "coords"):
        for coordinate, text in zip(ax.coords, ("RA", "Dec"), strict=False):
            coordinate.set_axislabel(text, minpad=0.5)
            coordinate.set_ticks(number=3)
    return {"image": image, "colorbar": bar}


def plot_maps(maps: SFHMaps, names: Sequence[str] = _NAMES, fig: Figure | None = None) -> Figure:
    """Draw several quantities side by side.

    Parameters
    ----------
    maps : `~sfh_cnn.results.SFHMaps`
        What to draw from.
    names : sequence of str, optional
        Which quantities.
    fig : `~matplotlib.figure.Figure`, optional
        An empty figure to fill; two panels a row by default.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    plt = require("matplotlib.pyplot", "plot")
    with plot_style():
        n_column = min(2, len(names))
        n_row = -(-len(names) // n_column)
        fig = plt.figure(figsize=(3.6 * n_column, 2.9 * n_row)) if fig is None else fig
        fig.set_layout_engine("constrained")
        for i, name in enumerate(names):
            ax = fig.add_subplot(n_row, n_column, i + 1, projection=maps.wcs)
            plot_map(maps, name, ax)
            if hasattr(ax, "coords"):
                # Axis labels on the outer panels only.
                ax.coords[0].set_axislabel("RA" if i + n_column >= len(names) else " ")
                ax.coords[1].set_axislabel("Dec" if i % n_column == 0 else " ")
    return fig


def plot_profile(
    profile: RadialProfile,
    name: str,
    ax: Axes | None = None,
    *,
    level: float = 0.6827,
    color: Any = None,
    label: str | None = None,
) -> dict[str, Any]:
    """Draw a quantity against radius, with its interval and the width of each annulus.

    Parameters
    ----------
    profile : `~sfh_cnn.results.RadialProfile`
        As ``maps.radial_profile()`` gives it.
    name : str
        A quantity with one number per spectrum.
    ax : `~matplotlib.axes.Axes`, optional
        Where to draw; a new figure by default.
    level : float, optional
        Level of the interval.
    color : color, optional
        Of points and errors.
    label : str, optional
        For a legend.

    Returns
    -------
    dict
        Artist ``points``.

    Raises
    ------
    SFHCNNError
        If the quantity has more than one number per annulus.
    """
    if name not in QUANTITIES or QUANTITIES[name].axis:
        raise SFHCNNError(f"plot_profile draws quantities with one number per annulus, got {name!r}")
    ax = axes_or_new(ax)
    value = getattr(profile.result, name)
    value = value() if callable(value) else value
    lower, upper = (bound.value for bound in profile.result.interval(name, level))
    # A mean may lie outside a skewed interval; its bar is then one-sided.
    bars = np.clip([value.value - lower, upper - value.value], 0, None)
    unit = profile.inner.unit
    points = ax.errorbar(
        profile.radius.value,
        value.value,
        bars,
        xerr=((profile.outer - profile.inner) / 2).value,
        fmt="o",
        markersize=4,
        linewidth=1,
        color=color or COLORS["history"],
        label=label,
    )
    ax.set_xlim(0, None)
    name_of_unit = "pixel" if unit == u.pix else f"{unit}"
    ax.set_xlabel(f"radius [{name_of_unit}]")
    ax.set_ylabel(axis_label(name, value.unit))
    return {"points": points}
