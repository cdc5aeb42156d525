"""Readers of FSPS spectra: HDF5 files of DSPS, and a live python-fsps population."""

import numpy as np

from sfh_cnn.core import SFHCNNError, constants, require

from .library import SSPLibrary
from .medium import measure_medium

__all__ = ["identify_dsps", "identify_fsps", "read_dsps", "read_fsps"]

_C_AA_S = constants.C_KMS * 1e13
#: Z_sun of the MIST isochrones behind the files of DSPS (Choi et al. 2016).
_MIST_SOLAR = 0.0142
_REFERENCE = "Conroy, Gunn & White (2009), ApJ 699, 486; Conroy & Gunn (2010), ApJ 712, 833"
_IMF = {0: "Salpeter (1955)", 1: "Chabrier (2003)", 2: "Kroupa (2001)", 3: "van Dokkum (2008)", 4: "Dave (2008)"}


def identify_dsps(source):
    """Whether a file is HDF5 with the four arrays of a DSPS library."""
    if not hasattr(source, "suffix") or source.suffix not in (".h5", ".hdf5") or not source.is_file():
        return False
    with require("h5py", "synthesis").File(source, "r") as file:
        return {"ssp_lgmet", "ssp_lg_age_gyr", "ssp_wave", "ssp_flux"} <= set(file)


def read_dsps(source):
    """Read an SSP library of DSPS (Hearin et al. 2023).

    ``ssp_flux`` is in L_sun/Hz per M_sun formed, shape (n_met, n_age, n_wave), ``ssp_lgmet`` is log10 of
    the mass fraction Z, ``ssp_wave`` is in Angstrom, vacuum unless the lines say otherwise. The files
    state neither resolution nor IMF nor surviving mass: the resolution is taken as that of MILES, or
    the sampling where that is coarser.

    Parameters
    ----------
    source : `pathlib.Path`
        HDF5 file.

    Returns
    -------
    SSPLibrary
    """
    with require("h5py", "synthesis").File(source, "r") as file:
        try:
            wave_aa = file["ssp_wave"][:].astype(float)
            log_z = file["ssp_lgmet"][:].astype(float)
            age_yr = 10 ** (file["ssp_lg_age_gyr"][:].astype(float) + 9)
            flux = file["ssp_flux"][:] * (_C_AA_S / wave_aa**2)
        except KeyError as err:
            raise SFHCNNError(f"{source} is not a DSPS library: {err}") from err
    return SSPLibrary(
        name="dsps",
        wave_aa=wave_aa,
        age_yr=age_yr,
        metallicity_dex=log_z - np.log10(_MIST_SOLAR),
        flux=flux,
        surviving_fraction=None,
        lsf_fwhm_aa=np.maximum(2.5, np.gradient(wave_aa)),
        medium=measure_medium(wave_aa, flux, default="vacuum"),
        imf="as set when the file was made (FSPS default: Kroupa 2001)",
        solar_metallicity=_MIST_SOLAR,
        reference=f"Hearin et al. (2023), MNRAS 521, 1741; {_REFERENCE}",
        license="free for research with citation",
    )


def identify_fsps(source):
    """Whether an object is a ``fsps.StellarPopulation`` or looks like one."""
    return all(hasattr(source, name) for name in ("get_spectrum", "ssp_ages", "zlegend", "params"))


def read_fsps(population=None):
    """Take all SSPs of a python-fsps population.

    Parameters
    ----------
    population : ``fsps.StellarPopulation``, optional
        With ``sfh=0`` and ``zcontinuous=0``; dust, nebular emission and IMF are as it says. By default
        one is made without dust and nebular emission, which needs python-fsps and takes minutes.

    Returns
    -------
    SSPLibrary
        Surviving mass as FSPS defines it: living stars, and remnants unless they are switched off.

    Raises
    ------
    SFHCNNError
        If the population is not a simple one.
    """
    if population is None:
        population = require("fsps", "synthesis").StellarPopulation(
            sfh=0, zcontinuous=0, add_dust_emission=False, add_agb_dust_model=False
        )
    params = population.params
    if params["sfh"] != 0 or params["zcontinuous"] != 0:
        raise SFHCNNError(
            f"a StellarPopulation with sfh=0 and zcontinuous=0 is needed, got sfh={params['sfh']} and "
            f"zcontinuous={params['zcontinuous']}"
        )
    flux, surviving = [], []
    for i in range(len(population.zlegend)):
        wave_aa, spectra = population.get_spectrum(zmet=i + 1, tage=0.0, peraa=True)
        flux.append(np.asarray(spectra, dtype=np.float32))
        surviving.append(np.array(population.stellar_mass, dtype=float))
    flux = np.stack(flux)
    # Negative where FSPS only knows the resolution roughly.
    sigma_kms = np.abs(population.resolutions)
    solar = float(population.solar_metallicity)
    return SSPLibrary(
        name="fsps",
        wave_aa=wave_aa,
        age_yr=10 ** np.asarray(population.ssp_ages, dtype=float),
        metallicity_dex=np.log10(np.asarray(population.zlegend) / solar),
        flux=flux,
        surviving_fraction=np.stack(surviving),
        lsf_fwhm_aa=constants.FWHM_PER_SIGMA * sigma_kms / constants.C_KMS * wave_aa,
        medium=measure_medium(wave_aa, flux, default="vacuum"),
        imf=_IMF.get(params["imf_type"], "user-defined"),
        solar_metallicity=solar,
        reference=_REFERENCE,
        license="free for research with citation",
        surviving_definition=("living stars and remnants" if params["add_stellar_remnants"] else "living stars"),
    )
