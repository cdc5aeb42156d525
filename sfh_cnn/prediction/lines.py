"""near_lines(): pixels that say little about stars."""

from sfh_cnn.synthesis import line_windows

__all__ = ["near_lines"]

#: Half width around emission lines that comparisons with models leave out, km/s: galaxies may have them or not.
_HALF_WIDTH_KMS = 500.0


def near_lines(wave_aa, half_width_kms=_HALF_WIDTH_KMS):
    """Which pixels lie near an emission line.

    Parameters
    ----------
    wave_aa : ndarray, shape (n_wave,)
        Rest frame, Angstrom.
    half_width_kms : float, optional
        km/s.

    Returns
    -------
    ndarray of bool, shape (n_wave,)
    """
    windows = line_windows(half_width_kms)
    return ((wave_aa >= windows[:, :1]) & (wave_aa <= windows[:, 1:])).any(axis=0)
