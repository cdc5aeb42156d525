"""Floor 1: light through bands, measured and synthetic."""

from .aperture import measure_bands
from .bandpass import Bandpass, available_bandpasses, load_bandpass, register_bandpass
from .calibration import flux_per_count, to_flux_density
from .matching import match_images, matching_kernel, moffat_psf
from .synthetic import band_flux, band_matrix
from .table import read_photometry

__all__ = [
    "Bandpass",
    "available_bandpasses",
    "band_flux",
    "band_matrix",
    "flux_per_count",
    "load_bandpass",
    "match_images",
    "matching_kernel",
    "measure_bands",
    "moffat_psf",
    "read_photometry",
    "register_bandpass",
    "to_flux_density",
]
