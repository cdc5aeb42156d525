"""Corner plot of the joint posterior of the main numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError, require
from sfh_cnn.results import QUANTITIES, format_interval

from .style import COLORS, axis_label, label_of, need_single, plot_style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.figure import Figure

    from sfh_cnn.results import SFHResult

__all__ = ["plot_corner"]

_NAMES = (
    "mass_weighted_log_age",
    "light_weighted_log_age",
    "mass_weighted_metallicity",
    "light_weighted_metallicity",
    "a_v",
    "mass_to_light",
)
#: Shares of the draws inside the two contours.
_INSIDE = (0.6827, 0.9545)
_BINS = 24


def plot_corner(
    result: SFHResult,
    names: Sequence[str] = _NAMES,
    fig: Figure | None = None,
    *,
    n_draws: int = 2000,
    seed: int = 0,
    color: Any = None,
) -> Figure:
    """Draw one- and two-dimensional posteriors of quantities of one number each.

    Contours hold 68 and 95 per cent of the draws; titles and dashed lines give the median and 68 per cent. Where no
    draw is finite, as of a spectrum without a usable pixel, the page only says so.

    Parameters
    ----------
    result : `~sfh_cnn.results.SFHResult`
        A single spectrum, with the network attached or enough stored draws.
    names : sequence of str, optional
        Which quantities.
    fig : `~matplotlib.figure.Figure`, optional
        An empty figure to fill.
    n_draws, seed : int, optional
        How many draws, and which; fewer if the result stores fewer and the network is not attached.
    color : color, optional
        Of histograms and contours.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    SFHCNNError
        If a name has more than one number per spectrum, or draws are not to be had.
    """
    need_single(result, "plot_corner")
    bad = [name for name in names if name not in QUANTITIES or QUANTITIES[name].axis]
    if bad:
        raise SFHCNNError(f"names has {', '.join(bad)}; a corner plot takes quantities with one number per spectrum")
    if result.engine is None and result.has_stored_draws:
        n_draws = min(n_draws, result.n_interval_draws)
    draws = result.draws(n_draws, seed)
    values = [getattr(draws, name) for name in names]
    values = [(value() if callable(value) else value).value for value in values]
    plt = require("matplotlib.pyplot", "plot")
    color, n = color or COLORS["history"], len(names)
    with plot_style():
        fig = plt.figure(figsize=(1.25 * n + 0.8,) * 2) if fig is None else fig
        finite = np.all(np.isfinite(values), axis=0)
        if not finite.any():
            missing = [name for name, value in zip(names, values, strict=True) if not np.isfinite(value).all()]
            return _empty(fig, result, missing)
        values = [value[finite] for value in values]
        fig.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
        axes = fig.subplots(n, n, squeeze=False)
        limits = [_limits(value) for value in values]
        for row in range(n):
            for column in range(n):
                ax = axes[row, column]
                if column > row:
                    ax.set_axis_off()
                    continue
                ax.set_xlim(limits[column])
                if row == column:
                    _histogram(ax, values[row], names[row], color)
                else:
                    _contours(ax, values[column], values[row], limits[column], limits[row], color)
                    ax.set_ylim(limits[row])
                _label(ax, row, column, names)
    return fig


def _empty(fig, result, missing):
    """A page that says which posteriors there are not, and the flags."""
    text = "no finite draws of\n" + "\n".join(label_of(name) for name in missing)
    if result.flags:
        text += "\n\nflags: " + ", ".join(result.flag_names())
    fig.text(0.5, 0.5, text, ha="center", va="center", fontsize=8.5, color=COLORS["data"])
    return fig


def _limits(value):
    low, high = np.quantile(value, [0.002, 0.998])
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _histogram(ax, value, name, color):
    ax.hist(value, bins=_BINS, range=ax.get_xlim(), color=color, alpha=0.35)
    lower, middle, upper = np.quantile(value, [0.158655, 0.5, 0.841345])
    for place, style in ((lower, "--"), (middle, "-"), (upper, "--")):
        ax.axvline(place, color=color, linestyle=style, linewidth=0.9)
    number, plus, minus, exponent = format_interval(middle, lower, upper)
    power = rf"$\times10^{{{exponent}}}$" if exponent else ""
    ax.set_title(f"{label_of(name, short=True)}\n${number}^{{{plus}}}_{{{minus}}}${power}", fontsize=8)
    ax.set_yticks([])


def _contours(ax, x, y, x_limits, y_limits, color):
    count, x_edges, y_edges = np.histogram2d(x, y, bins=_BINS, range=(x_limits, y_limits))
    count = _smooth(count)
    ordered = np.sort(count.ravel())[::-1]
    inside = np.cumsum(ordered) / ordered.sum()
    levels = sorted({float(ordered[np.searchsorted(inside, share)]) for share in _INSIDE})
    centers = [(edges[1:] + edges[:-1]) / 2 for edges in (x_edges, y_edges)]
    ax.plot(x, y, ".", color=color, markersize=1, alpha=0.15, rasterized=True)
    ax.contour(*centers, count.T, levels=levels, colors=[color], linewidths=[0.8, 1.3][-len(levels) :])


def _smooth(count):
    """Take the worst noise of the draws off the contours: a 1-2-1 mean along both axes."""
    for axis in (0, 1):
        padded = np.pad(count, [(1, 1) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        first, middle, last = (np.take(padded, np.arange(count.shape[axis]) + k, axis=axis) for k in (0, 1, 2))
        count = (first + 2 * middle + last) / 4
    return count


def _label(ax, row, column, names):
    from matplotlib.ticker import MaxNLocator

    last = len(names) - 1
    ax.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    ax.tick_params(axis="x", labelrotation=45)
    if row == last:
        ax.set_xlabel(axis_label(names[column], short=True))
    else:
        ax.tick_params(labelbottom=False)
    if row != column:
        ax.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
        if column == 0:
            ax.set_ylabel(axis_label(names[row], short=True))
        else:
            ax.tick_params(labelleft=False)
