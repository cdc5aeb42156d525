"""One page that shows a prior: example histories of every family, example mocks, and the answers they imply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import atomic_write, require
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.photometry import load_bandpass

from .amr_prior import METALLICITY_RANGE_DEX
from .generate import GROUP_SIZE, MockGenerator
from .sfh_prior import draw_mass_fraction
from .ssp_grid import fine_age_edges

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sfh_cnn.ssp import SSPLibrary

    from .config import SynthesisConfig

__all__ = ["preview"]

# Okabe & Ito (2008): distinct for colour-blind readers too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_COLUMNS = 4
#: Mocks in the panel of spectra.
_N_SPECTRA = 4
#: Mocks that are drawn together for the implied prior.
_CHUNK = 2048


def preview(
    config: SynthesisConfig,
    path: str | Path,
    n_prior: int = 8192,
    n_example: int = 6,
    overwrite: bool = False,
    libraries: Iterable[SSPLibrary] | None = None,
) -> None:
    """Draw a page of example histories, example mocks and the implied prior.

    Parameters
    ----------
    config : SynthesisConfig
        What a training set would be made from.
    path : str or `pathlib.Path`
        Picture to write; the suffix says the format (PNG, PDF).
    n_prior : int, optional
        Number of mocks behind the histograms.
    n_example : int, optional
        Number of example histories per family.
    overwrite : bool, optional
        Replace an existing picture.
    libraries : list of `~sfh_cnn.ssp.SSPLibrary`, optional
        Instead of reading those that the configuration names.

    Raises
    ------
    FileExistsError
        If the picture exists and ``overwrite`` is False.
    ImportError
        If matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "plot")
    with atomic_write(path, overwrite=overwrite) as temporary:
        _draw_page(figure_module.Figure, config, libraries, n_prior, n_example).savefig(temporary, dpi=110)


def _draw_page(figure_class, config, libraries, n_prior, n_example):
    rng = np.random.default_rng(config.seed)
    edges_yr, _ = fine_age_edges(config.age_grid.edges_yr)
    generator = MockGenerator(config, libraries)

    n_rows = [-(-len(prior.families) // _COLUMNS) for prior in (config.sfh, config.metallicity)]
    heights = [2.1 * n_rows[0], 2.1 * n_rows[1], 3.6, 5.0]
    figure = figure_class(figsize=(11, sum(heights)), layout="constrained")
    histories, relations, mocks, implied = figure.subfigures(4, 1, height_ratios=heights)
    _draw_histories(histories, n_rows[0], config.sfh, rng, edges_yr, n_example)
    _draw_relations(relations, n_rows[1], config, rng, edges_yr, n_example)
    _draw_mocks(mocks, generator)
    _draw_implied(implied, generator, n_prior)
    return figure


def _panels(subfigure, n_rows, prior, title, y_label):
    """Yield (axes, family) with name and share as a title; hide what is left of the grid."""
    subfigure.suptitle(title, fontsize=11, fontweight="bold")
    axes = subfigure.subplots(n_rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    total = sum(prior.families.values())
    for ax in axes[:, 0]:
        ax.set_ylabel(y_label, fontsize=8)
    for ax in axes.flat[len(prior.built) :]:
        ax.set_axis_off()
    for ax, (name, family) in zip(axes.flat, prior.built.items(), strict=False):
        ax.set_title(f"{name} ({prior.families[name] / total:.0%})", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.set_prop_cycle(color=_COLOURS)
        yield ax, family
        ax.set_xlabel("log lookback time / yr", fontsize=8)
        ax.tick_params(labelbottom=True)


def _draw_histories(subfigure, n_rows, prior, rng, edges_yr, n_example):
    log_edges = np.log10(np.maximum(edges_yr, 0.5 * edges_yr[1]))
    for ax, family in _panels(subfigure, n_rows, prior, "Star formation histories", "SFR / lifetime mean"):
        mass = family.draw(rng, n_example, edges_yr)
        for sfr in mass / np.diff(edges_yr) * edges_yr[-1]:
            ax.stairs(np.maximum(sfr, 1e-6), log_edges, lw=1.2, baseline=None)
        ax.set(yscale="log", ylim=(1e-3, 3e3))


def _draw_relations(subfigure, n_rows, config, rng, edges_yr, n_example):
    log_age = np.log10(0.5 * (edges_yr[:-1] + edges_yr[1:]))
    title = "Enrichment histories where stars formed (width: mass)"
    for ax, family in _panels(subfigure, n_rows, config.metallicity, title, "[M/H] / dex"):
        mass, _ = draw_mass_fraction(rng, n_example, edges_yr, config.sfh)
        for k, metallicity in enumerate(np.clip(family.draw(rng, mass, edges_yr), *METALLICITY_RANGE_DEX)):
            formed = mass[k] > 1e-5
            ax.plot(np.where(formed, log_age, np.nan), metallicity, lw=0.8)
            size = 40 * mass[k] / mass[k].max()
            ax.scatter(log_age, metallicity, s=np.where(formed, size, 0), lw=0, alpha=0.6)
        ax.set(ylim=(-2.1, 0.5))


def _draw_mocks(subfigure, generator):
    """Spectra and bands of a few mocks from young to old, without and with what happens to an observation."""
    # Within one group the same stars are drawn with and without an observer.
    true, seen = (generator.chunk(0, GROUP_SIZE, observed=observed) for observed in (False, True))
    age = true["scalars"][:, SCALAR_NAMES.index("light_weighted_log_age")]
    snr = np.array([np.median((row / err)[~bad]) for row, err, bad in zip(*_spectra(seen), strict=True)])
    usable = np.flatnonzero((snr > 10) & np.isfinite(seen["band_flux"]).any(axis=1))
    if len(usable) == 0:  # a prior of faint or bandless mocks
        usable = np.arange(GROUP_SIZE)
    examples = usable[np.argsort(age[usable])][np.linspace(0, len(usable) - 1, _N_SPECTRA).astype(int)]
    subfigure.suptitle("Mocks: noise-free (lines), as observed (grey; gaps are masked)", fontsize=11, fontweight="bold")
    ax, ax_bands = subfigure.subplots(1, 2, width_ratios=[3, 1])
    pivots_aa = [load_bandpass(band).pivot_aa for band in generator.config.instrument.bands]
    for k, (i, colour) in enumerate(zip(examples, _COLOURS, strict=False)):
        level = np.median(true["flux"][i])
        observed = np.where(seen["mask"][i], np.nan, seen["flux"][i])
        ax.plot(generator.wave_aa, observed / level + k, color="0.6", lw=0.4)
        a_v = true["scalars"][i, SCALAR_NAMES.index("a_v")]
        label = f"log age {age[i]:.1f}, A$_V$ {a_v:.1f}, S/N {snr[i]:.0f}"
        ax.plot(generator.wave_aa, true["flux"][i] / level + k, color=colour, lw=0.8, label=label)
        ax_bands.plot(pivots_aa, true["band_flux"][i], color=colour, lw=0.8)
        bands = {"yerr": seen["band_flux_err"][i], "fmt": "o", "ms": 4, "lw": 1, "color": colour}
        ax_bands.errorbar(pivots_aa, seen["band_flux"][i], **bands)
    ax.set(xlabel="rest wavelength / Angstrom", ylabel="flux / median + offset", ylim=(0, _N_SPECTRA + 1.4))
    ax.legend(fontsize=7, ncols=2, loc="upper right")
    ax_bands.set(xlabel="pivot wavelength / Angstrom", ylabel="band flux / V", yscale="log")


def _spectra(mocks):
    return mocks["flux"], mocks["flux_err"], mocks["mask"]


def _draw_implied(subfigure, generator, n_prior):
    """Histograms of what the network will be asked for."""
    sizes = [min(_CHUNK, n_prior - start) for start in range(0, n_prior, _CHUNK)]
    chunks = [generator.chunk(i, size, observed=False)["scalars"] for i, size in enumerate(sizes)]
    truth = dict(zip(SCALAR_NAMES, np.concatenate(chunks).T, strict=True))
    subfigure.suptitle(f"Implied prior of {n_prior} mocks", fontsize=11, fontweight="bold")
    (ax_age, ax_met, ax_dust), (ax_joint, ax_ages, ax_ratio) = subfigure.subplots(2, 3)
    for name, colour in (("mass", _COLOURS[0]), ("light", _COLOURS[5])):
        style = {"histtype": "step", "density": True, "color": colour, "label": f"{name}-weighted", "lw": 1.5}
        ax_age.hist(truth[f"{name}_weighted_log_age"], bins=np.linspace(6.4, 10.2, 77), **style)
        ax_met.hist(truth[f"{name}_weighted_metallicity"], bins=np.linspace(-2.05, 0.45, 51), **style)
    ax_dust.hist(truth["a_v"], bins=40, histtype="step", density=True, color=_COLOURS[2], lw=1.5)
    ax_age.set(xlabel="mean log age / yr", ylabel="density per dex")
    ax_met.set(xlabel="mean [M/H] / dex", ylabel="density per dex")
    ax_dust.set(xlabel="A$_V$ / mag", ylabel="density per mag", ylim=(0, None))
    ax_age.legend(fontsize=8, loc="upper left")
    style = {"gridsize": 40, "mincnt": 1, "cmap": "cividis", "bins": "log"}
    ax_joint.hexbin(truth["light_weighted_log_age"], truth["light_weighted_metallicity"], **style)
    ax_joint.set(xlabel="light-weighted log age / yr", ylabel="light-w. [M/H] / dex")
    ax_ages.hexbin(truth["light_weighted_log_age"], truth["mass_weighted_log_age"], **style)
    ax_ages.axline((8, 8), slope=1, color="0.5", lw=0.8)
    ax_ages.set(xlabel="light-weighted log age / yr", ylabel="mass-w. log age / yr")
    ax_ratio.hexbin(truth["light_weighted_log_age"], truth["log_mass_to_light"], **style)
    ax_ratio.set(xlabel="light-weighted log age / yr", ylabel="log M formed / L$_V$")
