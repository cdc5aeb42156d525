"""Prior of star formation histories: registered families and mixtures of them.

A family draws the mass formed in fine bins of lookback time. Wherever the mass formed up to a
time has a closed form, bins are differences of it, exact for any binning.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from sfh_cnn.core import AgeGrid

from .gaussian_process import bin_log_ages, rough_noise, smooth_noise
from .mixture import Family, FamilyRegistry, choose_families, log_range, log_uniform, uniform

if TYPE_CHECKING:
    from typing import Any

__all__ = ["DEFAULT", "LOCAL_DISCS", "SFH_FAMILIES", "SFHPrior", "draw_mass_fraction", "register_sfh_family"]

#: All families of star formation histories, built in and registered by users.
SFH_FAMILIES = FamilyRegistry("star formation history")

#: Largest exponent that is handed to exp; from 710 on it overflows.
_MAX_EXPONENT = 700.0

#: ``@register_sfh_family("name")`` on a frozen dataclass with a method
#: ``draw(rng, n, edges_yr) -> (n, n_fine)``: mass formed per bin, youngest first, rows sum to 1.
register_sfh_family = SFH_FAMILIES.register


@register_sfh_family("delayed_tau")
@dataclasses.dataclass(frozen=True)
class DelayedTau(Family):
    """SFR proportional to x exp(-x / tau), with x the time since the start.

    Parameters
    ----------
    start_yr : tuple of float
        Range of the lookback time of the start, even in its square root.
    tau_yr : tuple of float
        Range of tau, even in log.
    """

    start_yr: tuple[float, float] = (2e7, 1.38e10)
    tau_yr: tuple[float, float] = log_range(3e7, 2e10)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        start, tau = _draw_start(rng, self.start_yr, n, edges_yr), log_uniform(rng, self.tau_yr, n)
        return _mass_in_bins(_delayed_tau_formed(edges_yr, start, tau))


@register_sfh_family("exponential")
@dataclasses.dataclass(frozen=True)
class Exponential(Family):
    """SFR proportional to exp(-x / tau) or, rising, exp(x / tau).

    Parameters
    ----------
    start_yr : tuple of float
        Range of the lookback time of the start, even in its square root.
    tau_yr : tuple of float
        Range of tau, even in log.
    rising_share : float
        Share of rising histories.
    """

    start_yr: tuple[float, float] = (2e7, 1.38e10)
    tau_yr: tuple[float, float] = log_range(1e8, 2e10)
    rising_share: float = 0.4

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        start, tau = _draw_start(rng, self.start_yr, n, edges_yr), log_uniform(rng, self.tau_yr, n)
        rate = np.where(rng.random((n, 1)) < self.rising_share, -1, 1) / tau
        elapsed = _elapsed(edges_yr, start)
        with np.errstate(over="ignore", invalid="ignore"):  # of the branch that is not taken
            formed = np.expm1(-rate * elapsed) / np.expm1(-rate * start)
            # Rising over hundreds of e-folding times, where both overflow, their ratio is one exponential.
            formed = np.where(-rate * start > _MAX_EXPONENT, np.exp(-rate * (elapsed - start)), formed)
        return _mass_in_bins(formed)


@register_sfh_family("constant")
@dataclasses.dataclass(frozen=True)
class Constant(Family):
    """Constant SFR from the start until now.

    Parameters
    ----------
    start_yr : tuple of float
        Range of the lookback time of the start, even in its square root.
    """

    start_yr: tuple[float, float] = (1e7, 1.38e10)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        start = _draw_start(rng, self.start_yr, n, edges_yr)
        return _mass_in_bins(_elapsed(edges_yr, start) / start)


@register_sfh_family("quenched")
@dataclasses.dataclass(frozen=True)
class Quenched(Family):
    """Delayed tau until it is quenched; from then on the SFR falls exponentially.

    Parameters
    ----------
    start_yr, tau_yr : tuple of float
        As in `DelayedTau`.
    quench_share : tuple of float
        Range of the lookback time of quenching in units of the start, even in log.
    quench_tau_yr : tuple of float
        Range of the e-folding time after quenching, even in log.
    """

    start_yr: tuple[float, float] = (5e7, 1.38e10)
    tau_yr: tuple[float, float] = log_range(3e8, 3e10)
    quench_share: tuple[float, float] = log_range(0.003, 0.9)
    quench_tau_yr: tuple[float, float] = log_range(3e6, 1e9)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        start, tau = _draw_start(rng, self.start_yr, n, edges_yr), log_uniform(rng, self.tau_yr, n)
        quench = start * log_uniform(rng, self.quench_share, n)
        quench_tau = log_uniform(rng, self.quench_tau_yr, n)
        active = (start - quench) / tau
        # In units of the mass that an unquenched history forms in infinite time.
        before = _delayed_tau_mass(_elapsed(np.maximum(edges_yr, quench), start) / tau)
        sfr_at_quench = active * np.exp(-active) / tau
        after = -sfr_at_quench * quench_tau * np.expm1(-_elapsed(edges_yr, quench) / quench_tau)
        formed = before + after
        return _mass_in_bins(formed / formed[:, :1])


@register_sfh_family("recent_change")
@dataclasses.dataclass(frozen=True)
class RecentChange(Family):
    """Delayed tau whose SFR is multiplied by a factor since a recent time: a dip or a revival.

    Parameters
    ----------
    start_yr, tau_yr : tuple of float
        As in `DelayedTau`.
    change_yr : tuple of float
        Range of the lookback time of the change, even in log.
    factor : tuple of float
        Range of the factor, even in log.
    """

    start_yr: tuple[float, float] = (1e9, 1.38e10)
    tau_yr: tuple[float, float] = log_range(5e8, 3e10)
    change_yr: tuple[float, float] = log_range(1e7, 2e9)
    factor: tuple[float, float] = log_range(0.01, 30.0)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        start, tau = _draw_start(rng, self.start_yr, n, edges_yr), log_uniform(rng, self.tau_yr, n)
        change, factor = log_uniform(rng, self.change_yr, n), log_uniform(rng, self.factor, n)
        until_change = _delayed_tau_formed(change, start, tau)
        formed = _delayed_tau_formed(edges_yr, start, tau)
        formed = np.where(edges_yr >= change, formed, until_change + factor * (formed - until_change))
        return _mass_in_bins(formed / formed[:, :1])


@register_sfh_family("burst_on_top")
@dataclasses.dataclass(frozen=True)
class BurstOnTop(Family):
    """Delayed tau with one to three bursts of constant SFR on top.

    Parameters
    ----------
    start_yr, tau_yr : tuple of float
        As in `DelayedTau`.
    burst_age_yr : tuple of float
        Range of the lookback time at which a burst began, even in log.
    burst_duration_yr : tuple of float
        Range of its duration, even in log; a burst has ended by now at the latest.
    burst_share : tuple of float
        Range of the mass share of all bursts together, even in log.
    """

    start_yr: tuple[float, float] = (1e9, 1.38e10)
    tau_yr: tuple[float, float] = log_range(1e8, 2e10)
    burst_age_yr: tuple[float, float] = log_range(3e6, 5e9)
    burst_duration_yr: tuple[float, float] = log_range(3e6, 5e8)
    burst_share: tuple[float, float] = log_range(0.003, 0.8)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        start, tau = _draw_start(rng, self.start_yr, n, edges_yr), log_uniform(rng, self.tau_yr, n)
        total_share = log_uniform(rng, self.burst_share, n)
        # Exponential variates over their sum split the mass evenly over all ways to share it.
        part = rng.standard_exponential((n, 3)) * (np.arange(3) < rng.integers(1, 4, (n, 1)))
        share = total_share * part / part.sum(axis=1, keepdims=True)
        formed = (1 - total_share) * _delayed_tau_formed(edges_yr, start, tau)
        for k in range(3):
            age = np.minimum(log_uniform(rng, self.burst_age_yr, n), edges_yr[-1])
            duration = np.minimum(log_uniform(rng, self.burst_duration_yr, n), age)
            formed += share[:, k : k + 1] * np.clip((age - edges_yr) / duration, 0, 1)
        return _mass_in_bins(formed)


@register_sfh_family("two_component")
@dataclasses.dataclass(frozen=True)
class TwoComponent(Family):
    """An old and a young delayed tau together, such as a bulge and a disc or a rejuvenated galaxy.

    Parameters
    ----------
    old_start_yr, young_start_yr : tuple of float
        Ranges of the lookback times of the starts, even in their square root.
    old_tau_yr, young_tau_yr : tuple of float
        Ranges of tau, even in log.
    young_share : tuple of float
        Range of the mass share of the young component, even in log.
    """

    old_start_yr: tuple[float, float] = (3e9, 1.38e10)
    old_tau_yr: tuple[float, float] = log_range(5e7, 2e9)
    young_start_yr: tuple[float, float] = (1e7, 5e9)
    young_tau_yr: tuple[float, float] = log_range(3e7, 2e10)
    young_share: tuple[float, float] = log_range(0.003, 0.95)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        old_start, old_tau = _draw_start(rng, self.old_start_yr, n, edges_yr), log_uniform(rng, self.old_tau_yr, n)
        start, tau = _draw_start(rng, self.young_start_yr, n, edges_yr), log_uniform(rng, self.young_tau_yr, n)
        share = log_uniform(rng, self.young_share, n)
        old, young = _delayed_tau_formed(edges_yr, old_start, old_tau), _delayed_tau_formed(edges_yr, start, tau)
        return _mass_in_bins((1 - share) * old + share * young)


@register_sfh_family("double_peaked")
@dataclasses.dataclass(frozen=True)
class DoublePeaked(Family):
    """Two episodes, each log-normal in lookback time and cut at the oldest edge.

    Parameters
    ----------
    peak_log_age : tuple of float
        Range of log10(lookback time/yr) of a peak, even; a peak lies at the oldest edge at the latest.
    old_log_age : tuple of float
        The same of the first peak of histories whose first stars are old.
    old_share : float
        Share of such histories: hardly a galaxy has no old stars, however little is seen of them.
    width_dex : tuple of float
        Range of its standard deviation in log lookback time, even in log.
    share : tuple of float
        Range of the mass share of the first peak, even.
    """

    peak_log_age: tuple[float, float] = (6.7, 10.1)
    old_log_age: tuple[float, float] = (9.5, 10.139)
    old_share: float = 0.7
    width_dex: tuple[float, float] = log_range(0.03, 0.3)
    share: tuple[float, float] = (0.03, 0.97)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        share = uniform(rng, self.share, n)
        with np.errstate(divide="ignore"):
            log_edges = np.log10(edges_yr)  # -inf at 0, where the normal distribution is 0
        old = rng.random((n, 1)) < self.old_share
        first = np.where(old, uniform(rng, self.old_log_age, n), uniform(rng, self.peak_log_age, n))
        mass = 0.0
        for part, peak in ((share, first), (1 - share, uniform(rng, self.peak_log_age, n))):
            width = log_uniform(rng, self.width_dex, n)
            later = ndtr((log_edges - np.minimum(peak, log_edges[-1])) / width)
            mass = mass + part * np.diff(later, axis=1) / later[:, -1:]
        return mass


@register_sfh_family("stochastic")
@dataclasses.dataclass(frozen=True)
class Stochastic(Family):
    """Delayed tau times a log-normal process: log SFR scatters in log lookback time.

    Parameters
    ----------
    start_yr, tau_yr : tuple of float
        As in `DelayedTau`.
    scatter_dex : tuple of float
        Range of the standard deviation of log10 SFR, even in log.
    length_dex : tuple of float
        Range of the correlation length in log10 lookback time, even in log.
    rough_share : float
        Share of histories that scatter as a damped random walk (the slope 2 of Caplar & Tacchella 2019,
        MNRAS 487, 3845; there in time, here in its log); the others are smooth (Matern-3/2 kernel).
    """

    start_yr: tuple[float, float] = (1e8, 1.38e10)
    tau_yr: tuple[float, float] = log_range(3e8, 3e10)
    scatter_dex: tuple[float, float] = log_range(0.15, 1.0)
    length_dex: tuple[float, float] = log_range(0.1, 1.0)
    rough_share: float = 0.5

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        rough, log_age = rng.random(n) < self.rough_share, bin_log_ages(edges_yr)
        start, tau = _draw_start(rng, self.start_yr, n, edges_yr), log_uniform(rng, self.tau_yr, n)
        scatter, length = log_uniform(rng, self.scatter_dex, n), log_uniform(rng, self.length_dex, n)
        noise = np.empty((n, log_age.size))
        for draw, rows in ((rough_noise, rough), (smooth_noise, ~rough)):
            noise[rows] = draw(rng, log_age, length[rows, 0])
        mass = _mass_in_bins(_delayed_tau_formed(edges_yr, start, tau)) * 10 ** (scatter * noise)
        return mass / mass.sum(axis=1, keepdims=True)


@register_sfh_family("dirichlet")
@dataclasses.dataclass(frozen=True)
class Dirichlet(Family):
    """Independent mass shares in the 16 default age bins, constant SFR inside a bin.

    Parameters
    ----------
    concentration : tuple of float
        Range of the mean concentration per bin, even in log: small values leave few bins filled.
    width_power : tuple of float
        Range of the power p, even: the expected mass of a bin goes as its width in time to the
        power p; 0 is equal mass per bin, 1 a constant SFR.
    """

    concentration: tuple[float, float] = log_range(0.15, 3.0)
    width_power: tuple[float, float] = (0.0, 0.6)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        coarse = AgeGrid.default().edges_yr
        expected = np.diff(coarse) ** uniform(rng, self.width_power, n)
        expected *= log_uniform(rng, self.concentration, n) / expected.mean(axis=1, keepdims=True)
        share = rng.standard_gamma(expected)
        share /= share.sum(axis=1, keepdims=True)
        formed_later = np.concatenate([np.zeros((n, 1)), np.cumsum(share, axis=1)], axis=1)
        # Linear interpolation of the cumulative mass is a constant SFR inside each bin.
        bin_of = np.clip(np.searchsorted(coarse, edges_yr, side="right") - 1, 0, coarse.size - 2)
        part = np.clip((edges_yr - coarse[bin_of]) / np.diff(coarse)[bin_of], 0, 1)
        later = formed_later[:, bin_of] + part * share[:, bin_of]
        return np.diff(later, axis=1) / later[:, -1:]


@register_sfh_family("single_burst")
@dataclasses.dataclass(frozen=True)
class SingleBurst(Family):
    """One burst of constant SFR, short for its age.

    Parameters
    ----------
    log_age : tuple of float
        Range of log10(lookback time/yr) at which the burst began, even.
    duration_share : tuple of float
        Range of the duration in units of that time, even in log.
    """

    log_age: tuple[float, float] = (6.5, 10.139)
    duration_share: tuple[float, float] = log_range(0.02, 0.3)

    def draw(self, rng, n, edges_yr):
        """Mass formed per bin, shape (n, n_fine)."""
        age = np.minimum(10 ** uniform(rng, self.log_age, n), edges_yr[-1])
        duration = age * log_uniform(rng, self.duration_share, n)
        return _mass_in_bins(np.clip((age - edges_yr) / duration, 0, 1))


@dataclasses.dataclass(frozen=True)
class SFHPrior:
    """Mixture of families of star formation histories.

    Parameters
    ----------
    families : dict of str to float
        Weight of each family, not normalised. The default weights are nearly even: less for constant
        SFR, a limit of the exponentials, and for Dirichlet, whose jumps are the least like galaxies.
        Single bursts and double peaks, even in log age, fill in the youngest mean ages.
    parameters : dict of str to dict
        Parameters of families that differ from their defaults.

    Raises
    ------
    SFHCNNError
        If a family or parameter is unknown or the weights cannot be normalised.

    Examples
    --------
    >>> import numpy as np
    >>> from sfh_cnn.core import AgeGrid
    >>> from sfh_cnn.synthesis.sfh_prior import SFHPrior, draw_mass_fraction
    >>> prior = SFHPrior({"constant": 1}, {"constant": {"start_yr": (1e10, 1e10)}})
    >>> mass, family = draw_mass_fraction(np.random.default_rng(1), 1, AgeGrid.default().edges_yr, prior)
    >>> print(mass[0, :3].round(5))
    [0.001   0.00062 0.001  ]
    """

    families: dict[str, float] = dataclasses.field(
        default_factory=lambda: {
            "delayed_tau": 0.09,
            "exponential": 0.09,
            "constant": 0.04,
            "quenched": 0.10,
            "recent_change": 0.07,
            "burst_on_top": 0.13,
            "two_component": 0.10,
            "double_peaked": 0.13,
            "stochastic": 0.10,
            "dirichlet": 0.07,
            "single_burst": 0.08,
        }
    )
    parameters: dict[str, dict] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _ = self.built  # a wrong name is an error here, not in the middle of a long run

    @functools.cached_property
    def built(self) -> dict[str, Any]:
        """The families themselves, name to object, in the order of ``families``."""
        return SFH_FAMILIES.build(self.families, self.parameters)


#: Broad mixture: light-weighted mean log age close to even from 7 to 10.1, mass-weighted with more above 8.5.
DEFAULT = SFHPrior()

_DISC = {"start_yr": (8e9, 1.35e10), "tau_yr": (2e9, 3e10)}

#: Nearby spiral discs such as those of PHANGS: smooth, extended, begun 8-13.5 Gyr ago, with mild
#: recent ups and downs and old bulges.
LOCAL_DISCS = SFHPrior(
    families={
        "delayed_tau": 0.25,
        "exponential": 0.15,
        "constant": 0.05,
        "recent_change": 0.15,
        "burst_on_top": 0.10,
        "two_component": 0.15,
        "stochastic": 0.15,
    },
    parameters={
        "delayed_tau": _DISC | {"tau_yr": (1.5e9, 3e10)},
        "exponential": _DISC | {"rising_share": 0.25},
        "constant": {"start_yr": _DISC["start_yr"]},
        "recent_change": _DISC | {"change_yr": (3e7, 1e9), "factor": (0.25, 3.0)},
        "burst_on_top": _DISC
        | {
            "burst_age_yr": (1e7, 1e9),
            "burst_duration_yr": (1e7, 3e8),
            "burst_share": (0.002, 0.05),
        },
        "two_component": {
            "old_start_yr": (1e10, 1.35e10),
            "old_tau_yr": (1e8, 1e9),
            "young_start_yr": (3e9, 1e10),
            "young_tau_yr": (1e9, 3e10),
            "young_share": (0.1, 0.95),
        },
        "stochastic": _DISC | {"scatter_dex": (0.1, 0.3), "length_dex": (0.2, 1.0)},
    },
)


def draw_mass_fraction(
    rng: np.random.Generator, n: int, edges_yr: np.ndarray, prior: SFHPrior | dict[str, float] = DEFAULT
) -> tuple[np.ndarray, np.ndarray]:
    """Draw star formation histories from a mixture of families.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness; the same state gives the same histories.
    n : int
        Number of histories.
    edges_yr : ndarray, shape (n_fine + 1,)
        Edges of the bins of lookback time in yr, youngest first, from 0 to the oldest age.
    prior : SFHPrior or dict of str to float, optional
        Mixture, or just the weights of its families.

    Returns
    -------
    mass_fraction : ndarray, shape (n, n_fine)
        Share of the mass formed in each bin; rows sum to 1.
    family_index : ndarray of int, shape (n,)
        Position of the family of each history in ``prior.families``.
    """
    if not isinstance(prior, SFHPrior):
        prior = SFHPrior(prior)
    edges_yr = np.asarray(edges_yr, dtype=float)
    family_index = choose_families(rng, n, list(prior.families.values()))
    mass_fraction = np.empty((n, edges_yr.size - 1))
    for k, family in enumerate(prior.built.values()):
        rows = np.flatnonzero(family_index == k)
        mass_fraction[rows] = family.draw(rng, rows.size, edges_yr)
    return mass_fraction, family_index


def _draw_start(rng, bounds, n, edges_yr):
    """Lookback times of the start, even in their square root: between even in time and even in log."""
    return np.minimum(rng.uniform(*np.sqrt(bounds), size=(n, 1)) ** 2, edges_yr[-1])


def _elapsed(age_yr, start):
    """Time since the start at a lookback time; 0 before the start."""
    return np.maximum(start - age_yr, 0)


def _delayed_tau_mass(x):
    """Integral of x exp(-x), the mass formed by a delayed tau model in x e-folding times."""
    return -np.expm1(-x) - x * np.exp(-x)


def _delayed_tau_formed(age_yr, start, tau):
    """Share of the mass of a delayed tau model that formed before a lookback time."""
    return _delayed_tau_mass(_elapsed(age_yr, start) / tau) / _delayed_tau_mass(start / tau)


def _mass_in_bins(formed):
    """Mass per bin from the share formed before each edge, shape (n, n_fine + 1)."""
    return formed[:, :-1] - formed[:, 1:]
