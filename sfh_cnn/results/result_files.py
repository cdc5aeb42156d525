"""Which file format a result is written in and read from: the suffix decides."""

from pathlib import Path

from sfh_cnn.core import SFHCNNError, atomic_write

from .asdf_io import read_asdf, write_asdf
from .ecsv_io import read_ecsv, write_ecsv
from .fits_io import read_fits, write_fits

__all__ = ["read_result", "write_result"]

_FORMATS = {
    ".fits": (read_fits, write_fits),
    ".fits.gz": (read_fits, write_fits),
    ".ecsv": (read_ecsv, write_ecsv),
    ".asdf": (read_asdf, write_asdf),
}


def _format_of(path):
    for suffix, functions in _FORMATS.items():
        if Path(path).name.lower().endswith(suffix):
            return functions
    raise SFHCNNError(f"path {Path(path).name} should end in one of {', '.join(_FORMATS)}")


def write_result(result, path, overwrite=False, draws=0, spectra=True):
    """Write a result so that a crash leaves no half file; see `SFHResult.write`."""
    _, write = _format_of(path)
    with atomic_write(path, overwrite) as temporary:
        write(result, temporary, draws, spectra)


def read_result(path):
    """Read a result; see `SFHResult.read`."""
    read, _ = _format_of(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return read(path)
    except (OSError, KeyError) as err:
        raise SFHCNNError(f"{path} could not be read as a result: {err}") from err
