"""Star formation and chemical enrichment histories from galaxy spectra and photometry, in microseconds."""

from importlib import import_module

from .formats import register_formats as _register_formats

try:
    from ._version import version as __version__
except ImportError:  # a checkout that was never built
    __version__ = "0.1.dev0"

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

__all__ = ["__version__", *_PUBLIC]

_register_formats()


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
