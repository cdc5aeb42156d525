"""What a run was begun with: its configuration, its stellar libraries, and the trainings that came before it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sfh_cnn.core import SFHCNNError, atomic_write, card, config_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

    from sfh_cnn.network import Artifact
    from sfh_cnn.ssp import SSPLibrary

    from .config import RunConfig

__all__ = ["check_config", "check_libraries", "read_earlier", "write_record"]

_CONFIG, _LIBRARIES, _EARLIER = "config.json", "libraries.json", "earlier.json"


def write_record(
    folder: Path, config: RunConfig, libraries: Iterable[SSPLibrary] | None, start: Artifact | None = None
) -> None:
    """Write the record of a run.

    Parameters
    ----------
    folder : `pathlib.Path`
    config : RunConfig
    libraries : list of SSPLibrary or None
        None leaves the record of the libraries and of the trainings before as it is, for a run that goes on.
    start : `~sfh_cnn.network.Artifact`, optional
        Released network that the run starts from.
    """
    parts: dict[str, Any] = {_CONFIG: config_to_dict(config)}
    if libraries is not None:
        parts[_LIBRARIES] = _identity(libraries)
        parts[_EARLIER] = [] if start is None else card.stages(start.contract)
        if start is not None:
            parts[_EARLIER][-1]["sha256"] = start.sha256
    for name, content in parts.items():
        with atomic_write(folder / name, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_earlier(folder: Path) -> list[dict[str, Any]]:
    """Records of the trainings before a run, from the cards of the networks that it goes back to.

    Parameters
    ----------
    folder : `pathlib.Path`

    Returns
    -------
    list of dict
        The first one first; see ``sfh_cnn.core.card.stages``.

    Raises
    ------
    SFHCNNError
        If the record is damaged.
    """
    path = folder / _EARLIER
    return _read_json(path) if path.is_file() else []  # a run that is older than this record


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
    recorded = _read_json(path)
    given = _identity(libraries)
    if recorded != given:
        raise SFHCNNError(
            f"the run in {folder} was begun with other stellar libraries: {path.name} has {_listed(recorded)}, given "
            f"are {_listed(given)}; give those that it began with (--library NAME=PATH)"
        )


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SFHCNNError(f"{path} is not readable: {err}") from err


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
