"""Prior of enrichment histories: registered families of age-metallicity relations and mixtures of them.

A family gives [M/H] in the fine bins of lookback time of given star formation histories; more than
half of the default mixture follows the mass formed so far.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError

from .gaussian_process import bin_log_ages, smooth_noise
from .mixture import Family, FamilyRegistry, choose_families, log_range, log_uniform, uniform

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AMR_FAMILIES",
    "DEFAULT",
    "LOCAL_DISCS",
    "METALLICITY_RANGE_DEX",
    "MetallicityPrior",
    "draw_metallicity",
    "register_amr_family",
]

#: Lowest and highest [M/H] of any mock, dex.
METALLICITY_RANGE_DEX = (-2.0, 0.4)

#: All families of enrichment histories, built in and registered by users.
AMR_FAMILIES = FamilyRegistry("enrichment history")

#: ``@register_amr_family("name")`` on a frozen dataclass with a method
#: ``draw(rng, mass_fraction, edges_yr) -> (n, n_fine)``: [M/H] per bin in dex.
register_amr_family = AMR_FAMILIES.register


@dataclasses.dataclass(frozen=True)
class Enrichment(Family):
    """Base of the built-in families: they all have a level of [M/H].

    Parameters
    ----------
    level_dex : tuple of float
        Full range of the level, even.
    typical_dex : tuple of float
        Range that gets more weight, even inside.
    typical_share : float
        Share of draws from the typical range.
    """

    level_dex: tuple[float, float] = (-2.0, 0.4)
    typical_dex: tuple[float, float] = (-0.7, 0.35)
    typical_share: float = 0.5

    def _draw_level(self, rng, n):
        typical = rng.random((n, 1)) < self.typical_share
        return np.where(typical, uniform(rng, self.typical_dex, n), uniform(rng, self.level_dex, n))


@register_amr_family("flat")
@dataclasses.dataclass(frozen=True)
class Flat(Enrichment):
    """The same [M/H] at all ages, the level."""

    def draw(self, rng, mass_fraction, edges_yr):  # noqa: ARG002
        """[M/H] per bin in dex, shape (n, n_fine)."""
        return np.broadcast_to(self._draw_level(rng, len(mass_fraction)), mass_fraction.shape)


@register_amr_family("linear_log_age")
@dataclasses.dataclass(frozen=True)
class LinearLogAge(Enrichment):
    """[M/H] linear in log age; the level is the mass-weighted mean.

    Parameters
    ----------
    slope : tuple of float
        Range of the rise per dex of log age towards the present, even; negative values are inverted relations.
    """

    slope: tuple[float, float] = (-0.25, 0.6)

    def draw(self, rng, mass_fraction, edges_yr):
        """[M/H] per bin in dex, shape (n, n_fine)."""
        n = len(mass_fraction)
        log_age = bin_log_ages(edges_yr)
        mean_log_age = (mass_fraction @ log_age)[:, None]
        return self._draw_level(rng, n) + uniform(rng, self.slope, n) * (mean_log_age - log_age)


@register_amr_family("closed_box")
@dataclasses.dataclass(frozen=True)
class ClosedBox(Enrichment):
    """Closed box: Z grows with ln(1 / gas fraction) (Searle & Sargent 1972); the level is the final [M/H].

    Parameters
    ----------
    rise_dex : tuple of float
        Range of the rise of [M/H] from the first to the last star, even; less where it would begin below -2.
    gas_fraction : tuple of float
        Range of the share of the gas that is left over now, even in log.
    """

    rise_dex: tuple[float, float] = (0.1, 2.4)
    gas_fraction: tuple[float, float] = log_range(0.02, 0.7)

    def draw(self, rng, mass_fraction, edges_yr):  # noqa: ARG002
        """[M/H] per bin in dex, shape (n, n_fine)."""
        n = len(mass_fraction)
        level, rise = self._draw_level(rng, n), uniform(rng, self.rise_dex, n)
        left = log_uniform(rng, self.gas_fraction, n)
        progress = np.log1p(-(1 - left) * _formed_so_far(mass_fraction)) / np.log(left)
        return _between(level, rise, progress)


@register_amr_family("leaky_box")
@dataclasses.dataclass(frozen=True)
class LeakyBox(Enrichment):
    """Z grows with the mass formed and saturates, as with outflow and inflow; the level is the final [M/H].

    Z rises as 1 - exp(-x / s) with x the share of the mass formed so far: nearly linear for large s,
    early and then constant for small s, where outflow and dilution balance the yield (Larson 1972).

    Parameters
    ----------
    rise_dex : tuple of float
        Range of the rise of [M/H] from the first to the last star, even; less where it would begin below -2.
    saturation : tuple of float
        Range of s, even in log.
    """

    rise_dex: tuple[float, float] = (0.1, 2.4)
    saturation: tuple[float, float] = log_range(0.05, 3.0)

    def draw(self, rng, mass_fraction, edges_yr):  # noqa: ARG002
        """[M/H] per bin in dex, shape (n, n_fine)."""
        n = len(mass_fraction)
        level, rise = self._draw_level(rng, n), uniform(rng, self.rise_dex, n)
        scale = log_uniform(rng, self.saturation, n)
        progress = np.expm1(-_formed_so_far(mass_fraction) / scale) / np.expm1(-1 / scale)
        return _between(level, rise, progress)


@register_amr_family("scatter")
@dataclasses.dataclass(frozen=True)
class Scatter(Enrichment):
    """Another relation plus a smooth random curve in log age.

    Parameters
    ----------
    bases : tuple of str
        Names of the families to scatter around, in equal parts, with their other default parameters.
    scatter_dex : tuple of float
        Range of the standard deviation, even in log.
    length_dex : tuple of float
        Range of the correlation length in log10 age (Matern-3/2 kernel), even in log.
    """

    bases: tuple[str, ...] = ("leaky_box", "closed_box", "linear_log_age", "flat")
    scatter_dex: tuple[float, float] = log_range(0.05, 0.4)
    length_dex: tuple[float, float] = log_range(0.05, 1.0)

    def __post_init__(self):
        super().__post_init__()
        if not self.bases:
            raise SFHCNNError(f"bases of Scatter needs at least one of {', '.join(AMR_FAMILIES.names)}, got none")
        for name in self.bases:
            _ = AMR_FAMILIES[name]  # a wrong name is an error here

    def draw(self, rng, mass_fraction, edges_yr):
        """[M/H] per bin in dex, shape (n, n_fine)."""
        n = len(mass_fraction)
        level = {field.name: getattr(self, field.name) for field in dataclasses.fields(Enrichment)}
        base_of = choose_families(rng, n, np.ones(len(self.bases)))
        metallicity = np.empty(mass_fraction.shape)
        for k, name in enumerate(self.bases):
            rows = np.flatnonzero(base_of == k)
            metallicity[rows] = AMR_FAMILIES[name](**level).draw(rng, mass_fraction[rows], edges_yr)
        scatter, length = log_uniform(rng, self.scatter_dex, n), log_uniform(rng, self.length_dex, n)
        return metallicity + scatter * smooth_noise(rng, bin_log_ages(edges_yr), length[:, 0])


@register_amr_family("dilution")
@dataclasses.dataclass(frozen=True)
class Dilution(LeakyBox):
    """Leaky box whose [M/H] drops when gas flows in, then recovers as stars form.

    Parameters
    ----------
    drop_dex : tuple of float
        Range of the drop, even.
    inflow_yr : tuple of float
        Range of the lookback time of the inflow, even in log, cut at the first star.
    recovery : tuple of float
        Range of the share of the mass formed in which the drop falls by a factor e, even in log.
    """

    drop_dex: tuple[float, float] = (0.1, 0.6)
    inflow_yr: tuple[float, float] = log_range(1e7, 1e10)
    recovery: tuple[float, float] = log_range(0.02, 1.0)

    def draw(self, rng, mass_fraction, edges_yr):
        """[M/H] per bin in dex, shape (n, n_fine)."""
        n = len(mass_fraction)
        metallicity = super().draw(rng, mass_fraction, edges_yr)
        # Log-uniform between the youngest inflow and the first star, so that every mock is diluted.
        oldest = edges_yr[1:][mass_fraction.shape[1] - 1 - np.argmax(mass_fraction[:, ::-1] > 0, axis=1)][:, None]
        oldest = np.clip(oldest, *self.inflow_yr)
        inflow = oldest * (self.inflow_yr[0] / oldest) ** rng.random((n, 1))
        drop, scale = uniform(rng, self.drop_dex, n), log_uniform(rng, self.recovery, n)
        formed = _formed_so_far(mass_fraction)
        after = edges_yr[:-1] < inflow
        formed_at_inflow = np.min(formed, axis=1, where=after, initial=1.0, keepdims=True)
        return metallicity - after * drop * np.exp(-np.maximum(formed - formed_at_inflow, 0) / scale)


@dataclasses.dataclass(frozen=True)
class MetallicityPrior:
    """Mixture of families of enrichment histories.

    Parameters
    ----------
    families : dict of str to float
        Weight of each family, not normalised. By default two thirds follow the mass formed so far
        (closed box, leaky box, dilution and half of scatter).
    parameters : dict of str to dict
        Parameters of families that differ from their defaults.

    Raises
    ------
    SFHCNNError
        If a family or parameter is unknown or the weights cannot be normalised.
    """

    families: dict[str, float] = dataclasses.field(
        default_factory=lambda: {
            "closed_box": 0.22,
            "leaky_box": 0.22,
            "dilution": 0.13,
            "linear_log_age": 0.14,
            "flat": 0.13,
            "scatter": 0.16,
        }
    )
    parameters: dict[str, dict] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _ = self.built  # a wrong name is an error here, not in the middle of a long run

    @functools.cached_property
    def built(self) -> dict[str, Any]:
        """The families themselves, name to object, in the order of ``families``."""
        return AMR_FAMILIES.build(self.families, self.parameters)


#: Broad mixture: mean [M/H] from -2.0 to 0.4 with more weight from -0.7 to 0.3.
DEFAULT = MetallicityPrior()

_DISC_LEVEL = {"level_dex": (-0.5, 0.3), "typical_dex": (-0.5, 0.3)}

#: Nearby spiral discs: final [M/H] from -0.5 to 0.3, which began up to 1.8 dex below.
LOCAL_DISCS = MetallicityPrior(
    families={
        "closed_box": 0.28,
        "leaky_box": 0.30,
        "dilution": 0.10,
        "linear_log_age": 0.20,
        "flat": 0.04,
        "scatter": 0.08,
    },
    parameters={
        "closed_box": _DISC_LEVEL | {"rise_dex": (0.1, 1.8)},
        "leaky_box": _DISC_LEVEL | {"rise_dex": (0.1, 1.8)},
        "dilution": _DISC_LEVEL | {"rise_dex": (0.1, 1.8), "drop_dex": (0.05, 0.25)},
        "linear_log_age": _DISC_LEVEL | {"slope": (0.0, 0.4)},
        "flat": _DISC_LEVEL,
        "scatter": _DISC_LEVEL | {"bases": ("linear_log_age", "flat"), "scatter_dex": (0.03, 0.12)},
    },
)


def draw_metallicity(
    rng: np.random.Generator,
    mass_fraction: np.ndarray,
    edges_yr: np.ndarray,
    prior: MetallicityPrior | dict[str, float] = DEFAULT,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw enrichment histories for given star formation histories.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness; the same state gives the same histories.
    mass_fraction : ndarray, shape (n, n_fine)
        Share of the mass formed in each bin, youngest first; rows sum to 1.
    edges_yr : ndarray, shape (n_fine + 1,)
        Edges of the bins of lookback time in yr.
    prior : MetallicityPrior or dict of str to float, optional
        Mixture, or just the weights of its families.

    Returns
    -------
    metallicity_dex : ndarray, shape (n, n_fine)
        [M/H] of the stars formed in each bin, inside `METALLICITY_RANGE_DEX`; where no mass formed
        it continues the relation and means nothing.
    family_index : ndarray of int, shape (n,)
        Position of the family of each history in ``prior.families``.
    """
    if not isinstance(prior, MetallicityPrior):
        prior = MetallicityPrior(prior)
    mass_fraction = np.asarray(mass_fraction, dtype=float)
    edges_yr = np.asarray(edges_yr, dtype=float)
    family_index = choose_families(rng, len(mass_fraction), list(prior.families.values()))
    metallicity_dex = np.empty(mass_fraction.shape)
    for k, family in enumerate(prior.built.values()):
        rows = np.flatnonzero(family_index == k)
        metallicity_dex[rows] = family.draw(rng, mass_fraction[rows], edges_yr)
    return np.clip(metallicity_dex, *METALLICITY_RANGE_DEX, out=metallicity_dex), family_index


def _formed_so_far(mass_fraction):
    """Share of the mass formed up to the middle of each bin, shape (n, n_fine)."""
    formed_later = np.cumsum(mass_fraction, axis=1) - 0.5 * mass_fraction
    return np.clip(1 - formed_later, 0, 1)


def _between(final_dex, rise_dex, progress):
    """[M/H] while Z goes linearly with progress from ``rise_dex`` below the final value up to it."""
    first_z = 10 ** np.maximum(final_dex - rise_dex, METALLICITY_RANGE_DEX[0])
    return np.log10(first_z + (10**final_dex - first_z) * progress)
