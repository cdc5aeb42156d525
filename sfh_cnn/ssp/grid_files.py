"""What libraries of one FITS spectrum per age and metallicity have in common."""

import contextlib
import gzip
import io
import tarfile
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from sfh_cnn.core import SFHCNNError, SFHCNNWarning

__all__ = ["linear_axis", "matching_names", "open_matching", "read_spectrum", "stack_grid"]


def matching_names(source, pattern):
    """File names in a folder or tar archive that match a pattern.

    Parameters
    ----------
    source : `pathlib.Path`
        Folder (not searched deeper) or tar archive, compressed or not.
    pattern : re.Pattern
        Searched for in the name without its folder.

    Returns
    -------
    list of str
    """
    if source.is_dir():
        return [path.name for path in source.iterdir() if pattern.search(path.name)]
    if ".tar" in source.suffixes or source.suffix == ".tgz":
        with contextlib.suppress(tarfile.ReadError), tarfile.open(source) as archive:
            return [name for name in map(_base_name, archive.getnames()) if pattern.search(name)]
    return []


def open_matching(source, pattern):
    """Yield match and content of each matching file in a folder or tar archive.

    Parameters
    ----------
    source : `pathlib.Path`
        Folder or tar archive.
    pattern : re.Pattern
        As for `matching_names`.

    Yields
    ------
    match : re.Match
    stream : file object
        Binary content, gunzipped if the name ends in ``.gz``.
    """
    if source.is_dir():
        for path in sorted(source.iterdir()):
            if match := pattern.search(path.name):
                with open(path, "rb") as stream:
                    yield match, _unzipped(path.name, stream)
        return
    with tarfile.open(source) as archive:
        for member in archive:
            name = _base_name(member.name)
            if member.isfile() and (match := pattern.search(name)):
                yield match, _unzipped(name, archive.extractfile(member))


def linear_axis(header, n_wave):
    """Values of the spectral axis at each pixel: CRVAL1, CDELT1, CRPIX1 (1 if missing)."""
    pixel = np.arange(n_wave) + 1 - header.get("CRPIX1", 1)
    return header["CRVAL1"] + pixel * header["CDELT1"]


def read_spectrum(stream):
    """Header and float64 flux of the first HDU of a FITS stream."""
    with fits.open(io.BytesIO(stream.read())) as hdus:
        return hdus[0].header.copy(), np.array(hdus[0].data, dtype=float)


def stack_grid(spectra, source):
    """Put spectra on a grid of metallicity and age; ages that lack a metallicity are left out with a warning.

    Parameters
    ----------
    spectra : dict
        (metallicity, age) to an array of shape (n_wave,).
    source : object
        Where they come from, for error messages.

    Returns
    -------
    metallicity : ndarray, shape (n_met,)
    age : ndarray, shape (n_age,)
    flux : ndarray, shape (n_met, n_age, n_wave)

    Raises
    ------
    SFHCNNError
        If no age is complete or the spectra differ in length.
    """
    metallicity = np.unique([key[0] for key in spectra])
    age = np.unique([key[1] for key in spectra])
    complete = [all((met, t) in spectra for met in metallicity) for t in age]
    if not any(complete):
        raise SFHCNNError(f"{source}: no age has a spectrum at each of the metallicities {metallicity.tolist()}")
    if not all(complete):
        dropped = ", ".join(f"{t:g}" for t in age[~np.array(complete)])
        warnings.warn(
            f"{source}: ages left out because a metallicity is missing (Gyr): {dropped}", SFHCNNWarning, stacklevel=4
        )
        age = age[complete]
    sizes = {spectrum.size for spectrum in spectra.values()}
    if len(sizes) != 1:
        raise SFHCNNError(f"{source}: the spectra have different lengths ({sorted(sizes)} pixels)")
    flux = np.array([[spectra[met, t] for t in age] for met in metallicity], dtype=np.float32)
    return metallicity, age, flux


def _base_name(name):
    return Path(name).name


def _unzipped(name, stream):
    return gzip.open(stream) if name.endswith(".gz") else stream
