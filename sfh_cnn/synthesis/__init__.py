"""Floor 2: mock galaxies. Priors of histories, stellar light, dust, and what a telescope does to it."""

from .amr_prior import MetallicityPrior, draw_metallicity
from .attenuation import DUST_LAWS, attenuation_curve
from .config import DustPrior, InstrumentConfig, ObservationConfig, SynthesisConfig
from .generate import MockGenerator
from .observe import line_windows
from .sfh_prior import SFHPrior, draw_mass_fraction

__all__ = [
    "DUST_LAWS",
    "DustPrior",
    "InstrumentConfig",
    "MetallicityPrior",
    "MockGenerator",
    "ObservationConfig",
    "SFHPrior",
    "SynthesisConfig",
    "attenuation_curve",
    "draw_mass_fraction",
    "draw_metallicity",
    "line_windows",
]
