"""Reader of the SSPs of the X-shooter Spectral Library."""

import re

import numpy as np

from sfh_cnn.core import SFHCNNError, constants

from .grid_files import linear_axis, matching_names, open_matching, read_spectrum, stack_grid
from .library import SSPLibrary
from .medium import measure_medium

__all__ = ["identify_xsl", "read_xsl"]

#: XSL_SSP_logT9.5_MH-0.2_Kroupa_PC.fits (PARSEC/COLIBRI) or XSL_SSP_T3.16e+09_Z0.019_Kroupa_P00.fits (Padova 2000).
_NAME = re.compile(
    r"^XSL_SSP_(?:logT(?P<log_age>[\d.]+)_MH(?P<mh>[-+]?[\d.]+)|T(?P<age>[\d.]+e\+?\d+)_Z(?P<z>[\d.]+))"
    r"_(?P<imf>Kroupa|Salpeter)_(?P<iso>PC|P00)\.fits(\.gz)?$"
)

#: The library's own web page: mass formed, M_sun, of the population behind each file, by IMF.
_MASS_FORMED_MSUN = {"Kroupa": 0.562, "Salpeter": 0.319}
_IMF = {"Kroupa": "Kroupa (2001), 0.09-120 M_sun", "Salpeter": "Salpeter (1955), 0.09-120 M_sun"}
#: Z_sun of the isochrones: Bressan et al. (2012) and Girardi et al. (2000).
_SOLAR = {"PC": 0.0152, "P00": 0.019}
_TEN_PARSEC_CM = 3.085677581491367e19


def identify_xsl(source):
    """Whether a folder or tar archive holds spectra named as on the XSL web site."""
    return hasattr(source, "is_dir") and bool(matching_names(source, _NAME))


def read_xsl(source):
    """Read a folder, or a tar archive, of XSL SSPs (Verro et al. 2022).

    The files hold erg/s/cm2/Angstrom at 10 pc of a population of 0.562 (Kroupa) or 0.319 (Salpeter)
    M_sun, on wavelengths in nm, log-spaced; air or vacuum is measured from the lines. All files must
    share IMF and isochrones; ages that lack a metallicity are left out.

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
        kinds.add((match["imf"], match["iso"]))
        solar = _SOLAR[match["iso"]]
        # + 0.0: the files of solar metallicity are named MH-0.0
        metallicity = float(match["mh"]) + 0.0 if match["mh"] else round(np.log10(float(match["z"]) / solar), 4)
        age_gyr = 10 ** (float(match["log_age"]) - 9) if match["log_age"] else float(match["age"]) / 1e9
        header, spectra[metallicity, age_gyr] = read_spectrum(stream)
    if len(kinds) != 1:
        found = ", ".join(sorted(" ".join(kind) for kind in kinds)) or "no spectrum"
        raise SFHCNNError(f"{source} needs one kind of XSL model (IMF and isochrones), got {found}")
    ((imf, isochrones),) = kinds
    metallicity_dex, age_gyr, flux = stack_grid(spectra, source)
    flux = flux * (4 * np.pi * _TEN_PARSEC_CM**2 / constants.L_SUN_ERG_S / _MASS_FORMED_MSUN[imf])
    wave_aa = 10 * 10 ** linear_axis(header, flux.shape[-1])
    # Dispersions of the three arms of X-shooter, km/s; an overlap has the resolution of the poorer arm.
    sigma_kms = np.select([wave_aa < 5600, wave_aa < 9940], [13.0, 11.0], default=16.0)
    return SSPLibrary(
        name="xsl",
        wave_aa=wave_aa,
        age_yr=age_gyr * 1e9,
        metallicity_dex=metallicity_dex,
        flux=flux,
        surviving_fraction=None,
        lsf_fwhm_aa=constants.FWHM_PER_SIGMA * sigma_kms / constants.C_KMS * wave_aa,
        medium=measure_medium(wave_aa, flux, default="air"),
        imf=_IMF[imf],
        solar_metallicity=_SOLAR[isochrones],
        reference="Verro et al. (2022), A&A 661, A50",
        license="free for research with citation",
    )
