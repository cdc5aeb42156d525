"""The registry of SSP library formats: who reads what."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from sfh_cnn.core import SFHCNNError

from .bc03 import identify_bc03_miles, read_bc03_miles
from .fsps import identify_dsps, identify_fsps, read_dsps, read_fsps
from .galaxev import identify_galaxev, read_galaxev
from .library import SSPLibrary
from .mastar import identify_mastar, read_mastar
from .miles import identify_miles, read_miles
from .ppxf import identify_ppxf, read_ppxf
from .xsl import identify_xsl, read_xsl

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["format_names", "read_ssp_library", "register_reader"]

_READERS: dict[str, Any] = {}


def register_reader(name: str, read: Callable[..., SSPLibrary], identify: Callable[[Path], bool] | None = None) -> None:
    """Teach `SSPLibrary.read` a format.

    Parameters
    ----------
    name : str
        Name of the format.
    read : callable
        ``read(source) -> SSPLibrary``; the source is a `pathlib.Path`, or an object that is not a
        path if the format takes one. If the source is optional, ``SSPLibrary.read(name)`` works too.
    identify : callable, optional
        ``identify(source) -> bool``; without it the format must be named.

    Raises
    ------
    SFHCNNError
        If the name is taken.
    """
    if name in _READERS:
        raise SFHCNNError(f"an SSP format named {name!r} is registered already; choose another name")
    _READERS[name] = (read, identify)


def _named():
    """Formats whose reader finds its data by itself."""
    return {name for name, (read, _) in _READERS.items() if _can_do_without_source(read)}


def _can_do_without_source(read):
    parameters = inspect.signature(read).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def format_names():
    """Names of the registered formats, sorted."""
    return sorted(_READERS)


def read_ssp_library(source, format=None):  # noqa: A002 (the name astropy users expect)
    """Read an SSP library; see `SSPLibrary.read`."""
    if format is not None and format not in _READERS:
        raise SFHCNNError(f"unknown SSP format {format!r}; known formats: {', '.join(format_names())}")
    if isinstance(source, str):
        if source in _named() and format in (None, source):
            return _READERS[source][0]()
        source = Path(source).expanduser()
    if isinstance(source, Path) and not source.exists():
        raise SFHCNNError(
            f"SSP library {str(source)!r} is neither a file nor a folder nor a known name; "
            f"known names: {', '.join(sorted(_named()))}"
        )
    name = format
    if name is None:
        matches = [key for key, (_, identify) in _READERS.items() if identify is not None and identify(source)]
        if len(matches) != 1:
            found = f"fits several formats ({', '.join(matches)})" if matches else "is of no known format"
            raise SFHCNNError(f"{source} {found}; pass format=, one of {', '.join(format_names())}")
        name = matches[0]
    library = _READERS[name][0](source)
    if not isinstance(library, SSPLibrary):
        raise SFHCNNError(f"the reader of {name!r} must return an SSPLibrary, got {type(library).__name__}")
    return library


register_reader("bc03-miles", read_bc03_miles, identify_bc03_miles)
register_reader("dsps", read_dsps, identify_dsps)
register_reader("e-miles", read_miles, identify_miles)
register_reader("fsps", read_fsps, identify_fsps)
register_reader("galaxev", read_galaxev, identify_galaxev)
register_reader("mastar", read_mastar, identify_mastar)
register_reader("ppxf", read_ppxf, identify_ppxf)
register_reader("xsl", read_xsl, identify_xsl)
