"""Synthetic photometry: the photon-counting mean of a spectrum through bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from sfh_cnn.core import FLUX_UNIT, SFHCNNError, pixel_edges, to_plain, to_quantity

from .bandpass import load_bandpass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bandpass import Bandpass

__all__ = ["band_flux", "band_matrix"]

#: Share of a band's photons that a spectrum must cover before its band flux means something.
_MIN_COVERAGE = 0.99


def band_matrix(
    wave_aa: np.ndarray,
    bandpasses: Sequence[str | Bandpass],
    redshift: float | np.ndarray = 0.0,
    *,
    wave_edges_aa: np.ndarray | None = None,
) -> np.ndarray:
    """Weights that turn a spectrum into band fluxes: ``band_flux = flux @ band_matrix(...)``.

    The band flux is the mean flux density that a photon-counting detector sees,

        <f> = int f(l) T(l (1 + z)) l dl / int T(l) l dl  (the first over rest-frame l, times (1 + z)^2),

    for observed flux density ``f`` on rest-frame pixels ``l``. The flux is constant inside a pixel; the throughput
    is integrated exactly there, so wide pixels cost no accuracy beyond that of the flux itself.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame pixel centres, Angstrom, increasing.
    bandpasses : sequence of str or Bandpass
        Bands, by name or as they are.
    redshift : float or ndarray, shape (n_z,), optional
        Redshift of the source; throughputs are in the observed frame.
    wave_edges_aa : ndarray, shape (n_wave + 1,), optional
        Pixel edges, where they are not half way between the centres; ``wave_aa`` is then not used and may be None.

    Returns
    -------
    ndarray, shape (n_wave, n_band) or (n_z, n_wave, n_band)
        Weights. Each column sums to the share of the band that the wavelengths cover, 1 for all of it.

    Examples
    --------
    >>> import numpy as np
    >>> from sfh_cnn.photometry import band_matrix
    >>> matrix = band_matrix(np.arange(2000.0, 10000.0, 10.0), ["F275W", "F814W"])
    >>> matrix.shape, matrix.sum(axis=0).round(6)
    ((800, 2), array([1., 1.]))
    """
    edges_aa = pixel_edges(wave_aa) if wave_edges_aa is None else np.asarray(wave_edges_aa, dtype=float)
    edges_obs_aa = edges_aa * (1 + np.asarray(redshift, dtype=float)[..., np.newaxis])
    matrix = np.empty((*edges_obs_aa.shape[:-1], edges_obs_aa.shape[-1] - 1, len(bandpasses)))
    for i, bandpass in enumerate(map(load_bandpass, bandpasses)):
        photons = bandpass.photon_integral(edges_obs_aa) / bandpass.photon_integral(bandpass.wave_aa[-1])
        matrix[..., i] = np.diff(photons, axis=-1)
    return matrix


def band_flux(wavelength: u.Quantity, flux: u.Quantity, bandpass: str | Bandpass, redshift: float = 0.0) -> u.Quantity:
    """Flux of a spectrum through one band.

    Parameters
    ----------
    wavelength : `~astropy.units.Quantity`, shape (n_wave,)
        Pixel centres, increasing; in the rest frame if ``redshift`` is given, else as observed.
    flux : `~astropy.units.Quantity`, shape (..., n_wave)
        Flux density, per wavelength or per frequency.
    bandpass : str or Bandpass
        The band.
    redshift : float, optional
        Redshift that takes ``wavelength`` to the observed frame. The flux is the observed one, as it is.

    Returns
    -------
    `~astropy.units.Quantity`, shape (...)
        Mean flux density per wavelength through the band, erg/s/cm2/Angstrom.

    Raises
    ------
    SFHCNNError
        If the spectrum covers less than 99 per cent of the band.

    Examples
    --------
    >>> import numpy as np
    >>> import astropy.units as u
    >>> from sfh_cnn.photometry import band_flux
    >>> wavelength = np.arange(4000, 8000) * u.AA
    >>> band_flux(wavelength, np.full(4000, 2e-17) * u.Unit("erg s-1 cm-2 AA-1"), "F555W")
    <Quantity 2.e-17 erg / (Angstrom s cm2)>
    """
    wave_aa = to_plain(wavelength, u.AA, "wavelength", equivalencies=u.spectral())
    density = u.spectral_density(wave_aa * (1 + redshift) * u.AA)
    flux = to_plain(flux, FLUX_UNIT, "flux", equivalencies=density)
    bandpass = load_bandpass(bandpass)
    matrix = band_matrix(wave_aa, [bandpass], redshift)[:, 0]
    if matrix.sum() < _MIN_COVERAGE:
        raise SFHCNNError(
            f"the spectrum covers {100 * matrix.sum():.1f} per cent of band {bandpass.name} "
            f"({bandpass.wave_aa[0]:.0f}-{bandpass.wave_aa[-1]:.0f} Angstrom), 99 are needed; use a longer spectrum"
        )
    return to_quantity(flux @ matrix, FLUX_UNIT)
