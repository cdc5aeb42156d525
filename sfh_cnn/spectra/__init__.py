"""Floor 1: from a spectrum to network pixels; synthesis and prediction share these kernels."""

from .adapters import ObservedSpectra, open_spectra, read_spectra
from .broadening import broadening_operator, smoothing_operator
from .conventions import plain_redshift
from .cubes import Cube, open_cube
from .extinction import deredden, galactic_extinction
from .files import is_cube_file, open_spectrum_file, read_spectrum_file
from .loaders import extract_aperture, read_muse_cube
from .noise import der_snr, estimate_noise
from .plain import PlainSpectrum
from .resample import redshift_order, resample_matrix, resample_spectra, resample_to_grid
from .rest_frame import air_to_vacuum, to_air, to_rest_frame, vacuum_to_air

__all__ = [
    "Cube",
    "ObservedSpectra",
    "PlainSpectrum",
    "air_to_vacuum",
    "broadening_operator",
    "der_snr",
    "deredden",
    "estimate_noise",
    "extract_aperture",
    "galactic_extinction",
    "is_cube_file",
    "open_cube",
    "open_spectra",
    "open_spectrum_file",
    "plain_redshift",
    "read_muse_cube",
    "read_spectra",
    "read_spectrum_file",
    "redshift_order",
    "resample_matrix",
    "resample_spectra",
    "resample_to_grid",
    "smoothing_operator",
    "to_air",
    "to_rest_frame",
    "vacuum_to_air",
]
