"""Floor 3: from an observed spectrum to a history. Importing this room loads torch; it never sees training."""

from .bin_spectra import attach_spectra
from .engine import Engine
from .limits import effective_snr
from .manifest import predict_manifest
from .predictor import SFHPredictor
from .pretrained import available, released_network
from .zero_points import Registration, register_images, zero_point_ratios

__all__ = [
    "Engine",
    "Registration",
    "SFHPredictor",
    "attach_spectra",
    "available",
    "effective_snr",
    "predict_manifest",
    "register_images",
    "released_network",
    "zero_point_ratios",
]
