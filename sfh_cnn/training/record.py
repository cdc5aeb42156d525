"""What a run was begun with, compared with what it goes on with: its configuration and its stellar libraries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sfh_cnn.core import SFHCNNError, atomic_write, config_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sfh_cnn.ssp import SSPLibrary

    from .config import RunConfig

__all__ = ["check_config", "check_libraries", "write_record"]

_CONFIG, _LIBRARIES = "config.json", "libraries.json"


def write_record(folder: Path, config: RunConfig, libraries: Iterable[SSPLibrary] | None) -> None:
    """Write the record of a run.

    Parameters
    ----------
    folder : `pathlib.Path`
    config : RunConfig
    libraries : list of SSPLibrary or None
        None leaves the record of the libraries as it is, for a run that goes on.
    """
    parts = {_CONFIG: config_to_dict(config)}
    if libraries is not None:
        parts[_LIBRARIES] = _identity(libraries)
    for name, content in parts.items():
        with atomic_write(folder / name, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_config(folder: Path, recorded: RunConfig, config: RunConfig) -> None:
    """Make sure that a configuration is the recorded one.

    Parameters
    ----------
    folder : `pathlib.Path`
    recorded, config : RunConfig

    Raises
    ------
    SFHCNNError
        If they differ; the setting is named.
    """
    # As JSON has them: lists and tuples are the same there.
    before, after = (json.loads(json.dumps(config_to_dict(one))) for one in (recorded, config))
    if before != after:
        name, ours, theirs = _difference(before, after)
        raise SFHCNNError(
            f"{folder / _CONFIG} differs from the configuration in {name} ({ours} and {theirs}); resume needs the "
            "configuration that the run began with"
        )


def check_libraries(folder: Path, libraries: Iterable[SSPLibrary]) -> None:
    """Make sure that stellar libraries are those that a run was begun with, where its folder says which.

    Parameters
    ----------
    folder : `pathlib.Path`
    libraries : list of SSPLibrary

    Raises
    ------
    SFHCNNError
        If they are others, or the record is damaged.
    """
    path = folder / _LIBRARIES
    if not path.is_file():  # the run is older than this record
        return
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SFHCNNError(f"{path} is not readable: {err}") from err
    given = _identity(libraries)
    if recorded != given:
        raise SFHCNNError(
            f"the run in {folder} was begun with other stellar libraries: {path.name} has {_listed(recorded)}, given "
            f"are {_listed(given)}; give those that it began with (--library NAME=PATH)"
        )


def _identity(libraries):
    """In their order, for the first one is the base; two of them may have the same name."""
    return [{"name": library.name, "sha256": library.sha256} for library in libraries]


def _listed(entries):
    try:
        return ", ".join(f"{entry['name']} (SHA-256 {entry['sha256']})" for entry in entries)
    except (KeyError, TypeError):
        return repr(entries)


def _difference(before, after):
    """Path of a setting that differs, and both values."""
    path = []
    while isinstance(before, dict) and isinstance(after, dict):
        key = next(name for name in {**before, **after} if before.get(name) != after.get(name))
        path.append(key)
        before, after = before.get(key), after.get(key)
    return ".".join(path), before, after
