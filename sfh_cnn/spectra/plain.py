"""PlainSpectrum: a spectrum from a file without specutils, whose import takes longer than a prediction."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

if TYPE_CHECKING:
    from specutils import Spectrum

__all__ = ["PlainSpectrum"]


@dataclasses.dataclass(eq=False)
class PlainSpectrum:
    """What `sfh_cnn.spectra.read_spectra` asks of a specutils Spectrum, and no more.

    Parameters
    ----------
    spectral_axis : `~astropy.units.Quantity`, shape (n_wave,)
        Wavelengths, or frequencies or energies.
    flux : `~astropy.units.Quantity`, shape (n_wave,), (n_wave, n_spec) or (n_spec, n_wave)
    uncertainty : `~astropy.nddata.NDUncertainty`, optional
    mask : ndarray of bool, shape of the flux, optional
        True marks bad pixels.
    redshift : float, optional
    meta : dict, optional
    spectral_axis_index : int, optional
        Which axis of the flux is the spectral one.
    """

    spectral_axis: u.Quantity
    flux: u.Quantity
    uncertainty: object = None
    mask: np.ndarray | None = None
    redshift: float | None = None
    meta: dict = dataclasses.field(default_factory=dict)
    spectral_axis_index: int = 0

    #: As specutils has it.
    wcs = None

    @property
    def wavelength(self) -> u.Quantity:
        """The spectral axis as wavelengths."""
        return self.spectral_axis.to(u.AA, u.spectral())

    def to_specutils(self) -> Spectrum:
        """The same as `~specutils.Spectrum`."""
        from specutils import Spectrum

        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Spectrum(**parts)
