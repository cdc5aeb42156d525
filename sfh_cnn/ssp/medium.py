"""Air or vacuum: measured from the absorption lines of a library whose files do not say."""

import numpy as np

__all__ = ["air_index", "measure_medium"]

#: H beta, H alpha and two calcium lines in air, Angstrom (NIST): isolated enough at 3 Angstrom FWHM.
_LINES_AIR_AA = (4861.35, 6562.80, 8542.09, 8662.14)


def air_index(wave_vacuum_aa):
    """Refractive index of standard air (Ciddor 1996, Applied Optics 35, 1566, eq. 1); 1 below 2000 Angstrom."""
    wave_vacuum_aa = np.asarray(wave_vacuum_aa, dtype=float)
    wavenumber2 = (1e4 / np.maximum(wave_vacuum_aa, 2000.0)) ** 2
    index = 1 + 0.05792105 / (238.0185 - wavenumber2) + 0.00167917 / (57.362 - wavenumber2)
    return np.where(wave_vacuum_aa < 2000.0, 1.0, index)


def measure_medium(wave_aa, flux, default):
    """Tell air from vacuum wavelengths by the positions of strong absorption lines.

    The two differ by 1.4-2.4 Angstrom at these lines, half a resolution element or more of any library
    used in the optical; the median over the lines of the centroid, averaged over populations, decides.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Wavelengths in Angstrom.
    flux : ndarray, shape (n_met, n_age, n_wave)
        Spectra at any level.
    default : {"air", "vacuum"}
        Answer if no line is covered at pixels of 2 Angstrom or less, or none is deeper than 1 per cent.

    Returns
    -------
    {"air", "vacuum"}
    """
    shifts = []
    for line in _LINES_AIR_AA:
        near = np.abs(wave_aa - line) <= 15
        x = wave_aa[near]
        if x.size < 16:
            continue
        spectra = flux[..., near].reshape(-1, x.size)
        level = spectra.mean(axis=-1)
        y = (spectra[level > 0] / level[level > 0, None]).mean(axis=0)
        ends = [y[:3].mean(), y[-3:].mean()]
        depth = np.interp(x, x[[0, -1]], ends) - y
        deepest = np.argmax(np.where(np.abs(x - line) < 5, depth, -np.inf))
        if depth[deepest] > 0.01:
            core = np.abs(x - x[deepest]) < 4
            weight = np.clip(depth[core], 0, None)
            shifts.append((np.sum(x[core] * weight) / weight.sum() - line) / (line * (air_index(line) - 1)))
    if not shifts:
        return default
    return "vacuum" if np.median(shifts) > 0.5 else "air"
