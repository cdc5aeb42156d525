"""Floor 1: spectra of simple stellar populations, from any public library."""

from .library import SSPLibrary
from .readers import register_reader
from .toy import toy_ssp_library

__all__ = ["SSPLibrary", "register_reader", "toy_ssp_library"]
