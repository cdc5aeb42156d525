"""One page that shows a prior: example histories of every family and the mean ages and [M/H] they imply."""

import astropy.units as u
import numpy as np

from sfh_cnn.core import AgeGrid, atomic_write, require
from sfh_cnn.core.history import mean_log_age, mean_metallicity

from .amr_prior import METALLICITY_RANGE_DEX, draw_metallicity
from .sfh_prior import draw_mass_fraction
from .ssp_grid import fine_age_edges

__all__ = ["light_weights", "preview"]

# Okabe & Ito (2008): distinct for colour-blind readers too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_COLUMNS = 4


def light_weights(age_yr):
    """Rough V-band light per mass formed, age^-0.7 and constant below 3 Myr, for a look at a prior.

    Parameters
    ----------
    age_yr : ndarray
        Age, yr.

    Returns
    -------
    ndarray
        Light per mass relative to that at 1 yr.
    """
    return np.maximum(age_yr, 3e6) ** -0.7


def preview(config, path, n_prior=20_000, n_example=6, overwrite=False):
    """Draw a page of example histories and the implied prior.

    Parameters
    ----------
    config : SynthesisConfig
        Its ``sfh``, ``metallicity``, ``age_grid`` and ``seed`` are used.
    path : str or `pathlib.Path`
        Picture to write; the suffix says the format (PNG, PDF).
    n_prior : int, optional
        Number of histories behind the histograms.
    n_example : int, optional
        Number of examples per family.
    overwrite : bool, optional
        Replace an existing picture.

    Raises
    ------
    FileExistsError
        If the picture exists and ``overwrite`` is False.
    ImportError
        If matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "plot")
    rng = np.random.default_rng(config.seed)
    edges_yr, parent = fine_age_edges(config.age_grid.edges_yr)

    n_rows = [-(-len(prior.families) // _COLUMNS) for prior in (config.sfh, config.metallicity)]
    figure = figure_module.Figure(figsize=(11, 2.1 * (sum(n_rows) + 2)), layout="constrained")
    histories, relations, implied = figure.subfigures(3, 1, height_ratios=[*n_rows, 2])
    _draw_histories(histories, n_rows[0], config.sfh, rng, edges_yr, n_example)
    _draw_relations(relations, n_rows[1], config, rng, edges_yr, n_example)
    mass_fraction, _ = draw_mass_fraction(rng, n_prior, edges_yr, config.sfh)
    metallicity_dex, _ = draw_metallicity(rng, mass_fraction, edges_yr, config.metallicity)
    # Means are those of the network's bins: the same numbers that it will be asked for.
    _draw_implied(implied, mass_fraction, metallicity_dex, edges_yr, config.age_grid.log_ages_dex[parent])
    with atomic_write(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=110)


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


def _draw_implied(subfigure, mass_fraction, metallicity_dex, edges_yr, log_age_dex):
    fine_log_age = AgeGrid(edges_yr * u.yr).log_ages_dex
    light_fraction = mass_fraction * light_weights(10**fine_log_age)
    light_fraction /= light_fraction.sum(axis=1, keepdims=True)
    weightings = (("mass", mass_fraction, _COLOURS[0]), ("light", light_fraction, _COLOURS[5]))
    title = f"Implied prior of {len(mass_fraction)} mocks (light: age$^{{-0.7}}$)"
    subfigure.suptitle(title, fontsize=11, fontweight="bold")
    (ax_age, ax_met), (ax_joint, ax_bins) = subfigure.subplots(2, 2)
    ages, metallicities = {}, {}
    for name, weight, colour in weightings:
        ages[name] = mean_log_age(weight, log_age_dex)
        metallicities[name] = mean_metallicity(weight, metallicity_dex)
        style = {"histtype": "step", "density": True, "color": colour, "label": f"{name}-weighted", "lw": 1.5}
        ax_age.hist(ages[name], bins=np.linspace(6.4, 10.2, 77), **style)
        ax_met.hist(metallicities[name], bins=np.linspace(-2.05, 0.45, 51), **style)
    ax_age.set(xlabel="mean log age / yr", ylabel="density per dex")
    ax_met.set(xlabel="mean [M/H] / dex", ylabel="density per dex")
    ax_age.legend(fontsize=8)
    ax_joint.hexbin(ages["light"], metallicities["light"], gridsize=45, mincnt=1, cmap="cividis", bins="log")
    ax_joint.set(xlabel="light-weighted log age / yr", ylabel="light-w. [M/H] / dex")
    ax_bins.hexbin(ages["light"], ages["mass"], gridsize=45, mincnt=1, cmap="cividis", bins="log")
    ax_bins.axline((8, 8), slope=1, color="0.5", lw=0.8)
    ax_bins.set(xlabel="light-weighted log age / yr", ylabel="mass-w. log age / yr")
