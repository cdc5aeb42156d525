"""What all commands share: errors in one line, messages beside the output, JSON, common options."""

import contextlib
import gc
import json
import logging
import math
import sys
import tomllib
import warnings
from pathlib import Path

import click

__all__ = [
    "Commands",
    "common",
    "echo_json",
    "examples",
    "importing",
    "refuse_existing",
    "say",
    "table_of",
    "use_option_file",
]


class Commands(click.Group):
    """Group whose commands say what was wrong with the input in one line; ``--debug`` shows where."""

    def invoke(self, ctx):
        """Run a command."""
        try:
            with _messages_on_stderr():
                return super().invoke(ctx)
        except (ValueError, TypeError, OSError, ImportError) as err:
            if ctx.params["debug"] or not _is_about_input(err):
                raise
            raise click.ClickException(_one_line(err)) from err


def _is_about_input(err):
    import astropy.units as u

    from sfh_cnn.core import SFHCNNError

    if isinstance(err, BrokenPipeError):
        return False
    # astropy's errors of units are TypeErrors or ValueErrors
    return isinstance(err, (OSError, ImportError, SFHCNNError, u.UnitsError))


def _one_line(err):
    if isinstance(err, OSError) and err.filename:
        return f"{err.filename}: {err.strerror}"
    return " ".join(str(err).split())


class _StderrHandler(logging.Handler):
    def emit(self, record):
        click.echo(f"{record.levelname.capitalize()}: {record.getMessage()}", err=True)


@contextlib.contextmanager
def _messages_on_stderr():
    """Standard output is for the answer alone; astropy's logger would put information there."""
    from astropy import log

    handlers, format_warning = log.handlers[:], warnings.formatwarning
    log.handlers[:] = [_StderrHandler()]
    warnings.formatwarning = lambda message, *_args, **_options: f"Warning: {message}\n"
    try:
        yield
    finally:
        log.handlers[:], warnings.formatwarning = handlers, format_warning


@contextlib.contextmanager
def importing():
    """Import and load without a search for garbage, which PyTorch's 400 000 objects start again and again.

    Once PyTorch is there, this does nothing. What is imported stays: no later search looks at it.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def say(text):
    """Tell the user something beside the output."""
    click.echo(text, err=True)


def echo_json(data):
    """Print as JSON; numbers that are not finite become null."""
    click.echo(json.dumps(_plain(data), indent=1, allow_nan=False))


def _plain(data):
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if hasattr(data, "tolist"):
        return _plain(data.tolist())
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def table_of(header, rows, title=None):
    """Print a table; columns that begin with numbers are aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if title:  # one of the table's own would be wrapped to its width
        click.echo(f"\n{title}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows = list(rows)
    for i, name in enumerate(header):
        is_number = all(row[i][:1] in "+-0123456789" for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A pipe has no width of its own.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


def refuse_existing(overwrite, *paths):
    """Refuse before the work begins, not after it.

    Raises
    ------
    FileExistsError
        If one of the paths exists and ``overwrite`` is False.
    """
    for path in paths:
        if path is not None and Path(path).exists() and not overwrite:
            raise FileExistsError(f"{path} exists; give --overwrite to replace it")


def examples(*lines):
    """Text below the help of a command, kept in lines."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def common(*names):
    """Options that several commands have, by name."""

    def decorate(function):
        for name in reversed(names):
            function = _OPTIONS[name](function)
        return function

    return decorate


def use_option_file(ctx, _param, path):
    """Take defaults of all commands from a TOML file: one table per command, its options as keys."""
    if path is None:
        return
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise click.BadParameter(f"{path} is not a valid TOML file: {err}") from err
    ctx.default_map = {}
    for command, values in tables.items():
        if command not in ctx.command.commands or not isinstance(values, dict):
            raise click.BadParameter(f"{path}: [{command}] is no command; tables are named after commands")
        known = {
            option.lstrip("-").replace("-", "_"): parameter
            for parameter in ctx.command.commands[command].params
            for option in parameter.opts
        }
        if unknown := [key for key in values if key.replace("-", "_") not in known]:
            raise click.BadParameter(f"{path}: [{command}] has no option {', '.join(unknown)}")
        ctx.default_map[command] = {}
        for key, value in values.items():
            parameter = known[key.replace("-", "_")]
            several = getattr(parameter, "multiple", False) and not isinstance(value, list)
            ctx.default_map[command][parameter.name] = [value] if several else value


_OPTIONS = {
    "overwrite": click.option("--overwrite", is_flag=True, help="Replace files that exist."),
    "json": click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
    "network": click.option(
        "--network", metavar="NAME|FILE", help="Released network, or a file; see 'sfh-cnn info'. [default: the first]"
    ),
    "threads": click.option("--threads", type=click.IntRange(min=1), help="Processor cores to use. [default: all]"),
    "library": click.option(
        "--library",
        "library_paths",
        multiple=True,
        metavar="NAME=PATH",
        help="Where a stellar library that the configuration names lies on this machine. May be repeated.",
    ),
}
