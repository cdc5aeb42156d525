"""Writing files so that a crash never leaves half of one under its final name."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["atomic_write", "sha256_of"]


@contextlib.contextmanager
def atomic_write(path, overwrite=False):
    """Yield a temporary path beside ``path`` that becomes ``path`` on success.

    Parameters
    ----------
    path : str or `pathlib.Path`
        Final name. Its folder must exist.
    overwrite : bool, optional
        Replace an existing file. Without it an existing file is an error.

    Yields
    ------
    pathlib.Path
        Temporary file in the same folder, with the same suffix, to be written by the caller.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` is False; nothing is touched.
    FileNotFoundError
        If the folder of ``path`` does not exist.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True (--overwrite) to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} of the output {path.name} does not exist")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())  # the data must be on disk before the name is
        # mkstemp makes private files; a result is as readable as the user's umask says.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path):
    """SHA-256 of a file, as a hexadecimal string."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
