"""Floor 2: mock galaxies. Priors of histories, stellar light, dust, and what a telescope does to it."""

from .amr_prior import MetallicityPrior, draw_metallicity, register_amr_family
from .attenuation import DUST_LAWS, attenuation_curve
from .composite import bin_history, library_shares, mass_weights
from .config import DustPrior, InstrumentConfig, ObservationConfig, SynthesisConfig
from .generate import MockGenerator, draw_dust
from .observe import CALIBRATION_SLOPE, calibration_curves, calibration_modes, calibration_power, line_windows
from .preview import preview
from .sfh_prior import SFHPrior, draw_mass_fraction, register_sfh_family
from .training_set import TrainingSet, generate_training_set

__all__ = [
    "CALIBRATION_SLOPE",
    "DUST_LAWS",
    "DustPrior",
    "InstrumentConfig",
    "MetallicityPrior",
    "MockGenerator",
    "ObservationConfig",
    "SFHPrior",
    "SynthesisConfig",
    "TrainingSet",
    "attenuation_curve",
    "bin_history",
    "calibration_curves",
    "calibration_modes",
    "calibration_power",
    "draw_dust",
    "draw_mass_fraction",
    "draw_metallicity",
    "generate_training_set",
    "library_shares",
    "line_windows",
    "mass_weights",
    "preview",
    "register_amr_family",
    "register_sfh_family",
]
