"""Dust of the Milky Way in front of the galaxy, taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import SFHCNNError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["deredden", "galactic_extinction"]

#: Ratio of total to selective extinction of the diffuse Galactic medium.
R_V = 3.1


def galactic_extinction(wave_aa: np.ndarray) -> np.ndarray:
    """Extinction per unit E(B-V), Fitzpatrick (1999, PASP 111, 63) with R_V 3.1.

    The law that Schlafly & Finkbeiner (2011) recommend: an E(B-V) of Schlegel et al. (1998) is to be multiplied by
    0.86 first, as the services that serve both columns do.

    Parameters
    ----------
    wave_aa : ndarray
        Observed wavelengths in Angstrom, 1000 to 33000.

    Returns
    -------
    ndarray
        A(wavelength) / E(B-V), mag; 3.1 near 5500 Angstrom.

    Raises
    ------
    SFHCNNError
        If a wavelength is outside the range of the law.
    """
    from dust_extinction.parameter_averages import F99

    wave_aa = np.asarray(wave_aa, dtype=float)
    try:
        return R_V * F99(Rv=R_V)(wave_aa.ravel() * u.AA).reshape(wave_aa.shape)
    except ValueError as err:
        raise SFHCNNError(
            f"the extinction law covers 1000-33000 Angstrom, got {wave_aa.min():.0f}-{wave_aa.max():.0f}"
        ) from err


def deredden(flux: np.ndarray, wave_aa: np.ndarray, ebv: ArrayLike) -> np.ndarray:
    """Correct flux (or its errors) for the Galactic foreground.

    Parameters
    ----------
    flux : ndarray, shape (..., n_wave)
        Flux density of spectra, or of bands; errors are corrected by the same factor.
    wave_aa : ndarray, shape (n_wave,) or that of ``flux``
        Observed wavelengths in Angstrom; the pivot wavelengths for bands.
    ebv : float or ndarray, shape (...)
        Foreground E(B-V) in mag, not negative.

    Returns
    -------
    ndarray, shape (..., n_wave)
        Flux as it would be without the Milky Way.

    Raises
    ------
    SFHCNNError
        If ``ebv`` is negative or not finite.
    """
    ebv = np.asarray(ebv, dtype=float)
    if not np.all((ebv >= 0) & (ebv < np.inf)):
        raise SFHCNNError(f"ebv must be finite and not negative, got {ebv}; it is E(B-V) in magnitudes")
    return flux * 10 ** (0.4 * ebv[..., np.newaxis] * galactic_extinction(wave_aa))
