"""The released networks that ship in the wheel: names, files and hashes."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from sfh_cnn.core import SFHCNNError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

__all__ = ["available", "released_network"]

_TABLE = "networks.json"


def _table():
    return json.loads((files("sfh_cnn") / "data" / _TABLE).read_text(encoding="utf-8"))


def available() -> dict[str, Any]:
    """Released networks in this installation.

    Returns
    -------
    dict
        Name to one line that says what the network is for; the first is the default.
    """
    return {name: entry["summary"] for name, entry in _table().items()}


def released_network(name: str | None = None) -> tuple[Path, str]:
    """Path and hash of a released network.

    Parameters
    ----------
    name : str, optional
        A key of `available`; by default the first.

    Returns
    -------
    path : `pathlib.Path`
    sha256 : str

    Raises
    ------
    SFHCNNError
        If there is no network of that name; the message lists those that there are.
    """
    table = _table()
    name = name or next(iter(table))
    if name not in table:
        raise SFHCNNError(f"no released network {name!r}; available: {', '.join(table)}")
    return files("sfh_cnn") / "data" / table[name]["file"], table[name]["sha256"]
