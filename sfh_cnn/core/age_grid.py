"""AgeGrid: the bins of lookback time, youngest first."""

from __future__ import annotations

import astropy.units as u
import numpy as np

from .constants import DEFAULT_AGE_RANGE_YR, DEFAULT_N_AGE
from .exceptions import SFHCNNError
from .units import DEX_LOG_AGE, to_plain, to_quantity

__all__ = ["AgeGrid"]


class AgeGrid:
    """Bins of lookback time, youngest first.

    Parameters
    ----------
    edges : `~astropy.units.Quantity`, shape (n_age + 1,)
        Bin edges in time units, strictly increasing, the first one 0 or larger.

    Raises
    ------
    SFHCNNError
        If the edges are not increasing, negative or fewer than two.

    Examples
    --------
    >>> from sfh_cnn import AgeGrid
    >>> grid = AgeGrid.default()
    >>> grid.n_age
    16
    >>> print(grid.edges[:3].to("Myr").round(1))
    [ 0.  10.  16.2] Myr
    """

    def __init__(self, edges: u.Quantity) -> None:
        edges_yr = to_plain(edges, u.yr, "edges")
        if edges_yr.ndim != 1 or edges_yr.size < 2:
            raise SFHCNNError(f"edges needs at least two ages in one dimension, got shape {edges_yr.shape}")
        if not np.all(np.isfinite(edges_yr)) or edges_yr[0] < 0 or np.any(np.diff(edges_yr) <= 0):
            raise SFHCNNError("edges must be finite, not negative and strictly increasing (youngest first)")
        self._edges_yr = edges_yr

    @classmethod
    def default(cls) -> AgeGrid:
        """The 16 default bins: 0-10 Myr, then 15 steps of 0.2093 dex to 13.8 Gyr."""
        low, high = np.log10(DEFAULT_AGE_RANGE_YR)
        return cls(np.concatenate([[0.0], np.logspace(low, high, DEFAULT_N_AGE)]) * u.yr)

    @property
    def edges_yr(self) -> np.ndarray:
        """Bin edges in yr, plain array of shape (n_age + 1,)."""
        return self._edges_yr.copy()

    @property
    def n_age(self) -> int:
        """Number of bins."""
        return self._edges_yr.size - 1

    @property
    def edges(self) -> u.Quantity:
        """Bin edges as a Quantity, shape (n_age + 1,)."""
        return to_quantity(self.edges_yr, u.yr)

    @property
    def widths(self) -> u.Quantity:
        """Bin widths as a Quantity in yr, shape (n_age,)."""
        return to_quantity(np.diff(self._edges_yr), u.yr)

    @property
    def log_ages_dex(self) -> np.ndarray:
        """Mean of log10(age/yr) over each bin at constant SFR, plain array of shape (n_age,).

        The integral of log10(t) dt is t (log10(t) - log10(e)), so that the youngest bin, which
        starts at 0, has a finite mean: log10(upper edge) - 0.434.
        """
        edges = self._edges_yr
        integral = np.zeros_like(edges)
        positive = edges > 0
        integral[positive] = edges[positive] * (np.log10(edges[positive]) - np.log10(np.e))
        return np.diff(integral) / np.diff(edges)

    @property
    def log_ages(self) -> u.Quantity:
        """Representative log age of each bin as a Quantity in dex(yr), shape (n_age,)."""
        return to_quantity(self.log_ages_dex, DEX_LOG_AGE)

    @property
    def centers(self) -> u.Quantity:
        """Age at the representative log age of each bin, Quantity in yr, shape (n_age,)."""
        return to_quantity(10**self.log_ages_dex, u.yr)

    def rebin_matrix(self, other: AgeGrid) -> np.ndarray:
        """Matrix that adds fractions in these bins up in the bins of ``other``.

        Bins that straddle an edge are split in proportion to time (constant SFR inside a bin).

        Parameters
        ----------
        other : AgeGrid
            Bins to go to.

        Returns
        -------
        ndarray, shape (n_age, other.n_age)
            ``fraction @ matrix`` are the fractions in ``other``; a row sums to 1 where ``other``
            covers the bin.
        """
        low = np.maximum(self._edges_yr[:-1, None], other._edges_yr[None, :-1])
        high = np.minimum(self._edges_yr[1:, None], other._edges_yr[None, 1:])
        return np.clip(high - low, 0, None) / np.diff(self._edges_yr)[:, None]

    def rebin(self, fraction: np.ndarray, other: AgeGrid) -> np.ndarray:
        """Fractions in the bins of ``other``.

        Parameters
        ----------
        fraction : ndarray, shape (..., n_age)
            Fractions in these bins.
        other : AgeGrid
            Bins to go to; they must span the same or a wider range of ages.

        Returns
        -------
        ndarray, shape (..., other.n_age)

        Raises
        ------
        SFHCNNError
            If ``other`` does not cover these bins, for then mass would be lost.
        """
        if other._edges_yr[0] > self._edges_yr[0] or other._edges_yr[-1] < self._edges_yr[-1] * (1 - 1e-9):
            raise SFHCNNError(
                f"the new bins span {other._edges_yr[0]:.3g}-{other._edges_yr[-1]:.3g} yr and would lose mass "
                f"of bins spanning {self._edges_yr[0]:.3g}-{self._edges_yr[-1]:.3g} yr"
            )
        return np.asarray(fraction) @ self.rebin_matrix(other)

    def __eq__(self, other):
        return isinstance(other, AgeGrid) and np.array_equal(self._edges_yr, other._edges_yr)

    def __hash__(self):
        return hash(self._edges_yr.tobytes())

    def __len__(self):
        return self.n_age

    def __repr__(self):
        low, high = self._edges_yr[[0, -1]] / 1e9
        return f"<AgeGrid: {self.n_age} bins, {low:g}-{high:g} Gyr of lookback time>"
