"""Floor 1: what came out of a prediction, with units, uncertainties and files."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from .draws import SFHDraws, draw_scalars
    from .quantities import QUANTITIES
    from .regroup import summarise_draws
    from .result_files import SFHResult
    from .sfh_maps import RadialProfile, SFHMaps
    from .sfh_result import Reconstruction
    from .text import format_interval

#: Public names and the module each lives in, imported on first use.
_PUBLIC = {
    "QUANTITIES": ".quantities",
    "RadialProfile": ".sfh_maps",
    "Reconstruction": ".sfh_result",
    "SFHDraws": ".draws",
    "SFHMaps": ".sfh_maps",
    "SFHResult": ".result_files",  # with it come its file formats
    "draw_scalars": ".draws",
    "format_interval": ".text",
    "summarise_draws": ".regroup",
}

__all__ = [
    "QUANTITIES",
    "RadialProfile",
    "Reconstruction",
    "SFHDraws",
    "SFHMaps",
    "SFHResult",
    "draw_scalars",
    "format_interval",
    "summarise_draws",
]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
