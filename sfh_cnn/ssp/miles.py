"""Reader of MILES, MIUSCAT and E-MILES spectra in the form that the MILES web tool delivers."""

import re

import numpy as np

from sfh_cnn.core import SFHCNNError, constants

from .grid_files import linear_axis, matching_names, open_matching, read_spectrum, stack_grid
from .library import SSPLibrary

__all__ = ["identify_miles", "read_miles"]

#: For example Eun1.30Zp0.06T07.9433_iPp0.00_baseFe.fits: spectral range E, IMF un, slope 1.30,
#: [M/H] +0.06, 7.9433 Gyr, Padova isochrones.
_NAME = re.compile(
    r"^(?P<family>[A-Z](?P<imf>un|bi|ku|kb|ch)(?P<slope>\d\.\d+))Z(?P<sign>[mp])(?P<met>\d\.\d+)T(?P<age>\d+\.\d+)"
    r"(?P<variant>.*)\.fits(\.gz)?$"
)

_IMF = {
    "un": "unimodal (Vazdekis et al. 1996)",
    "bi": "bimodal (Vazdekis et al. 1996)",
    "ku": "Kroupa (2001), universal",
    "kb": "Kroupa (2001), revised",
    "ch": "Chabrier (2003)",
}

_MASS_TABLE = re.compile(r"ssp_mass.*\.txt$|^out_mass", re.IGNORECASE)


def identify_miles(source):
    """Whether a folder or tar archive holds spectra named as the MILES web tool does."""
    return hasattr(source, "is_dir") and bool(matching_names(source, _NAME))


def read_miles(source):
    """Read a folder, or a tar archive, of MILES or E-MILES spectra.

    The spectra are in L_sun/Angstrom for a population of initially 1 M_sun, air wavelengths. All files
    must share IMF, isochrones and abundances, and ages that lack a metallicity are left out. If the folder also
    holds the table of masses of the same web site (``*ssp_mass*.txt``), the surviving fraction, living
    stars and remnants, is taken from it. The unimodal IMF of slope 1.30 is that of Salpeter (1955).

    Parameters
    ----------
    source : `pathlib.Path`
        Folder or tar archive.

    Returns
    -------
    SSPLibrary

    Raises
    ------
    SFHCNNError
        If models of different kinds are mixed or no age is there at all metallicities.
    """
    spectra, kinds, header = {}, set(), None
    for match, stream in open_matching(source, _NAME):
        kinds.add((match["family"], match["variant"]))
        metallicity = float(match["met"]) * (-1 if match["sign"] == "m" else 1)
        header, spectra[metallicity, float(match["age"])] = read_spectrum(stream)
    if len(kinds) != 1:
        found = ", ".join(sorted("".join(kind) for kind in kinds)) or "no spectrum"
        raise SFHCNNError(f"{source} needs one kind of MILES model (IMF, isochrones, abundances), got {found}")
    ((family, variant),) = kinds
    metallicity_dex, age_gyr, flux = stack_grid(spectra, source)
    wave_aa = linear_axis(header, flux.shape[-1])
    imf_code, slope = family[1:3], family[3:]
    imf = "Salpeter (1955)" if family[1:] == "un1.30" else f"{_IMF[imf_code]}, slope {slope}"
    return SSPLibrary(
        name="e-miles" if family[0] == "E" else "miles",
        wave_aa=wave_aa,
        age_yr=age_gyr * 1e9,
        metallicity_dex=metallicity_dex,
        flux=flux,
        surviving_fraction=_surviving_fraction(source, imf_code, float(slope), metallicity_dex, age_gyr),
        lsf_fwhm_aa=_lsf_fwhm(wave_aa),
        medium="air",
        imf=f"{imf}, 0.1-100 M_sun",
        solar_metallicity=0.02 if variant.startswith("_iT") else 0.019,
        reference="Vazdekis et al. (2016), MNRAS 463, 3409; Vazdekis et al. (2010), MNRAS 404, 1639",
        license="free for non-commercial use with acknowledgement of the MILES web site; not to be redistributed",
    )


def _lsf_fwhm(wave_aa):
    """FWHM in Angstrom: Vazdekis et al. (2016), section 2, and Falcon-Barroso et al. (2011) for MILES."""
    red = constants.FWHM_PER_SIGMA * 60.0 / constants.C_KMS * wave_aa
    return np.select([wave_aa < 3060.8, wave_aa < 3541.4, wave_aa < 8950.4], [3.0, 5.0, 2.51], default=red)


def _surviving_fraction(source, imf_code, slope, metallicity_dex, age_gyr):
    """Living stars and remnants per initial mass, shape (n_met, n_age), or None without a table that fits.

    Columns of the table: IMF, slope, [M/H], age in Gyr, total mass, stars and remnants, and more. Its
    metallicities carry more digits than the file names, so the nearest row counts.
    """
    for _, stream in open_matching(source, _MASS_TABLE):
        rows = [line.split()[:6] for line in stream.read().decode("ascii").splitlines() if not line.startswith("#")]
        rows = np.array([row[1:] for row in rows if len(row) == 6 and row[0].lower() == imf_code], dtype=float)
        if not rows.size:
            continue
        rows = rows[np.abs(rows[:, 0] - slope) < 0.005]
        met, log_age = np.meshgrid(metallicity_dex, np.log10(age_gyr), indexing="ij")
        distance = np.hypot(rows[:, 1] - met[..., None], np.log10(rows[:, 2]) - log_age[..., None])
        if rows.size and distance.min(axis=-1).max() < 0.02:
            return rows[np.argmin(distance, axis=-1), 4]
    return None
