"""Writing files so that a crash never leaves half of one under its final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u

from .exceptions import SFHCNNError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_write", "one_clear_error", "remove_temporaries", "sha256_of"]

#: In the names of temporary files.
_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def atomic_write(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` on success.

    Parameters
    ----------
    path : str or `pathlib.Path`
        Final name. Its folder must exist. A symbolic link stays one; the file that it names is written.
    overwrite : bool, optional
        Replace an existing file. Without it an existing file is an error, also one that another process makes
        meanwhile.

    Yields
    ------
    pathlib.Path
        Temporary file in the same folder, with the same suffix, to be written by the caller.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` is False, or if it is a folder or a device; nothing is touched.
    FileNotFoundError
        If the folder of ``path`` does not exist.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is a folder or a device; give the name of a file")
    if path.exists() and not overwrite:
        raise _exists(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} of the output {path.name} does not exist")
    final = path.resolve()
    temporary = final.with_name(f".{final.stem[:64]}{_TEMPORARY}{secrets.token_hex(4)}{final.suffix}")
    # Made by hand and not by tempfile, whose files are private: a result is as readable as the user's umask says.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())  # the data must be on disk before the name is
        if overwrite or not _named_exclusively(temporary, final):
            os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def _exists(path):
    return FileExistsError(f"{path} exists; pass overwrite=True (--overwrite) to replace it")


def _named_exclusively(temporary, final):
    """Give a file its final name unless that exists; False where the file system has no links to do so."""
    try:
        os.link(temporary, final)
    except FileExistsError as err:
        raise _exists(final) from err
    except OSError:
        return False
    return True


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of `atomic_write` in a folder that nobody else writes to.

    Parameters
    ----------
    folder : `pathlib.Path`
    """
    for path in folder.glob(f".*{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def one_clear_error(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into one error that names the file.

    Parameters
    ----------
    path : str or `pathlib.Path`
        The file that is read in the body.
    kind : str
        What it should be, with its article: ``"no FITS file"``.

    Raises
    ------
    SFHCNNError
        Instead of errors that are not this package's, or about units, a missing package or access to the file.
    """
    try:
        yield
    except (SFHCNNError, u.UnitsError, ImportError, FileNotFoundError, PermissionError):
        raise
    except Exception as err:
        reason = (str(err).strip() or repr(err)).splitlines()[0]
        raise SFHCNNError(f"{path} is {kind}, or it is damaged: {reason}") from err


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, as a hexadecimal string."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
