"""Configurations of runs: from files, from presets that ship with the package, from the folder of a run."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path

from sfh_cnn.core import SFHCNNError, build_config
from sfh_cnn.network import LAYERS_BEFORE
from sfh_cnn.synthesis import SynthesisConfig

from .config import RunConfig

__all__ = ["load_run_config", "load_synthesis_config", "read_run_config"]


def load_run_config(path: str | Path | None = None, preset: str | None = None) -> RunConfig:
    """Configuration of a run.

    Parameters
    ----------
    path : str or `pathlib.Path`, optional
        TOML file with the tables ``synthesis``, ``network`` and ``training``; what it leaves out keeps its default.
        Or the name of a configuration that ships with the package (``sfh_cnn/data/configs``).
    preset : str, optional
        Name of a shipped configuration whose settings go over those of the file.

    Returns
    -------
    RunConfig

    Raises
    ------
    SFHCNNError
        If there is no such preset, or a file is not TOML or has unknown keys.
    FileNotFoundError
        If there is no such file and no such name.

    Examples
    --------
    >>> from sfh_cnn.training import load_run_config
    >>> load_run_config(preset="quick").training.n_mocks
    1400000
    """
    data = {} if path is None else _read_toml(_found(path))
    if preset is not None:
        shipped = _shipped()
        if preset not in shipped:
            raise SFHCNNError(f"no preset {preset!r}; there are {', '.join(sorted(shipped))}")
        data = _merged(data, _read_toml(shipped[preset]))
    return build_config(data, RunConfig, where=str(path or preset))


def load_synthesis_config(path: str | Path) -> SynthesisConfig:
    """Configuration of mocks, from a file of a run or from one of mocks alone.

    Parameters
    ----------
    path : str or `pathlib.Path`
        TOML file or shipped name, as `load_run_config` takes it, or a file with the keys of `SynthesisConfig` at its
        top.

    Returns
    -------
    SynthesisConfig

    Raises
    ------
    SFHCNNError
        If the file is not TOML or has unknown keys.
    FileNotFoundError
        If there is no such file and no such name.
    """
    data = _read_toml(_found(path))
    if {"synthesis", "network", "training"} & set(data):
        return build_config(data, RunConfig, where=str(path)).synthesis
    return build_config(data, SynthesisConfig, where=str(path))


def read_run_config(folder: str | Path) -> RunConfig:
    """Configuration that a run was trained with.

    Parameters
    ----------
    folder : str or `pathlib.Path`
        Folder that `train` wrote.

    Returns
    -------
    RunConfig

    Raises
    ------
    SFHCNNError
        If there is no run in the folder, or its record is damaged.
    """
    record = Path(folder) / "config.json"
    if not record.is_file():
        raise SFHCNNError(f"{folder} holds no training run (config.json is missing)")
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SFHCNNError(f"{record} is not readable: {err}") from err
    if isinstance(data, dict) and isinstance(data.get("network"), dict):
        data["network"] = {**LAYERS_BEFORE, **data["network"]}
    return build_config(data, RunConfig, where=str(record))


def _shipped():
    """Configurations that come with the package, by name."""
    folder = files("sfh_cnn") / "data" / "configs"
    return {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}


def _found(path):
    if Path(path).exists():
        return Path(path)
    shipped = _shipped()
    if str(path) not in shipped:
        raise FileNotFoundError(
            f"no configuration file {path}; those that come with the package: {', '.join(sorted(shipped))}"
        )
    return shipped[str(path)]


def _read_toml(path):
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SFHCNNError(f"{path} is not a valid TOML file: {err}") from err


def _merged(below, above):
    """Nested dictionaries, those of ``above`` where both have a key."""
    tables = {key: _merged(below[key], value) for key, value in above.items() if isinstance(below.get(key), dict)}
    return {**below, **above, **tables}
