"""Air and vacuum wavelengths, and the redshift out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sfh_cnn.core import SFHCNNError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["air_to_vacuum", "to_air", "to_rest_frame", "vacuum_to_air"]

#: Shortest vacuum wavelength that is given in air, by convention (IAU); below it the formula has poles.
_AIR_LIMIT_AA = 2000.0


def _refractive_index(wave_vacuum_aa):
    """Refractive index of standard air (Ciddor 1996, Applied Optics 35, 1566, eq. 1); 1 below 2000 Angstrom."""
    sigma2 = (1e4 / np.maximum(wave_vacuum_aa, _AIR_LIMIT_AA)) ** 2
    index = 1 + 5.792105e-2 / (238.0185 - sigma2) + 1.67917e-3 / (57.362 - sigma2)
    return np.where(wave_vacuum_aa < _AIR_LIMIT_AA, 1.0, index)


def vacuum_to_air(wave_aa: ArrayLike) -> np.ndarray:
    """Vacuum wavelengths to air.

    Parameters
    ----------
    wave_aa : ndarray
        Vacuum wavelengths, Angstrom. Those below 2000 Angstrom stay in vacuum, as is the custom.

    Returns
    -------
    ndarray
        Air wavelengths, Angstrom (Ciddor 1996, standard air with 450 ppm of CO2).

    Examples
    --------
    >>> from sfh_cnn.spectra import vacuum_to_air
    >>> print(f"[OIII] {vacuum_to_air(5008.240):.3f}")
    [OIII] 5006.843
    """
    wave_aa = np.asarray(wave_aa, dtype=float)
    return wave_aa / _refractive_index(wave_aa)


def air_to_vacuum(wave_aa: ArrayLike) -> np.ndarray:
    """Air wavelengths to vacuum; the inverse of `vacuum_to_air` to rounding.

    Parameters
    ----------
    wave_aa : ndarray
        Air wavelengths, Angstrom.

    Returns
    -------
    ndarray
        Vacuum wavelengths, Angstrom.
    """
    wave_aa = np.asarray(wave_aa, dtype=float)
    # The index is a function of the vacuum wavelength: a fixed point, reached to rounding in a few steps.
    vacuum_aa = wave_aa * 1.00033
    for _ in range(4):
        vacuum_aa = wave_aa * _refractive_index(vacuum_aa)
    return vacuum_aa


def to_air(wave_aa: ArrayLike, medium: str) -> np.ndarray:
    """Wavelengths in air, whatever they are in.

    Parameters
    ----------
    wave_aa : ndarray
        Wavelengths, Angstrom.
    medium : {"air", "vacuum"}
        What they are in.

    Returns
    -------
    ndarray
        Air wavelengths, Angstrom.

    Raises
    ------
    SFHCNNError
        If ``medium`` is neither.
    """
    if medium == "air":
        return np.asarray(wave_aa, dtype=float)
    if medium == "vacuum":
        return vacuum_to_air(wave_aa)
    raise SFHCNNError(f"medium must be 'air' or 'vacuum', got {medium!r}")


def to_rest_frame(wave_aa: np.ndarray, redshift: float | np.ndarray) -> np.ndarray:
    """Observed wavelengths to the rest frame.

    The index of air differs between the observed and the rest wavelength; dividing air wavelengths by (1 + z)
    neglects that, which is 0.3 km/s at redshift 0.1.

    Parameters
    ----------
    wave_aa : ndarray
        Observed air wavelengths, Angstrom.
    redshift : float
        Redshift.

    Returns
    -------
    ndarray
        Rest-frame wavelengths, Angstrom.
    """
    return np.asarray(wave_aa, dtype=float) / (1 + redshift)
