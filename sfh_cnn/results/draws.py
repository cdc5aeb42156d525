"""SFHDraws: joint posterior draws, with every derived quantity computed draw by draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import history
from sfh_cnn.core.constants import LOG_RECENT_FLOOR, RECENT_YR

from .derived import DerivedQuantities, v_luminosity_lsun

if TYPE_CHECKING:
    import astropy.units as u

    from sfh_cnn.core import AgeGrid, ModelContract

    from .sfh_result import SFHResult

__all__ = ["DRAW_KEYS", "INTERVAL_DRAWS", "INTERVAL_SEED", "SFHDraws", "draw_scalars"]

#: What an engine returns from ``draw`` and a file stores.
DRAW_KEYS = (
    "mass_fraction",
    "light_fraction",
    "metallicity",
    "a_v",
    "log_mass_to_light",
    "log_mass_to_light_attenuated",
)

#: Draws behind intervals that have no stored quantiles, and the seed that makes them repeatable.
INTERVAL_DRAWS = 500
INTERVAL_SEED = 0


def draw_scalars(age_grid: AgeGrid, draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What follows from each draw of what the network also predicts by itself, but for kinematics.

    Parameters
    ----------
    age_grid : `~sfh_cnn.core.AgeGrid`
        Bins of the draws.
    draws : dict of ndarray
        ``mass_fraction``, ``light_fraction``, ``metallicity`` (n_spec, n_draws, n_age), ``a_v``,
        ``log_mass_to_light``, ``log_mass_to_light_attenuated`` (n_spec, n_draws).

    Returns
    -------
    dict of ndarray
        By the names in ``SCALAR_NAMES``, (n_spec, n_draws).
    """
    mass, light, metallicity = (draws[key] for key in ("mass_fraction", "light_fraction", "metallicity"))
    log_age = age_grid.log_ages_dex
    recent = history.recent_fraction(mass, age_grid.edges_yr, RECENT_YR)
    return {
        "mass_weighted_log_age": history.mean_log_age(mass, log_age),
        "light_weighted_log_age": history.mean_log_age(light, log_age),
        "mass_weighted_metallicity": history.mean_metallicity(mass, metallicity),
        "light_weighted_metallicity": history.mean_metallicity(light, metallicity),
        "a_v": draws["a_v"],
        "log_mass_to_light": draws["log_mass_to_light"],
        "log_mass_to_light_attenuated": draws["log_mass_to_light_attenuated"],
        "log_recent_fraction": np.log10(np.maximum(recent, 10**LOG_RECENT_FLOOR)),
    }


class SFHDraws(DerivedQuantities):
    """Joint draws from the posterior of one or many spectra.

    The names are those of `SFHResult`; shapes gain an axis of draws after the spectra: ``mass_fraction``
    is (n_spec, n_draws, n_age), ``a_v`` is (n_spec, n_draws), and a single spectrum has no first axis.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Grids, bands and IMF.
    arrays : dict
        Plain arrays named as in ``DRAW_KEYS``.
    host : `SFHResult`
        The result drawn from: its light, distance, redshift and surviving fractions are common to all draws.
    """

    def __init__(self, contract: ModelContract, arrays: dict[str, np.ndarray], host: SFHResult) -> None:
        self.contract = contract
        self.scalar = host.scalar
        self._arrays = {key: np.asarray(arrays[key]) for key in DRAW_KEYS}
        self._host = host
        self._mass_fraction = self._arrays["mass_fraction"]
        self._surviving_fraction = host.arrays["surviving_fraction"][:, None, :]

    @property
    def n_draws(self) -> int:
        """Number of draws per spectrum."""
        return self._mass_fraction.shape[1]

    @property
    def mass_fraction(self) -> u.Quantity:
        """Share of the mass formed in each age bin."""
        return self._named("mass_fraction", self._mass_fraction)

    @property
    def light_fraction(self) -> u.Quantity:
        """Share of the dust-free V light from each age bin."""
        return self._named("light_fraction", self._arrays["light_fraction"])

    @property
    def metallicity(self) -> u.Quantity:
        """[M/H] of each age bin, dex."""
        return self._named("metallicity", self._arrays["metallicity"])

    @property
    def a_v(self) -> u.Quantity:
        """Attenuation in V, mag."""
        return self._named("a_v", self._arrays["a_v"])

    @property
    def mass_weighted_log_age(self) -> u.Quantity:
        """Mean log10(age/yr) weighted by mass formed."""
        return self._named("mass_weighted_log_age", self._mean_log_age("mass_fraction"))

    @property
    def light_weighted_log_age(self) -> u.Quantity:
        """Mean log10(age/yr) weighted by V light."""
        return self._named("light_weighted_log_age", self._mean_log_age("light_fraction"))

    @property
    def mass_weighted_age(self) -> u.Quantity:
        """10 to the mass-weighted mean log age, Gyr."""
        return self._named("mass_weighted_age", 10 ** (self._mean_log_age("mass_fraction") - 9))

    @property
    def light_weighted_age(self) -> u.Quantity:
        """10 to the light-weighted mean log age, Gyr."""
        return self._named("light_weighted_age", 10 ** (self._mean_log_age("light_fraction") - 9))

    @property
    def mass_weighted_metallicity(self) -> u.Quantity:
        """Mean [M/H] weighted by mass formed, dex."""
        return self._named("mass_weighted_metallicity", self._mean_metallicity("mass_fraction"))

    @property
    def light_weighted_metallicity(self) -> u.Quantity:
        """Mean [M/H] weighted by V light, dex."""
        return self._named("light_weighted_metallicity", self._mean_metallicity("light_fraction"))

    @property
    def mass_to_light(self) -> u.Quantity:
        """Mass formed per dust-free V luminosity, M_sun/L_sun."""
        return self._named("mass_to_light", 10 ** self._arrays["log_mass_to_light"])

    @property
    def mass_to_light_attenuated(self) -> u.Quantity:
        """Mass formed per observed V luminosity, M_sun/L_sun."""
        return self._named("mass_to_light_attenuated", 10 ** self._arrays["log_mass_to_light_attenuated"])

    @property
    def recent_fraction(self) -> u.Quantity:
        """Share of the mass formed in the last 100 Myr."""
        return self._named("recent_fraction", history.recent_fraction(self._mass_fraction, self._edges_yr, RECENT_YR))

    def __len__(self):
        return self.n_draws

    def __repr__(self):
        spectra = "1 spectrum" if self.scalar else f"{len(self._mass_fraction)} spectra"
        return f"<SFHDraws: {self.n_draws} draws for {spectra}; the same names as SFHResult>"

    def _mean_log_age(self, weight):
        return history.mean_log_age(self._arrays[weight], self.age_grid.log_ages_dex)

    def _mean_metallicity(self, weight):
        return history.mean_metallicity(self._arrays[weight], self._arrays["metallicity"])

    def _mass_formed_msun(self):
        self._host.check_distance()
        host = self._host.arrays
        luminosity_lsun = v_luminosity_lsun(host["v_flux"], host["redshift"], host["distance_mpc"])
        return 10 ** self._arrays["log_mass_to_light_attenuated"] * luminosity_lsun[:, None]
