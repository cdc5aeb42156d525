"""Floor 4: functions of a result and an axes that return the artists they drew. Needs matplotlib."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from .corner import plot_corner
    from .histories import plot_amr, plot_sfh
    from .maps import plot_map, plot_maps, plot_profile
    from .spectrum import plot_bands, plot_spectrum
    from .style import COLORS, axis_label, plot_style
    from .summary import plot_summary
    from .viewer import write_viewer

#: Public names and the module each lives in, imported on first use.
_PUBLIC = {
    "COLORS": ".style",
    "axis_label": ".style",
    "plot_amr": ".histories",
    "plot_bands": ".spectrum",
    "plot_corner": ".corner",
    "plot_map": ".maps",
    "plot_maps": ".maps",
    "plot_profile": ".maps",
    "plot_sfh": ".histories",
    "plot_spectrum": ".spectrum",
    "plot_summary": ".summary",
    "plot_style": ".style",
    "write_viewer": ".viewer",
}

__all__ = [
    "COLORS",
    "axis_label",
    "plot_amr",
    "plot_bands",
    "plot_corner",
    "plot_map",
    "plot_maps",
    "plot_profile",
    "plot_sfh",
    "plot_spectrum",
    "plot_style",
    "plot_summary",
    "write_viewer",
]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
