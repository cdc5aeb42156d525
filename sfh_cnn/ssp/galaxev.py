"""Reader of GALAXEV models in ASCII, the .ised_ASCII files of Bruzual & Charlot."""

import gzip
import re

import numpy as np

from sfh_cnn.core import SFHCNNError

from .bc03 import miles_stelib_fwhm
from .library import SSPLibrary
from .medium import measure_medium

__all__ = ["identify_galaxev", "read_galaxev"]

_NAME = re.compile(r"\.ised_ASCII(\.gz)?$")
_IMF = {"salp": "Salpeter (1955)", "chab": "Chabrier (2003)", "kroup": "Kroupa (2001)"}
_SOLAR = 0.02


def identify_galaxev(source):
    """Whether a file, or a file in a folder, is named like a GALAXEV ASCII model."""
    return hasattr(source, "is_dir") and bool(_files(source))


def read_galaxev(source):
    """Read GALAXEV SSPs: one ``.ised_ASCII`` file, or a folder with one per metallicity.

    A file holds records, each a count followed by that many numbers: ages in yr; some lines of text
    with Z; wavelengths in Angstrom; for each age the spectrum in L_sun/Angstrom per M_sun formed and
    a short record of indices; then bolometric flux, living stellar mass, and more, at each age. The
    age 0 is dropped, as in the BC03-MILES grid. Air or vacuum is measured from the lines.

    Parameters
    ----------
    source : `pathlib.Path`
        File, possibly gzipped, or folder.

    Returns
    -------
    SSPLibrary

    Raises
    ------
    SFHCNNError
        If a file is not in this format, or the files of a folder differ in grid or IMF.
    """
    files = _files(source)
    if not files:
        raise SFHCNNError(f"{source} holds no file named *.ised_ASCII")
    imfs = {_imf(path.name) for path in files}
    models = sorted((_parse(path) for path in files), key=lambda model: model["z"])
    first = models[0]
    same = all(
        np.array_equal(m["age_yr"], first["age_yr"]) and np.array_equal(m["wave_aa"], first["wave_aa"]) for m in models
    )
    if len(imfs) != 1 or not same or len({m["z"] for m in models}) != len(models):
        raise SFHCNNError(
            f"{source}: the files must share IMF, ages and wavelengths and differ in metallicity; "
            f"got {', '.join(path.name for path in files)}"
        )
    keep = first["age_yr"] > 0
    wave_aa = first["wave_aa"]
    flux = np.stack([model["flux"][keep] for model in models])
    return SSPLibrary(
        name="galaxev",
        wave_aa=wave_aa,
        age_yr=first["age_yr"][keep],
        metallicity_dex=np.log10([model["z"] / _SOLAR for model in models]),
        flux=flux,
        surviving_fraction=np.stack([model["living"][keep] for model in models]),
        lsf_fwhm_aa=_lsf_fwhm(files[0].name, wave_aa),
        medium=measure_medium(wave_aa, flux, default="air"),
        imf=imfs.pop(),
        solar_metallicity=_SOLAR,
        reference="Bruzual & Charlot (2003), MNRAS 344, 1000",
        license="free for research with citation",
        surviving_definition="living stars",
    )


def _files(source):
    candidates = sorted(source.iterdir()) if source.is_dir() else [source]
    return [path for path in candidates if _NAME.search(path.name)]


def _imf(name):
    return next((imf for code, imf in _IMF.items() if code in name.lower()), "not stated in the file name")


def _lsf_fwhm(name, wave_aa):
    """FWHM in Angstrom by the stellar library in the file name; BaSeL is as coarse as its sampling."""
    if "miles" in name:
        return miles_stelib_fwhm(wave_aa)
    sampling = np.gradient(wave_aa)
    inside = (wave_aa >= 3200) & (wave_aa <= 9500)
    return np.where(inside & (sampling < 3), 3.0, sampling)


def _parse(path):
    """One file as a dictionary of Z, ages, wavelengths, flux (n_age, n_wave) and living mass (n_age,)."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="latin-1") as stream:
        lines = stream.read().splitlines()
    try:
        age_yr, start = _record_of_lines(lines, 0)
        # The text ends where a line starts a record of many numbers.
        first = next(i for i in range(start, len(lines)) if re.match(r"\s*\d{3,}\s+\d*\.", lines[i]))
        z = float(re.findall(r"Z=\s*(\d*\.\d+)", "\n".join(lines[start:first]))[-1])
        # Fortran drops the E of exponents with three digits.
        numbers = re.sub(r"(?<=\d)(?=[-+]\d{3}\b)", "E", " ".join(lines[first:])).split()
        values = np.array(numbers, dtype=float)
        wave_aa, at = _record(values, 0)
        flux = np.empty((age_yr.size, wave_aa.size), dtype=np.float32)
        for i in range(age_yr.size):
            flux[i], at = _record(values, at)
            _, at = _record(values, at)
        _, at = _record(values, at)
        living = _record(values, at)[0].reshape(age_yr.shape)
    except (StopIteration, IndexError, ValueError) as err:
        raise SFHCNNError(f"{path.name} is not a GALAXEV ASCII model or is cut short: {err}") from err
    return {"z": z, "age_yr": age_yr, "wave_aa": wave_aa, "flux": flux, "living": living}


def _record_of_lines(lines, start):
    """A record that begins with a line, and the number of the line after it."""
    values = [float(token) for token in lines[start].split()]
    while len(values) < values[0] + 1:
        start += 1
        values += [float(token) for token in lines[start].split()]
    return np.array(values[1:]), start + 1


def _record(values, at):
    """A record of an array of numbers, and where the next one starts."""
    count = int(values[at])
    record = values[at + 1 : at + 1 + count]
    if record.size != count:
        raise IndexError(f"a record of {count} numbers ends after {record.size}")
    return record, at + 1 + count
