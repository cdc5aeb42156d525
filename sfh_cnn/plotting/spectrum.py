"""What was fitted and what the prediction implies: spectrum, residuals, bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError

from .style import COLORS, axes_or_new, need_single

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

    from sfh_cnn.results import SFHResult

__all__ = ["plot_bands", "plot_spectrum"]


def _fitted(result, function):
    need_single(result, function)
    if result.spectra is None:
        raise SFHCNNError(
            f"{function} needs what was fitted; this result was written with spectra=False, or comes from a cube"
        )
    return result.spectra


def _scale(flux):
    """Power of ten that brings a spectrum to order one."""
    middle = np.nanmedian(np.abs(flux))
    return int(np.floor(np.log10(middle))) if np.isfinite(middle) and middle > 0 else 0


def _flux_label(power):
    return "$f_\\lambda$\n" + rf"[$10^{{{power}}}\,$erg/s/cm$^2$/$\mathrm{{\AA}}$]"


def _runs(bad):
    """First and last index of each run of True."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(int)))
    return list(zip(change[::2], change[1::2] - 1, strict=True))


def plot_spectrum(result: SFHResult, ax: Axes | None = None, residual_ax: Axes | None = None) -> dict[str, Any]:
    """Draw the fitted spectrum, its reconstruction and, below, the residuals.

    Parameters
    ----------
    result : `~sfh_cnn.results.SFHResult`
        A single spectrum, with what was fitted.
    ax, residual_ax : `~matplotlib.axes.Axes`, optional
        Where to draw; new ones, one above the other, if ``ax`` is None.

    Returns
    -------
    dict
        Artists ``data``, ``model``, ``masked`` (list of shaded gaps) and ``residual`` (None without
        ``residual_ax``).

    Raises
    ------
    SFHCNNError
        If the result holds no spectra or is of many.
    """
    spectra = _fitted(result, "plot_spectrum")
    if ax is None:
        import matplotlib.pyplot as plt

        _, (ax, residual_ax) = plt.subplots(2, 1, sharex=True, height_ratios=(3, 1), layout="constrained")
    wave_aa, bad = spectra["wave_aa"], spectra["mask"][0]
    flux = np.where(bad, np.nan, spectra["flux"][0])
    error = np.where(bad, np.nan, spectra["flux_err"][0])
    model = result.reconstruct()
    power = _scale(flux)
    unit = 10.0**power
    data = ax.stairs(flux / unit, _edges(wave_aa), baseline=None, color=COLORS["data"], linewidth=0.5, label="observed")
    (line,) = ax.plot(wave_aa, model.flux.value / unit, color=COLORS["model"], linewidth=1.1, label="reconstruction")
    step = wave_aa[1] - wave_aa[0]
    axes = [ax] if residual_ax is None else [ax, residual_ax]
    gaps = [
        one.axvspan(wave_aa[i] - step / 2, wave_aa[j] + step / 2, color=COLORS["masked"], alpha=0.35, linewidth=0)
        for i, j in _runs(bad)
        for one in axes
    ]
    ax.set_xlim(wave_aa[0], wave_aa[-1])
    # Robust limits, so that one hot pixel does not flatten the spectrum.
    seen = np.concatenate([flux[np.isfinite(flux)], model.flux.value[np.isfinite(model.flux.value)]]) / unit
    if seen.size:
        low, high = np.quantile(seen, [0.002, 0.998])
        ax.set_ylim(low - 0.15 * (high - low), high + 0.25 * (high - low))
    ax.set_ylabel(_flux_label(power))
    ax.legend(loc="upper right", ncols=2)
    bottom = ax if residual_ax is None else residual_ax
    bottom.set_xlabel(r"rest-frame wavelength in air [$\mathrm{\AA}$]")
    residual = None
    if residual_ax is not None:
        residual = residual_ax.stairs(
            (flux - model.flux.value) / error, _edges(wave_aa), baseline=None, color=COLORS["data"], linewidth=0.5
        )
        residual_ax.axhspan(-1, 1, color=COLORS["model"], alpha=0.2, linewidth=0)
        residual_ax.axhline(0, color=COLORS["model"], linewidth=0.8)
        residual_ax.set_ylim(-5, 5)
        residual_ax.set_yticks([-3, 0, 3])
        residual_ax.set_ylabel(r"$\Delta\,/\,\sigma$")
        residual_ax.set_xlim(wave_aa[0], wave_aa[-1])
        ax.tick_params(labelbottom=False)
    return {"data": data, "model": line, "masked": gaps, "residual": residual}


def _edges(wave_aa):
    step = wave_aa[1] - wave_aa[0]
    return np.append(wave_aa - step / 2, wave_aa[-1] + step / 2)


def plot_bands(result: SFHResult, ax: Axes | None = None) -> dict[str, Any]:
    """Draw the band fluxes and what the prediction implies for them, missing bands included.

    Parameters
    ----------
    result : `~sfh_cnn.results.SFHResult`
        A single spectrum, with what was fitted.
    ax : `~matplotlib.axes.Axes`, optional
        Where to draw; a new figure by default.

    Returns
    -------
    dict
        Artists ``data`` and ``model``.

    Raises
    ------
    SFHCNNError
        If the result holds no spectra or is of many.
    """
    spectra = _fitted(result, "plot_bands")
    ax = axes_or_new(ax)
    model = result.reconstruct().band_flux.value
    power = _scale(np.concatenate([spectra["band_flux"][0], model]))
    unit = 10.0**power
    place = np.arange(len(model))
    data = ax.errorbar(
        place,
        spectra["band_flux"][0] / unit,
        spectra["band_flux_err"][0] / unit,
        fmt="o",
        color=COLORS["data"],
        markersize=4,
        label="observed",
    )
    (implied,) = ax.plot(
        place, model / unit, "D", markerfacecolor="none", color=COLORS["model"], markersize=6, label="reconstruction"
    )
    ax.set_xticks(place, result.contract.bands, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.5, len(place) - 0.5)
    seen = np.concatenate([spectra["band_flux"][0] + spectra["band_flux_err"][0], model]) / unit
    if np.isfinite(seen).any():
        ax.set_ylim(0, 1.12 * np.nanmax(seen))
    ax.set_ylabel(_flux_label(power))
    return {"data": data, "model": implied}
