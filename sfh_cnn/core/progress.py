"""The one progress bar for long work; quiet when nobody looks."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress"]


@contextlib.contextmanager
def progress(
    total: int, description: str, unit: str = "spectra", enabled: bool | None = None
) -> Iterator[Callable[..., None]]:
    """Show a progress bar with rate and remaining time.

    Parameters
    ----------
    total : int
        Number of steps.
    description : str
        What is being done.
    unit : str, optional
        What is being counted.
    enabled : bool, optional
        Force the bar on or off; by default it shows on a terminal only.

    Yields
    ------
    callable
        ``advance(n, note)``, to be called after ``n`` more steps; a note is a line that stays above the bar.
    """
    if enabled is None:
        enabled = sys.stderr.isatty()
    if not enabled:
        yield lambda n=1, note=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, rate="")

        def advance(n=1, note=None):
            bar.advance(task, n)
            if note is not None:
                bar.console.print(note, highlight=False, markup=False)
            speed = bar.tasks[0].speed
            if speed:
                bar.update(task, rate=f"{speed:.0f}/s")

        yield advance
