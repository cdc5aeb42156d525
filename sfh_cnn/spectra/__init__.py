"""Floor 1: from a spectrum to network pixels; synthesis and prediction share these kernels."""

from .resample import resample_matrix, resample_spectra
from .rest_frame import air_to_vacuum, to_air, to_rest_frame, vacuum_to_air

__all__ = [
    "air_to_vacuum",
    "resample_matrix",
    "resample_spectra",
    "to_air",
    "to_rest_frame",
    "vacuum_to_air",
]
