"""Which file format a result is written in and read from: astropy's registry has them, the suffix decides."""

from pathlib import Path

from astropy.io import registry

from sfh_cnn.core import SFHCNNError, atomic_write, one_clear_error

from .asdf_io import read_asdf, write_asdf
from .ecsv_io import read_ecsv, write_ecsv
from .fits_io import read_fits, write_fits
from .sfh_result import SFHResult

__all__ = ["SFHResult", "read_result", "write_result"]

_FORMATS = {
    "fits": ((".fits", ".fits.gz"), read_fits, write_fits),
    "ecsv": ((".ecsv",), read_ecsv, write_ecsv),
    "asdf": ((".asdf",), read_asdf, write_asdf),
}


def _has_suffix(suffixes):
    def identify(_origin, path, _fileobj, *_args, **_options):
        return path is not None and Path(path).name.lower().endswith(suffixes)

    return identify


for _name, (_suffixes, _read, _write) in _FORMATS.items():
    registry.register_reader(_name, SFHResult, _read)
    registry.register_writer(_name, SFHResult, _write)
    registry.register_identifier(_name, SFHResult, _has_suffix(_suffixes))


def _function(mode, path, name):
    """Reader or writer of a format, by its name or by the suffix of the file."""
    names = [name] if name else registry.identify_format(mode, SFHResult, str(path), None, [], {})
    get = registry.get_reader if mode == "read" else registry.get_writer
    try:
        return get(names[0], SFHResult)
    except (IndexError, registry.IORegistryError) as err:
        suffixes = ", ".join(suffix for entry in _FORMATS.values() for suffix in entry[0])
        formats = ", ".join(registry.get_formats(SFHResult, readwrite=mode.capitalize())["Format"])
        raise SFHCNNError(
            f"path {Path(path).name} should end in one of {suffixes}, or format= be one of {formats}"
        ) from err


def write_result(result, path, overwrite=False, draws=0, spectra=True, format=None):  # noqa: A002 - astropy's word
    """Write a result so that a crash leaves no half file; see `SFHResult.write`."""
    write = _function("write", path, format)
    with atomic_write(path, overwrite) as temporary:
        write(result, temporary, draws, spectra)


def read_result(path, format=None):  # noqa: A002 - astropy's word
    """Read a result; see `SFHResult.read`."""
    read = _function("read", path, format)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    with one_clear_error(path, "no result of sfh_cnn"):
        return read(path)
