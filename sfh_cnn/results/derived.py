"""Quantities that follow from mass fractions and total mass; results and draws share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import SFHCNNError, history, to_plain, to_quantity
from sfh_cnn.core.constants import L_SUN_ERG_S, V_WINDOW_AA

from .quantities import QUANTITIES

if TYPE_CHECKING:
    from sfh_cnn.core import AgeGrid, ModelContract

__all__ = ["RECENT", "DerivedQuantities", "v_luminosity_lsun"]

#: Time over which "recent" star formation is averaged unless said otherwise.
RECENT = 100 * u.Myr

_CM_PER_MPC = u.Mpc.to(u.cm)


def v_luminosity_lsun(v_flux: np.ndarray, redshift: np.ndarray, distance_mpc: np.ndarray) -> np.ndarray:
    """Luminosity in the rest-frame V window, integral of L_lambda over 5070-5950 Angstrom.

    Parameters
    ----------
    v_flux : ndarray, shape (n_spec,)
        Mean observed-frame f_lambda over the rest-frame window, erg/s/cm2/Angstrom.
    redshift, distance_mpc : ndarray, shape (n_spec,)
        Redshift and luminosity distance in Mpc.

    Returns
    -------
    ndarray, shape (n_spec,)
        In units of the Sun's bolometric luminosity (IAU 2015 B3).
    """
    low, high = V_WINDOW_AA
    # f_lambda shrinks by (1 + z) on its way: rest-frame L_lambda = 4 pi D_L^2 (1 + z) f_lambda.
    area_cm2 = 4 * np.pi * (np.asarray(distance_mpc, dtype=float) * _CM_PER_MPC) ** 2
    return area_cm2 * v_flux * (1 + np.asarray(redshift)) * (high - low) / L_SUN_ERG_S


class DerivedQuantities:
    """Mixin of everything computed from mass fractions, surviving fractions and the mass formed.

    The host gives ``contract``, ``_mass_fraction`` and ``_surviving_fraction`` (arrays with the age
    bins last), ``_mass_formed_msun()`` and ``_out(plain, unit)``.
    """

    contract: ModelContract
    _mass_fraction: np.ndarray
    _surviving_fraction: np.ndarray

    def _mass_formed_msun(self) -> np.ndarray:
        raise NotImplementedError

    @property
    def age_grid(self) -> AgeGrid:
        """The age bins, an `~sfh_cnn.core.AgeGrid`."""
        return self.contract.age_grid

    @property
    def mass_formed(self) -> u.Quantity:
        """Total mass formed, M_sun; needs a distance.

        The mass-to-light ratio times L_V, the integral of the observed L_lambda over the rest-frame window
        5070-5950 Angstrom in units of the Sun's bolometric luminosity.
        """
        return self._named("mass_formed", self._mass_formed_msun())

    @property
    def mass_surviving(self) -> u.Quantity:
        """Mass that survives as the stellar library counts it, M_sun: for BC03 living stars alone; needs a distance."""
        return self._named("mass_surviving", self._mass_formed_msun() * self._surviving_share)

    @property
    def sfr(self) -> u.Quantity:
        """Star formation rate of each age bin, M_sun/yr, shape (..., n_age); needs a distance."""
        rate = self._mass_formed_msun()[..., None] * self._mass_fraction / np.diff(self._edges_yr)
        return self._named("sfr", rate)

    def recent_sfr(self, timescale: u.Quantity = RECENT) -> u.Quantity:
        """Mean star formation rate of the last ``timescale``; needs a distance.

        Parameters
        ----------
        timescale : `~astropy.units.Quantity`, optional
            Lookback time to average over; the rate is constant inside a bin.

        Returns
        -------
        `~astropy.units.Quantity`
            M_sun/yr.
        """
        return self._named("recent_sfr", self._mass_formed_msun() * self._recent_rate(timescale))

    def specific_sfr(self, timescale: u.Quantity = RECENT) -> u.Quantity:
        """Mean star formation rate of the last ``timescale`` per surviving stellar mass.

        Parameters
        ----------
        timescale : `~astropy.units.Quantity`, optional
            Lookback time to average over; the rate is constant inside a bin.

        Returns
        -------
        `~astropy.units.Quantity`
            1/yr; needs no distance.
        """
        return self._named("specific_sfr", self._recent_rate(timescale) / self._surviving_share)

    @property
    def cumulative_mass(self) -> u.Quantity:
        """Share of the mass formed before each bin edge, shape (..., n_age + 1): 1 today, 0 at the start."""
        formed = history.cumulative_mass(self._mass_fraction)
        formed[np.isnan(self._mass_fraction).any(axis=-1)] = np.nan  # the oldest edge, too, of a failed spectrum
        return self._named("cumulative_mass", formed)

    def formation_time(self, share: float) -> u.Quantity:
        """Lookback time by which a share of the mass had formed.

        Parameters
        ----------
        share : float
            Between 0 and 1; 0.5 gives t50.

        Returns
        -------
        `~astropy.units.Quantity`
            Gyr of lookback time.

        Raises
        ------
        SFHCNNError
            If ``share`` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise SFHCNNError(f"share must lie between 0 and 1, got {share}")
        return self._named("t50", history.formation_time(self._mass_fraction, self._edges_yr, share) / 1e9)

    @property
    def t50(self) -> u.Quantity:
        """Lookback time at which 50 per cent of the mass had formed, Gyr."""
        return self.formation_time(0.5)

    @property
    def t80(self) -> u.Quantity:
        """Lookback time at which 80 per cent of the mass had formed, Gyr."""
        return self.formation_time(0.8)

    @property
    def t90(self) -> u.Quantity:
        """Lookback time at which 90 per cent of the mass had formed, Gyr."""
        return self.formation_time(0.9)

    @property
    def _edges_yr(self):
        return np.asarray(self.contract.age_edges_yr, dtype=float)

    @property
    def _surviving_share(self):
        return np.sum(self._mass_fraction * self._surviving_fraction, axis=-1)

    def _recent_rate(self, timescale):
        """Share of the mass formed per yr over the last ``timescale``."""
        time_yr = float(to_plain(timescale, u.yr, "timescale"))
        if not time_yr > 0:
            raise SFHCNNError(f"timescale must be positive, got {timescale}")
        return history.recent_fraction(self._mass_fraction, self._edges_yr, time_yr) / time_yr

    def _named(self, name, plain):
        return self._out(plain, QUANTITIES[name].unit)

    def _out(self, plain, unit):
        """Public form: the unit on, and for a single spectrum no leading axis."""
        return to_quantity(plain[0] if self.scalar else plain, unit)
