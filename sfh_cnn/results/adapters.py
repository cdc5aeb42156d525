"""Results in the form that users of Prospector and bagpipes plot."""

from types import SimpleNamespace

import numpy as np

from sfh_cnn.core import SFHCNNError

__all__ = ["to_bagpipes", "to_prospector"]

#: Prospector cuts its ratios of star formation rates there; empty bins would be infinite.
_MAX_RATIO_DEX = 10.0


def to_prospector(result, n_draws, seed):
    """Draws as the parameters of Prospector's non-parametric histories; see `SFHResult.to_prospector`."""
    mass, draws = _masses(result, "to_prospector", n_draws, seed)
    edges_yr = np.asarray(result.contract.age_edges_yr, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rate = np.log10(mass / np.diff(edges_yr))
        ratios = np.nan_to_num(log_rate[:, :-1] - log_rate[:, 1:], nan=0.0)
    log_edges = np.log10(np.maximum(edges_yr, 1.0))  # Prospector has 0 for the present, which is 1 yr
    return {
        "agebins": np.column_stack([log_edges[:-1], log_edges[1:]]),
        "mass": mass,
        "logmass": np.log10(mass.sum(axis=1)),
        "logsfr_ratios": np.clip(ratios, -_MAX_RATIO_DEX, _MAX_RATIO_DEX),
        "logzsol": draws.mass_weighted_metallicity.value,
        "dust2": draws.a_v.value / (2.5 * np.log10(np.e)),
        "zred": np.full(n_draws, float(result.redshift)),
    }


def to_bagpipes(result, n_draws, seed):
    """Draws in the place of a fit of bagpipes; see `SFHResult.to_bagpipes`."""
    mass, draws = _masses(result, "to_bagpipes", n_draws, seed)
    edges_yr = np.asarray(result.contract.age_edges_yr, dtype=float)
    rate = mass / np.diff(edges_yr)
    log_mass_surviving = np.log10(draws.mass_surviving.value)
    recent = draws.recent_sfr().value
    with np.errstate(divide="ignore"):
        log_specific = np.log10(recent) - log_mass_surviving
    samples = {
        "sfh": np.repeat(rate, 2, axis=1),
        "formed_mass": np.log10(mass.sum(axis=1)),
        "stellar_mass": log_mass_surviving,
        "sfr": recent,
        "ssfr": log_specific,
        # bagpipes means the mean of age where this package means that of log age
        "mass_weighted_age": draws.mass_fraction.value @ (0.5e-9 * (edges_yr[:-1] + edges_yr[1:])),
        "dust:Av": draws.a_v.value,
        "redshift": np.full(n_draws, float(result.redshift)),
    }
    return SimpleNamespace(
        fitted_model=SimpleNamespace(params=[], model_components={"redshift": float(result.redshift)}),
        posterior=SimpleNamespace(samples=samples, sfh=SimpleNamespace(ages=np.repeat(edges_yr, 2)[1:-1])),
    )


def _masses(result, name, n_draws, seed):
    """Mass formed in each bin, M_sun, (n_draws, n_age), and the draws it comes from."""
    if not result.scalar:
        raise SFHCNNError(f"{name} takes one spectrum; choose one of the {result.n_spec}: result[i].{name}()")
    draws = result.draws(n_draws, seed)
    return draws.mass_formed.value[:, None] * draws.mass_fraction.value, draws
