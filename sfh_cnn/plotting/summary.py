"""One picture of one prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import require
from sfh_cnn.results import QUANTITIES, format_interval

from .histories import plot_amr, plot_sfh
from .spectrum import plot_bands, plot_spectrum
from .style import COLORS, label_of, need_single, plot_style, tex_unit

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.figure import Figure

    from sfh_cnn.results import SFHResult

__all__ = ["plot_summary"]

_NUMBERS = (
    "mass_weighted_age",
    "light_weighted_age",
    "mass_weighted_metallicity",
    "light_weighted_metallicity",
    "a_v",
    "mass_to_light",
    "mass_formed",
    "recent_sfr",
)
#: Narrower than this, panels go below each other.
_WIDE_IN = 5.0
#: Height of a label with its number.
_LINE_IN = 0.4


def _number(result, name):
    """Value with interval and unit as matplotlib draws them."""
    value = getattr(result, name)
    value = (value() if callable(value) else value).value
    lower, upper = (float(bound.value) for bound in result.interval(name))
    number, plus, minus, exponent = format_interval(float(value), lower, upper)
    text = f"${number}^{{{plus}}}_{{{minus}}}$"
    power = rf"$\times10^{{{exponent}}}$ " if exponent else ""
    return f"{text} {power}{tex_unit(QUANTITIES[name].unit)}".strip()


def _write_numbers(result, where, per_line):
    """Labels in grey with their numbers below, in columns; flags last."""
    names = _shown(result)
    n_line = -(-len(names) // per_line) + bool(result.flags)
    for i, name in enumerate(names):
        x, y = (i % per_line + 0.5) / per_line, 1 - (i // per_line) / n_line
        style = {"ha": "center", "va": "top", "fontsize": 7.5}
        where.text(x, y, label_of(name), color=COLORS["data"], **style)
        where.text(x, y - 0.4 / n_line, _number(result, name), **{**style, "fontsize": 8.5})
    if result.flags:
        where.text(0.5, 0.6 / n_line, "flags: " + ", ".join(result.flag_names()), ha="center", fontsize=7.5, va="top")


def _shown(result):
    has_distance = np.isfinite(result.distance.value)
    return [name for name in _NUMBERS if has_distance or not QUANTITIES[name].needs_distance]


def plot_summary(
    result: SFHResult,
    fig: Figure | None = None,
    *,
    kind: str | None = None,
    time: str = "log",
    level: float = 0.6827,
    title: str | None = None,
) -> Figure:
    """Draw spectrum and reconstruction with residuals, history, enrichment and the main numbers.

    Parameters
    ----------
    result : `~sfh_cnn.results.SFHResult`
        A single spectrum. Without what was fitted, the panels of spectrum and bands are left out.
    fig : `~matplotlib.figure.Figure`, optional
        An empty figure to fill; 7.2 inch wide by default. Narrower than 5 inch (a paper column), the panels
        stand below each other.
    kind : {"fraction", "sfr", "cumulative"}, optional
        What the history shows; "fraction" by default.
    time : {"log", "linear"}, optional
        Scale of the age axes.
    level : float, optional
        Level of the intervals drawn; the numbers carry 68 per cent.
    title : str, optional
        Above everything.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    SFHCNNError
        If the result is of many spectra.
    """
    need_single(result, "plot_summary")
    plt = require("matplotlib.pyplot", "plot")
    with plot_style():
        fitted = result.spectra or {}
        has_spectrum = bool(fitted) and (result.engine is not None or "model_flux" in fitted)
        has_bands = has_spectrum and bool(np.isfinite(fitted["band_flux"]).any())
        if fig is None:
            fig = plt.figure(figsize=(7.2, 5.9 if has_spectrum else 3.0))
        fig.set_layout_engine("constrained")
        wide = fig.get_figwidth() >= _WIDE_IN
        per_line = 4 if wide else 2
        # Heights in inches; the text keeps its own whatever the size of the figure.
        text_height = _LINE_IN * (-(-len(_shown(result)) // per_line) + bool(result.flags))
        parts = [("spectrum", 3.0)] if has_spectrum else []
        parts += [("histories", 2.4 if wide else 4.4)]
        room = max(fig.get_figheight() - text_height, 1)
        total = sum(height for _, height in parts)
        heights = [height * room / total for _, height in parts]
        rows: Any = fig.subfigures(len(parts) + 1, 1, height_ratios=[*heights, text_height])
        if has_spectrum:
            _draw_spectrum(result, rows[0], has_bands and wide)
        axes = rows[-2].subplots(1, 2) if wide else rows[-2].subplots(2, 1)
        rows[-2].align_ylabels()
        plot_sfh(result, axes[0], kind or "fraction", time=time, level=level)
        plot_amr(result, axes[1], time=time, level=level)
        _write_numbers(result, rows[-1], per_line)
        if title:
            fig.suptitle(title, fontsize=10)
    return fig


def _draw_spectrum(result, where, with_bands):
    if with_bands:
        grid = where.add_gridspec(2, 2, height_ratios=(3, 1), width_ratios=(1, 5))
        plot_bands(result, where.add_subplot(grid[:, 0]))
        upper = where.add_subplot(grid[0, 1])
        plot_spectrum(result, upper, where.add_subplot(grid[1, 1], sharex=upper))
        upper.set_ylabel("")
    else:
        upper, lower = where.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        plot_spectrum(result, upper, lower)
