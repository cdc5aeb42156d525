"""Line spread, velocity dispersion and pixel integration as one sparse operator.

The operator integrates a spectrum, known in narrow cells, after a Gaussian broadening whose width may
change with wavelength, over the pixels of a grid. It is exact for a flux that is constant inside a cell,
for any width down to zero, and conserves flux: what leaves a pixel arrives in its neighbour.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import ndtr

from sfh_cnn.core.constants import C_KMS

__all__ = ["broadening_operator", "smoothing_operator"]

#: Gaussians are cut at this many standard deviations (6e-6 of the flux lies beyond).
_CUT_SIGMA = 4.5
#: Narrower than this, in Angstrom, a Gaussian is treated as a step (avoids dividing by zero).
_MIN_SIGMA_AA = 1e-3


def _ramp(x):
    """Integral of the normal distribution function: x Phi(x) + phi(x)."""
    return x * ndtr(x) + np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def broadening_operator(
    source_wave_aa: np.ndarray, edges_aa: np.ndarray, sigma_aa: np.ndarray | float, velocity_kms: float = 0.0
) -> csr_matrix:
    """Sparse matrix from narrow cells to the pixels of a grid.

    Parameters
    ----------
    source_wave_aa : ndarray, shape (n_source,)
        Centres of evenly spaced cells, Angstrom.
    edges_aa : ndarray, shape (n_wave + 1,)
        Pixel edges, Angstrom; the cells must reach beyond them by a few sigma.
    sigma_aa : ndarray, shape (n_wave + 1,) or float
        Standard deviation of the broadening at the pixel edges, Angstrom.
    velocity_kms : float, optional
        Doppler shift of the source, km/s (positive to the red).

    Returns
    -------
    scipy.sparse.csr_matrix, shape (n_wave, n_source), float32
        ``matrix @ flux`` is the mean flux density in each pixel; rows sum to 1.
    """
    stretch = 1.0 + velocity_kms / C_KMS
    step = (source_wave_aa[1] - source_wave_aa[0]) * stretch
    first = (source_wave_aa[0]) * stretch - step / 2  # left edge of the first cell, observed
    # A cell already spreads its flux evenly over its width, which has a variance of step^2 / 12.
    variance = np.broadcast_to(np.square(sigma_aa, dtype=float), np.shape(edges_aa)) - step**2 / 12
    sigma = np.sqrt(np.maximum(variance, _MIN_SIGMA_AA**2))
    n_source = len(source_wave_aa)
    reach = int(np.ceil((_CUT_SIGMA * sigma.max() + (edges_aa[1] - edges_aa[0])) / step)) + 2
    start = np.floor((edges_aa[:-1] - first) / step).astype(int) - reach  # first cell of each row
    offset = np.arange(2 * reach + 3)

    def passed(edges, sigma):
        """Share of each cell's flux that lies blueward of a pixel edge, (n_wave, n_cell)."""
        cell_edge = first + step * (start[:, None] + np.arange(len(offset) + 1))
        ramp = _ramp((edges[:, None] - cell_edge) / sigma[:, None]) * sigma[:, None]
        return (ramp[:, :-1] - ramp[:, 1:]) / step

    weight = (passed(edges_aa[1:], sigma[1:]) - passed(edges_aa[:-1], sigma[:-1])) * step
    weight /= np.diff(edges_aa)[:, None]
    # Cells beyond the ends of the source do not exist; the rows are normalised over what is there.
    column = start[:, None] + offset
    weight[(column < 0) | (column >= n_source)] = 0.0
    weight[np.abs(weight) < 1e-9] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    row_start = np.arange(len(start) + 1) * len(offset)
    matrix = csr_matrix(
        (weight.astype(np.float32).ravel(), np.clip(column, 0, n_source - 1).ravel(), row_start),
        shape=(len(start), n_source),
    )
    matrix.eliminate_zeros()
    return matrix


def smoothing_operator(wave_aa: np.ndarray, sigma_aa: np.ndarray) -> csr_matrix:
    """Gaussian smoothing on one evenly spaced grid with a width that changes with wavelength.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Evenly spaced wavelengths, Angstrom.
    sigma_aa : ndarray, shape (n_wave,)
        Standard deviation of the smoothing, Angstrom; 0 leaves a pixel as it is.

    Returns
    -------
    scipy.sparse.csr_matrix, shape (n_wave, n_wave)
    """
    step = wave_aa[1] - wave_aa[0]
    edges = np.append(wave_aa - step / 2, wave_aa[-1] + step / 2)
    return broadening_operator(wave_aa, edges, np.interp(edges, wave_aa, sigma_aa))
