"""Reader of MaStar SSPs in the form that the MaNGA data analysis pipeline ships."""

import re

import numpy as np
from astropy.io import fits

from sfh_cnn.core import SFHCNNError

from .grid_files import linear_axis, matching_names, open_matching, stack_grid
from .library import SSPLibrary

__all__ = ["identify_mastar", "read_mastar"]

_NAME = re.compile(r"^MaStar-SSP-A(?P<age>\d+\.\d+)-Z(?P<met>[+-]\d+\.\d+)\.fits(\.gz)?$")

#: Three ages are rounded in the file names; the README of the files has them in full, Gyr.
_FULL_AGE_GYR = {0.003: 0.00316228, 0.032: 0.03162278}


def identify_mastar(source):
    """Whether a folder or tar archive holds spectra named as in the sdss-mangadap package."""
    return hasattr(source, "is_dir") and bool(matching_names(source, _NAME))


def read_mastar(source):
    """Read a folder, or a tar archive, of MaStar SSPs.

    Each spectrum of this distribution is divided by its own median: the shapes are physical, the
    levels are not, and ``per_mass_formed`` is False. `SSPLibrary.with_light_of` takes the levels from
    another library. Wavelengths are in vacuum, log-spaced, with the resolving power in a second
    extension. Ages that lack a metallicity are left out.

    Parameters
    ----------
    source : `pathlib.Path`
        Folder or tar archive, for example ``mastar_ssp_noism_v1.0`` of the sdss-mangadap package.

    Returns
    -------
    SSPLibrary

    Raises
    ------
    SFHCNNError
        If no age is there at all metallicities.
    """
    spectra = {}
    for match, stream in open_matching(source, _NAME):
        with fits.open(stream) as hdus:
            wave_aa = 10 ** linear_axis(hdus[0].header, hdus[0].data.size)
            resolving_power = np.array(hdus["SRES"].data, dtype=float)
            age_gyr = float(match["age"])
            spectra[float(match["met"]), _FULL_AGE_GYR.get(age_gyr, age_gyr)] = np.array(hdus[0].data, dtype=float)
    if not spectra:
        raise SFHCNNError(f"{source} holds no spectrum named like MaStar-SSP-A01.000-Z+0.00.fits.gz")
    metallicity_dex, age_gyr, flux = stack_grid(spectra, source)
    return SSPLibrary(
        name="mastar",
        wave_aa=wave_aa,
        age_yr=age_gyr * 1e9,
        metallicity_dex=metallicity_dex,
        flux=flux,
        surviving_fraction=None,
        lsf_fwhm_aa=wave_aa / resolving_power,
        medium="vacuum",
        imf="Salpeter (1955)",
        solar_metallicity=0.02,
        reference="Maraston et al. (2020), MNRAS 496, 2962",
        license="free for research with citation; the files come with sdss-mangadap (BSD-3-Clause)",
        per_mass_formed=False,
    )
