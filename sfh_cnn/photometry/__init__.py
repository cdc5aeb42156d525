"""Floor 1: light through bands, measured and synthetic."""

from .bandpass import Bandpass, available_bandpasses, load_bandpass, register_bandpass
from .synthetic import band_flux, band_matrix

__all__ = [
    "Bandpass",
    "available_bandpasses",
    "band_flux",
    "band_matrix",
    "load_bandpass",
    "register_bandpass",
]
