"""Dust: attenuation laws as curves normalised at 5500 Angstrom, for a diffuse and a birth-cloud component."""

from __future__ import annotations

import numpy as np

__all__ = ["DUST_LAWS", "attenuation_curve", "transmission"]

#: Wavelength at which A_V is quoted, Angstrom.
V_WAVE_AA = 5500.0


def calzetti(wave_aa):
    """k(lambda) / R_V of Calzetti et al. (2000, ApJ 533, 682), eq. 4, with R_V = 4.05.

    The published law spans 1200-22000 Angstrom.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame wavelength, Angstrom.

    Returns
    -------
    ndarray, shape (n_wave,)
        A(lambda) / A_V before normalisation at 5500 Angstrom.
    """
    wave_um = np.asarray(wave_aa, dtype=float) / 1e4
    x = 1 / wave_um
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3)
    red = 2.659 * (-1.857 + 1.040 * x)
    # The published pieces miss each other by 0.025 at 0.63 micron, a step of half a per cent per magnitude that no
    # galaxy has and that a network would learn to read; they are blended over 0.60-0.66 micron.
    return (blue + (red - blue) * np.clip((wave_um - 0.60) / 0.06, 0, 1) + 4.05) / 4.05


def power_law(wave_aa, slope):
    """(lambda / 5500)^-slope; 0.7 is the diffuse medium of Charlot & Fall (2000, ApJ 539, 718)."""
    return (np.asarray(wave_aa, dtype=float) / V_WAVE_AA) ** -slope


def milky_way(wave_aa):
    """A(lambda) / A_V of Gordon et al. (2023, ApJ 950, 86) with R_V = 3.1, through dust_extinction."""
    import astropy.units as u
    from dust_extinction.parameter_averages import G23

    return np.asarray(G23(Rv=3.1)(np.asarray(wave_aa, dtype=float) * u.AA))


def _tilted_calzetti(delta):
    """Calzetti with its slope changed by ``delta`` (Noll et al. 2009, A&A 507, 1793, without the bump)."""
    return lambda wave_aa: calzetti(wave_aa) * (np.asarray(wave_aa, dtype=float) / V_WAVE_AA) ** delta


#: Every law that a configuration can name.
DUST_LAWS = {
    "calzetti": calzetti,
    "charlot-fall": lambda wave_aa: power_law(wave_aa, 0.7),
    "birth-cloud": lambda wave_aa: power_law(wave_aa, 1.3),
    "milky-way": milky_way,
    "calzetti-steep": _tilted_calzetti(-0.3),
    "calzetti-shallow": _tilted_calzetti(0.2),
}


def attenuation_curve(name: str, wave_aa: np.ndarray) -> np.ndarray:
    """A(lambda) / A_V of a named law, exactly 1 at 5500 Angstrom.

    Parameters
    ----------
    name : str
        A key of `DUST_LAWS`.
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame wavelength, Angstrom.

    Returns
    -------
    ndarray, shape (n_wave,), float32

    Raises
    ------
    KeyError
        If the law is unknown; the message lists the known ones.
    """
    if name not in DUST_LAWS:
        raise KeyError(f"unknown dust law {name!r}; known: {', '.join(DUST_LAWS)}")
    law = DUST_LAWS[name]
    return (law(wave_aa) / law(np.array([V_WAVE_AA]))).astype(np.float32)


def transmission(a_v, curve):
    """Share of the light that passes, 10^(-0.4 A_V curve).

    Parameters
    ----------
    a_v : ndarray, shape (n_spec,)
        Attenuation at 5500 Angstrom, mag.
    curve : ndarray, shape (n_wave,) or (n_spec, n_wave)
        A(lambda) / A_V.

    Returns
    -------
    ndarray, shape (n_spec, n_wave), float32
    """
    exponent = np.asarray(-0.4 * np.log(10.0) * a_v, dtype=np.float32)[:, None] * curve
    return np.exp(exponent, out=exponent)
