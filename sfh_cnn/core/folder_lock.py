"""A lock on a folder that dies with its process."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from astropy import log

from .exceptions import SFHCNNError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

__all__ = ["folder_lock"]

#: Open lock files of this process.
_held: set[IO[str]] = set()


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one process.

    The operating system holds the lock and lets go of it when the process ends, however it ends: a killed run
    leaves nothing to clean up. Where the file system knows no locks, the log says so and nothing is held.

    Parameters
    ----------
    folder : `pathlib.Path`
        Existing folder; a file ``.lock`` is made in it.

    Raises
    ------
    SFHCNNError
        If another process, or another thread of this one, holds the folder.
    """
    path = folder / ".lock"
    busy = SFHCNNError(f"another process is writing to {folder}; wait for it or take another folder")
    with open(path, "a") as handle:
        try:
            _lock(handle)
        except (BlockingIOError, PermissionError) as err:
            raise busy from err
        except OSError as err:
            log.warning(f"{folder}: no locks on this file system ({err}); let no other process write there")
        if not _is_still_there(handle, path):
            raise busy  # its holder has just ended and taken the folder along
        _close_in_children()
        _held.add(handle)
        try:
            yield
        finally:
            _held.discard(handle)


def _lock(handle):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still_there(handle, path):
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@functools.cache  # once per process
def _close_in_children():
    """A forked worker would hold the lock beyond the death of its parent."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: [handle.close() for handle in _held])
