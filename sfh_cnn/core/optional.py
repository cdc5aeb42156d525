"""Lazy import of optional dependencies, with an error that says how to install them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["require"]


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Parameters
    ----------
    module : str
        Dotted module name, e.g. ``"matplotlib.pyplot"``.
    extra : str
        Name of the extra of sfh_cnn that installs it.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the module is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        package = module.split(".", maxsplit=1)[0]
        raise ImportError(
            f"{package} is needed for this and could not be imported ({err}); "
            f'install it with: pip install "sfh_cnn[{extra}]"'
        ) from err
