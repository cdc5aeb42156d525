"""WavelengthGrid: the rest-frame pixels of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from .exceptions import SFHCNNError
from .units import to_quantity

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["WavelengthGrid", "pixel_edges"]


def pixel_edges(wave_aa: ArrayLike) -> np.ndarray:
    """Edges of pixels whose centres are known: half way between neighbours, the end pixels symmetric.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Pixel centres, strictly increasing, at least two.

    Returns
    -------
    ndarray, shape (n_wave + 1,)
        Pixel edges, in the unit of ``wave_aa``.

    Raises
    ------
    SFHCNNError
        If there are fewer than two pixels or they do not increase.
    """
    wave_aa = np.asarray(wave_aa, dtype=float)
    if wave_aa.ndim != 1 or len(wave_aa) < 2 or not np.all(np.diff(wave_aa) > 0):
        raise SFHCNNError("wavelengths must be one-dimensional, finite, strictly increasing and at least two")
    middle = 0.5 * (wave_aa[1:] + wave_aa[:-1])
    return np.concatenate([[2 * wave_aa[0] - middle[0]], middle, [2 * wave_aa[-1] - middle[-1]]])


class WavelengthGrid:
    """Linear rest-frame wavelength pixels in air.

    Parameters
    ----------
    start_aa : float
        Centre of the first pixel in Angstrom.
    step_aa : float
        Pixel width in Angstrom.
    n_wave : int
        Number of pixels.

    Raises
    ------
    SFHCNNError
        If start or step is not positive or there are fewer than two pixels.
    """

    def __init__(self, start_aa: float, step_aa: float, n_wave: int) -> None:
        if not (start_aa > 0 and step_aa > 0 and n_wave >= 2):
            raise SFHCNNError(
                f"a wavelength grid needs start > 0, step > 0 and n_wave >= 2, got {start_aa}, {step_aa}, {n_wave}"
            )
        self.start_aa = float(start_aa)
        self.step_aa = float(step_aa)
        self.n_wave = int(n_wave)

    @property
    def wave_aa(self) -> np.ndarray:
        """Pixel centres in Angstrom, plain array of shape (n_wave,)."""
        return self.start_aa + self.step_aa * np.arange(self.n_wave)

    @property
    def edges_aa(self) -> np.ndarray:
        """Pixel edges in Angstrom, plain array of shape (n_wave + 1,)."""
        return self.start_aa + self.step_aa * (np.arange(self.n_wave + 1) - 0.5)

    @property
    def wavelength(self) -> u.Quantity:
        """Pixel centres as a Quantity, shape (n_wave,)."""
        return to_quantity(self.wave_aa, u.AA)

    def __eq__(self, other):
        return isinstance(other, WavelengthGrid) and (
            (self.start_aa, self.step_aa, self.n_wave) == (other.start_aa, other.step_aa, other.n_wave)
        )

    def __hash__(self):
        return hash((self.start_aa, self.step_aa, self.n_wave))

    def __repr__(self):
        edges = self.edges_aa
        return f"<WavelengthGrid: {self.n_wave} pixels of {self.step_aa:g} Angstrom, {edges[0]:g}-{edges[-1]:g}, air>"
