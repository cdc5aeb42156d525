"""TOML tables into frozen dataclasses, with unknown and ill-typed keys named."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING

from .exceptions import SFHCNNError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["build_config", "config_to_dict", "config_to_toml", "load_config"]


def load_config(path: str | Path, cls: type, table: str | None = None) -> Any:
    """Read a TOML file into a configuration dataclass.

    Parameters
    ----------
    path : str or `pathlib.Path`
        TOML file.
    cls : type
        Frozen dataclass; nested dataclass fields are read from nested tables.
    table : str, optional
        Read this table of the file instead of its top level.

    Returns
    -------
    object
        Instance of ``cls``.

    Raises
    ------
    SFHCNNError
        If the file is not TOML, a key is unknown or a value has the wrong type.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SFHCNNError(f"{path} is not a valid TOML file: {err}") from err
    if table is not None:
        data = data.get(table, {})
    return build_config(data, cls, where=str(path) if table is None else f"{path} [{table}]")


def build_config(data: dict[str, Any], cls: type, where: str = "configuration") -> Any:
    """Build a configuration dataclass from nested dictionaries.

    Parameters
    ----------
    data : dict
        Keys are field names.
    cls : type
        Frozen dataclass.
    where : str, optional
        Where the data came from, for error messages.

    Returns
    -------
    object
        Instance of ``cls``.
    """
    if not isinstance(data, dict):
        raise SFHCNNError(f"{where}: expected a table, got {data!r}")
    hints = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - known):
        raise SFHCNNError(f"{where}: unknown key {', '.join(unknown)}; known keys: {', '.join(sorted(known))}")
    return cls(**{name: _convert(value, hints[name], f"{where}: {name}") for name, value in data.items()})


def config_to_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass as nested dictionaries that `build_config` and JSON take."""
    return dataclasses.asdict(config)


def config_to_toml(tables: dict[str, Any], title: str = "") -> str:
    """Nested dictionaries as the text of a TOML file, which `load_config` reads back.

    Parameters
    ----------
    tables : dict
        Numbers, texts, booleans, lists of these, and tables of the same; what is None is left out.
    title : str, optional
        Name of the table itself, for those inside.

    Returns
    -------
    str
    """
    inner = {key: value for key, value in tables.items() if isinstance(value, dict)}
    # JSON's numbers, texts and lists are TOML's, too.
    lines = [
        f"{_toml_key(key)} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in tables.items()
        if key not in inner and value is not None
    ]
    if title and lines:
        lines.insert(0, f"[{title}]")
    text = "".join(f"{line}\n" for line in lines)
    for key, value in inner.items():
        name = f"{title}.{_toml_key(key)}" if title else _toml_key(key)
        if part := config_to_toml(value, name):
            text += f"\n{part}" if text else part
    return text


def _toml_key(key):
    """As it is if it may be bare, else in quotes."""
    return key if key.replace("-", "_").isidentifier() else json.dumps(key)


def _convert(value, hint, where):
    """Check one value against its type hint; lists become tuples, tables become dataclasses."""
    if dataclasses.is_dataclass(hint):
        return build_config(value, hint, where)
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        errors = []
        for argument in arguments:
            if argument is not type(None):
                try:
                    return _convert(value, argument, where)
                except SFHCNNError as err:
                    errors.append(err)
        raise errors[0]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SFHCNNError(f"{where}: expected a list, got {value!r}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(item, arguments[0], where) for item in value)
        if len(value) != len(arguments):
            raise SFHCNNError(f"{where}: expected {len(arguments)} values, got {value!r}")
        return tuple(_convert(item, argument, where) for item, argument in zip(value, arguments, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise SFHCNNError(f"{where}: expected a table, got {value!r}")
        return {key: _convert(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is typing.Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise SFHCNNError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
