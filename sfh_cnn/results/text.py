"""Results as text and HTML: main numbers with intervals, aligned, as many digits as they deserve."""

from __future__ import annotations

import html

import numpy as np

from .quantities import QUANTITIES

__all__ = ["format_interval", "maps_to_html", "result_to_html", "result_to_text"]

#: What a reader wants to see first.
_MAIN = (
    "mass_weighted_age",
    "light_weighted_age",
    "mass_weighted_metallicity",
    "light_weighted_metallicity",
    "a_v",
    "mass_to_light",
    "recent_fraction",
    "mass_formed",
    "mass_surviving",
    "recent_sfr",
)
_MAX_ROWS = 8


def format_interval(value: float, lower: float, upper: float) -> tuple[str, str, str, int]:
    """Write a value and its interval with two digits of the smaller error.

    Parameters
    ----------
    value, lower, upper : float
        Point value and ends of its interval, in one unit.

    Returns
    -------
    value, plus, minus : str
        Mantissas with equal decimals, the last two with their sign.
    exponent : int
        Power of ten common to all three; 0 for numbers between 0.01 and 10000.

    Examples
    --------
    >>> from sfh_cnn.results import format_interval
    >>> format_interval(7.123, 6.25, 8.3)
    ('7.12', '+1.18', '-0.87', 0)
    >>> format_interval(5.43e9, 4.9e9, 6.1e9)
    ('5.43', '+0.67', '-0.53', 9)
    """
    if not np.all(np.isfinite([value, lower, upper])):
        return "nan", "+nan", "-nan", 0
    largest = max(abs(value), abs(upper))
    exponent = 0 if largest == 0 or 1e-2 <= largest < 1e4 else int(np.floor(np.log10(largest)))
    scale = 10.0**exponent
    errors = [error / scale for error in (upper - value, value - lower) if error > 0]
    decimals = int(np.clip(1 - np.floor(np.log10(min(errors))), 0, 4)) if errors else 2
    # Adding 0.0 turns the minus zero of a rounded small number into zero.
    numbers = [round(x / scale, decimals) + 0.0 for x in (value, upper - value, lower - value)]
    return (f"{numbers[0]:.{decimals}f}", f"{numbers[1]:+.{decimals}f}", f"{numbers[2]:+.{decimals}f}", exponent)


def _main_rows(result):
    """Label, value, errors, unit of the main numbers of a single spectrum."""
    rows = []
    for name in _MAIN:
        info = QUANTITIES[name]
        if info.needs_distance and not np.isfinite(result.distance.value):
            continue
        value = getattr(result, name)
        value = (value() if callable(value) else value).value
        lower, upper = (bound.value for bound in result.interval(name))
        number, plus, minus, exponent = format_interval(float(value), float(lower), float(upper))
        power = f"1e{exponent} " if exponent else ""
        unit = str(info.unit).replace("solMass", "M_sun").replace("solLum", "L_sun")
        rows.append((info.label, number, plus, minus, f"{power}{unit}".strip()))
    return rows


def _title(result):
    contract = result.contract
    spectra = "1 spectrum" if result.scalar else f"{result.n_spec} spectra"
    oldest = contract.age_edges_yr[-1] / 1e9
    return f"{spectra}, network {contract.name}, {contract.n_age} age bins to {oldest:.3g} Gyr, IMF {contract.imf}"


def _main_table(result):
    names = [name for name in _MAIN if not QUANTITIES[name].needs_distance]
    return result.to_table()[[*names, "flags"]]


def result_to_text(result):
    """Readable form of a result; see `SFHResult`."""
    lines = [f"SFHResult: {_title(result)}"]
    if result.scalar:
        rows = _main_rows(result)
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        for label, *numbers, unit in rows:
            aligned = " ".join(number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
            lines.append(f"  {label.ljust(widths[0])}  {aligned}  {unit}".rstrip())
        lines.append(f"  flags: {', '.join(result.flag_names()) or 'none'}")
    else:
        table = _main_table(result)
        for name in table.colnames[:-1]:
            table[name].info.format = ".3g"
        lines += table.pformat(max_lines=_MAX_ROWS, max_width=-1)
    return "\n".join(lines)


def result_to_html(result):
    """HTML form of a result, for notebooks."""
    title = f"<p><b>SFHResult</b>: {html.escape(_title(result))}</p>"
    if not result.scalar:
        return title + _main_table(result)._repr_html_()
    cells = "".join(
        f"<tr><td>{html.escape(label)}</td><td style='text-align:right'>{number}"
        f"<sup>{plus}</sup><sub>{minus}</sub></td><td style='text-align:left'>{html.escape(unit)}</td></tr>"
        for label, number, plus, minus, unit in _main_rows(result)
    )
    flags = html.escape(", ".join(result.flag_names()) or "none")
    return f"{title}<table>{cells}</table><p>flags: {flags}</p>"


def maps_to_html(maps):
    """HTML form of maps, for notebooks: the span of the main numbers over the spaxels."""
    has_distance = np.isfinite(maps.result.arrays["distance_mpc"]).any()
    rows = []
    for name in _MAIN:
        info = QUANTITIES[name]
        if info.needs_distance and not has_distance:
            continue
        value = getattr(maps, name)
        plain = (value() if callable(value) else value).value
        finite = plain[np.isfinite(plain)]
        low, middle, high = np.percentile(finite, (16, 50, 84)) if finite.size else (np.nan,) * 3
        unit = str(info.unit).replace("solMass", "M_sun").replace("solLum", "L_sun")
        cells = "".join(f"<td style='text-align:right'>{number:.3g}</td>" for number in (middle, low, high))
        rows.append(f"<tr><td>{html.escape(info.label)}</td>{cells}<td style='text-align:left'>{unit}</td></tr>")
    head = "<tr><th></th><th>median</th><th>16 %</th><th>84 % of spaxels</th><th></th></tr>"
    return f"<p><b>SFHMaps</b>: {html.escape(repr(maps)[10:-1])}</p><table>{head}{''.join(rows)}</table>"
