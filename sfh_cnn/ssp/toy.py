"""A small made-up SSP library, so that tests and docs need no real one."""

from __future__ import annotations

import numpy as np

from .library import SSPLibrary

__all__ = ["toy_ssp_library"]

#: Rest wavelength (Angstrom, air), width sigma (Angstrom) and kind of the absorption lines.
_LINES = (
    (4101.7, 6.0, "balmer"),
    (4340.5, 6.0, "balmer"),
    (4861.3, 6.0, "balmer"),
    (6562.8, 6.0, "balmer"),
    (3933.7, 8.0, "metal"),
    (3968.5, 8.0, "metal"),
    (4304.4, 10.0, "metal"),
    (5175.0, 12.0, "metal"),
    (5270.0, 8.0, "metal"),
    (5893.0, 6.0, "metal"),
    (8498.0, 4.0, "metal"),
    (8542.1, 5.0, "metal"),
    (8662.1, 5.0, "metal"),
)


def toy_ssp_library(step_aa: float = 5.0) -> SSPLibrary:
    """Make a smooth SSP library that is ordered like a real one.

    Older populations are redder and fainter per mass formed, Balmer lines are deepest at 300 Myr,
    metal lines grow with age and [M/H], and a break at 4000 Angstrom with them. The numbers
    are invented: use it for tests and examples, never for science.

    Parameters
    ----------
    step_aa : float, optional
        Pixel width in Angstrom.

    Returns
    -------
    SSPLibrary
        5 metallicities (-2 to +0.4 dex), 41 ages (0.1 Myr to 15.8 Gyr), 1500-10500 Angstrom, air.

    Examples
    --------
    >>> from sfh_cnn.ssp import toy_ssp_library
    >>> toy_ssp_library().medium
    'air'
    """
    wave_aa = np.arange(1500.0, 10500.0 + step_aa / 2, step_aa)
    log_age = np.linspace(5.0, 10.2, 41)
    metallicity_dex = np.array([-2.0, -1.0, -0.4, 0.0, 0.4])
    met, age, wave = np.meshgrid(metallicity_dex, log_age, wave_aa, indexing="ij")

    # A black body whose temperature falls with age and metallicity, normalised at 5500 Angstrom.
    log_temperature = 4.48 - 0.17 * np.clip(age - 6.5, 0, None) ** 1.1 - 0.02 * (met + 2) * np.clip(age - 8, 0, None)
    x = 1.4388e8 / (wave * 10**log_temperature)
    x_v = 1.4388e8 / (5500.0 * 10**log_temperature)
    shape = (5500.0 / wave) ** 5 * np.expm1(x_v) / np.expm1(x)

    metal_strength = 10 ** (0.35 * met) / (1 + np.exp(-2.5 * (age - 8.8)))
    depth = 0.02 + 0.28 * metal_strength
    balmer = 0.08 + 0.45 * np.exp(-0.5 * ((age - 8.5) / 0.6) ** 2)
    lines = np.ones_like(wave)
    for center, sigma, kind in _LINES:
        strength = balmer if kind == "balmer" else depth
        lines *= 1 - np.clip(strength, 0, 0.9) * np.exp(-0.5 * ((wave - center) / sigma) ** 2)
    lines *= 1 - np.clip(0.45 * metal_strength, 0, 0.8) / (1 + np.exp((wave - 3990.0) / 30.0))

    # Light per mass falls as age**-0.7 after the first 3 Myr.
    level = 2.5e-2 * 10 ** (-0.7 * np.clip(age - 6.5, 0, None))
    surviving = 1 - 0.11 * np.clip(log_age - 6.3, 0, None) * np.ones((metallicity_dex.size, 1))
    return SSPLibrary(
        name="toy",
        wave_aa=wave_aa,
        age_yr=10**log_age,
        metallicity_dex=metallicity_dex,
        flux=level * shape * lines,
        surviving_fraction=surviving,
        lsf_fwhm_aa=np.full(wave_aa.size, 2.5),
        medium="air",
        imf="none (made up)",
        solar_metallicity=0.02,
        reference="made up; not for science",
        license="BSD-3-Clause",
    )
