"""A lock on a folder that dies with its process."""

import contextlib

from sfh_cnn.core import SFHCNNError

__all__ = ["folder_lock"]


@contextlib.contextmanager
def folder_lock(folder):
    """Hold a folder for one process.

    The operating system holds the lock and lets go of it when the process ends, however it ends: a killed run
    leaves nothing to clean up.

    Parameters
    ----------
    folder : `pathlib.Path`
        Existing folder; a file ``.lock`` is made in it.

    Raises
    ------
    SFHCNNError
        If another process holds the folder.
    """
    with open(folder / ".lock", "a") as handle:
        try:
            _lock(handle)
        except OSError as err:
            raise SFHCNNError(f"another process is writing to {folder}; wait for it or take another folder") from err
        yield


def _lock(handle):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
