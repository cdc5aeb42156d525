"""Reader of the template files of pPXF 9 and later."""

import re
import zipfile

import numpy as np

from sfh_cnn.core import SFHCNNError

from .library import SSPLibrary
from .medium import measure_medium

__all__ = ["identify_ppxf", "read_ppxf"]

_KEYS = ("templates", "masses", "lam", "ages", "metals", "fwhm")

#: IMF, Z_sun, medium that pPXF's own examples assume, and paper of the four files spectra_<flavour>_9.0.npz.
_FLAVOURS = {
    "emiles": ("Salpeter (1955)", 0.019, "air", "Vazdekis et al. (2016), MNRAS 463, 3409"),
    "fsps": ("Salpeter (1955)", 0.0142, "vacuum", "Conroy & Gunn (2010), ApJ 712, 833"),
    "galaxev": ("Salpeter (1955)", 0.017, "vacuum", "Bruzual & Charlot (2003), MNRAS 344, 1000"),
    "xsl": ("as distributed with pPXF", 0.0152, "vacuum", "Verro et al. (2022), A&A 661, A50"),
}
_UNKNOWN = ("not stated in the file", 0.02, "air", "the authors of the templates")


def identify_ppxf(source):
    """Whether a file is an npz with the six arrays that pPXF's ``sps_lib`` asks for."""
    if not hasattr(source, "suffix") or source.suffix != ".npz" or not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return {f"{key}.npy" for key in _KEYS} <= set(archive.namelist())


def read_ppxf(source):
    """Read a template file of pPXF (Cappellari 2023), one of its four or one made the same way.

    The arrays are ``templates`` (n_wave, n_age, n_met) in L_sun/Angstrom per M_sun formed, ``masses``
    (n_age, n_met) of living stars and remnants, ``lam`` and ``fwhm`` in Angstrom, ``ages`` in Gyr and
    ``metals`` in dex. Air or vacuum is measured from the lines, for the files do not say.

    Parameters
    ----------
    source : `pathlib.Path`
        ``spectra_emiles_9.0.npz`` or another, from the pPXF data repository.

    Returns
    -------
    SSPLibrary

    Raises
    ------
    SFHCNNError
        If an array is missing.
    """
    with np.load(source, allow_pickle=False) as file:
        if missing := [key for key in _KEYS if key not in file]:
            raise SFHCNNError(f"{source} lacks {', '.join(missing)}; see the documentation of ppxf.sps_util.sps_lib")
        templates, masses, lam, ages, metals, fwhm = (np.asarray(file[key]) for key in _KEYS)
    match = re.match(r"spectra_([a-z]+)_", source.name)
    flavour = match[1] if match and match[1] in _FLAVOURS else None
    imf, solar, medium, reference = _FLAVOURS.get(flavour, _UNKNOWN)
    flux = np.moveaxis(templates, (2, 1, 0), (0, 1, 2))
    return SSPLibrary(
        name=f"ppxf-{flavour or source.stem}",
        wave_aa=lam,
        age_yr=ages * 1e9,
        metallicity_dex=metals,
        flux=flux,
        surviving_fraction=masses.T,
        lsf_fwhm_aa=np.broadcast_to(fwhm, lam.shape),
        medium=measure_medium(lam, flux, default=medium),
        imf=imf,
        solar_metallicity=solar,
        reference=f"{reference}; as distributed with pPXF (Cappellari 2023, MNRAS 526, 3273)",
        license="free for non-commercial use; not to be redistributed",
    )
