"""Star formation and chemical enrichment histories from galaxy spectra and photometry, in microseconds."""

from importlib import import_module
from typing import TYPE_CHECKING

from .formats import register_formats as _register_formats

try:
    from ._version import version as __version__
except ImportError:  # a checkout that was never built
    __version__ = "0.1.dev0"

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from .core import AgeGrid, conf
    from .prediction import SFHPredictor
    from .references import citation
    from .results import SFHMaps, SFHResult
    from .ssp import SSPLibrary

#: Public names and the room each lives in; they are imported on first use so that ``import sfh_cnn`` stays light.
_PUBLIC = {
    "AgeGrid": "core",
    "SFHMaps": "results",
    "SFHPredictor": "prediction",
    "SFHResult": "results",
    "SSPLibrary": "ssp",
    "citation": "references",
    "conf": "core",
}

__all__ = ["AgeGrid", "SFHMaps", "SFHPredictor", "SFHResult", "SSPLibrary", "__version__", "citation", "conf"]

_register_formats()


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
