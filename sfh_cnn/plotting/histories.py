"""Star formation histories and age-metallicity relations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError

from .style import COLORS, axes_or_new, axis_label, need_single

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

    from sfh_cnn.results import SFHResult

__all__ = ["plot_amr", "plot_sfh"]

_KINDS = {"fraction": "mass_fraction", "sfr": "sfr", "cumulative": "cumulative_mass"}
#: Width in dex that a first bin starting at age 0 gets on a logarithmic axis.
_FIRST_BIN_DEX = 0.5
#: Light fraction from which a bin's metallicity is drawn opaque: below, the prior has its say.
_BRIGHT = 0.05
_FAINTEST = 0.12
_AMR_NOTE = "dotted: light-weighted mean; faded: little light"


def _drawn_edges_gyr(edges_gyr, time):
    """Bin edges as drawn: on a logarithmic axis age 0 moves to a finite place."""
    edges = np.array(edges_gyr, dtype=float)
    if time == "log" and edges[0] == 0:
        edges[0] = edges[1] / 10**_FIRST_BIN_DEX
    return edges


def _set_time_axis(ax, edges_gyr, time):
    if time not in ("log", "linear"):
        raise SFHCNNError(f"time is 'log' or 'linear', got {time!r}")
    drawn = _drawn_edges_gyr(edges_gyr, time)
    ax.set_xlim(drawn[0], drawn[-1])
    ax.set_xlabel("lookback time" if time == "log" else "lookback time [Gyr]")
    if time == "linear":
        return
    from matplotlib.ticker import FixedLocator, NullFormatter

    ax.set_xscale("log")
    decades = [(0.001, "1 Myr"), (0.01, "10 Myr"), (0.1, "100 Myr"), (1.0, "1 Gyr"), (10.0, "10 Gyr")]
    ticks = [(place, text) for place, text in decades if drawn[0] <= place <= drawn[-1]]
    if edges_gyr[0] == 0:
        ticks = [(drawn[0], "0"), *(tick for tick in ticks if tick[0] > drawn[0])]
    ax.xaxis.set_major_locator(FixedLocator([place for place, _ in ticks]))
    ax.set_xticklabels([text for _, text in ticks])
    minor = [digit * 10.0**power for power in range(-3, 2) for digit in range(2, 10)]
    # No minor ticks in the first bin, where the axis is not to scale.
    lowest = edges_gyr[1] if edges_gyr[0] == 0 else drawn[0]
    ax.xaxis.set_minor_locator(FixedLocator([place for place in minor if lowest <= place <= drawn[-1]]))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _interval_or_none(result, name, level):
    """Interval of a quantity, or None where neither quantiles nor draws are at hand."""
    if result.engine is None and not result.has_stored_quantiles(name) and not result.has_stored_draws:
        return None
    return [bound.value for bound in result.interval(name, level)]


def plot_sfh(
    result: SFHResult,
    ax: Axes | None = None,
    kind: str = "fraction",
    *,
    time: str = "log",
    level: float = 0.6827,
    color: Any = None,
    label: str | None = None,
) -> dict[str, Any]:
    """Draw a star formation history with its interval.

    Parameters
    ----------
    result : `~sfh_cnn.results.SFHResult`
        A single spectrum.
    ax : `~matplotlib.axes.Axes`, optional
        Where to draw; a new figure by default.
    kind : {"fraction", "sfr", "cumulative"}, optional
        Mass formed per bin as a share of all, star formation rate (needs a distance), or share of the mass
        formed before each age.
    time : {"log", "linear"}, optional
        Scale of the age axis. On the logarithmic one a first bin that starts today is drawn from a tick
        "0", not to scale.
    level : float, optional
        Level of the interval.
    color : color, optional
        Of line and interval.
    label : str, optional
        For a legend, when several results are compared.

    Returns
    -------
    dict
        Artists ``line`` and ``interval`` (None where the interval would need draws that are not at hand).

    Raises
    ------
    SFHCNNError
        If ``kind`` or ``time`` is unknown, or the result is of many spectra.
    """
    need_single(result, "plot_sfh")
    if kind not in _KINDS:
        raise SFHCNNError(f"kind is one of {', '.join(_KINDS)}, got {kind!r}")
    ax, name, color = axes_or_new(ax), _KINDS[kind], color or COLORS["history"]
    edges_gyr = result.age_grid.edges_yr / 1e9
    _set_time_axis(ax, edges_gyr, time)
    x = _drawn_edges_gyr(edges_gyr, time)
    value, bounds = getattr(result, name).value, _interval_or_none(result, name, level)
    line: Any
    band: Any = None
    if kind == "cumulative":
        (line,) = ax.plot(x, value, color=color, label=label)
        if bounds is not None:
            band = ax.fill_between(x, *bounds, color=color, alpha=0.25, linewidth=0)
        ax.set_ylim(0, 1.02)
    else:
        line = ax.stairs(value, x, color=color, label=label, linewidth=1.4, baseline=None)
        band = ax.stairs(bounds[1], x, baseline=bounds[0], fill=True, color=color, alpha=0.25, linewidth=0)
        if kind == "sfr":
            ax.set_yscale("log")
            top = np.nanmax(bounds[1])
            if np.isfinite(top) and top > 0:
                low = np.nanmin(np.where(value > 0, value, np.nan)) / 3
                ax.set_ylim(max(low, top * 1e-4), top * 2)
        else:
            ax.set_ylim(0, None)
    unit = getattr(result, name).unit
    ax.set_ylabel(axis_label(name, unit) if kind != "fraction" else "mass fraction per bin")
    return {"line": line, "interval": band}


def plot_amr(
    result: SFHResult,
    ax: Axes | None = None,
    *,
    time: str = "log",
    level: float = 0.6827,
    color: Any = None,
    label: str | None = None,
) -> dict[str, Any]:
    """Draw an age-metallicity relation: [M/H] of each bin with its interval.

    Bins that give little light fade, because there the prior decides more than the data: opaque from 5 per
    cent of the V light upward.

    Parameters
    ----------
    result : `~sfh_cnn.results.SFHResult`
        A single spectrum.
    ax : `~matplotlib.axes.Axes`, optional
        Where to draw; a new figure by default.
    time : {"log", "linear"}, optional
        Scale of the age axis, as in `plot_sfh`.
    level : float, optional
        Level of the interval.
    color : color, optional
        Of points and intervals.
    label : str, optional
        For a legend, when several results are compared.

    Returns
    -------
    dict
        Artists ``points``, ``interval`` (one box per bin), ``mean`` (light-weighted [M/H]) and ``note``.

    Raises
    ------
    SFHCNNError
        If ``time`` is unknown, or the result is of many spectra.
    """
    need_single(result, "plot_amr")
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    ax, color = axes_or_new(ax), color or COLORS["metallicity"]
    shown = ax.get_ylim() if ax.collections else ()  # by results that are here already
    edges_gyr = result.age_grid.edges_yr / 1e9
    _set_time_axis(ax, edges_gyr, time)
    x = _drawn_edges_gyr(edges_gyr, time)
    value = result.metallicity.value
    lower, upper = (bound.value for bound in result.interval("metallicity", level))
    share = np.nan_to_num(result.light_fraction.value / _BRIGHT)
    opacity = np.clip(share, _FAINTEST, 1)
    rgb = to_rgba(color)[:3]
    boxes = [Rectangle((x[i], lower[i]), x[i + 1] - x[i], upper[i] - lower[i]) for i in range(value.size)]
    box = PatchCollection(boxes, facecolors=[(*rgb, 0.35 * one) for one in opacity], edgecolors="none")
    lines = LineCollection(
        [[(x[i], value[i]), (x[i + 1], value[i])] for i in range(value.size)],
        colors=[(*rgb, one) for one in opacity],
        linewidths=1.8,
        label=label,
    )
    ax.add_collection(box)
    ax.add_collection(lines)
    mean = ax.axhline(result.light_weighted_metallicity.value, color=COLORS["data"], linestyle=":", linewidth=1)
    if np.isfinite(lower).all():
        low, high = min(lower.min(), -0.5), max(upper.max(), 0.3)
        ax.set_ylim(min([low - 0.25, *shown]), max([high + 0.1, *shown]))
    # Once for all results in these axes, or the letters would pile up.
    note = next((text for text in ax.texts if text.get_text() == _AMR_NOTE), None) or ax.text(
        0.98, 0.06, _AMR_NOTE, fontsize=7, color=COLORS["data"], ha="right", transform=ax.transAxes
    )
    ax.set_ylabel(axis_label("metallicity"))
    return {"points": lines, "interval": box, "mean": mean, "note": note}
