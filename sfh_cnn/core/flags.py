"""Quality flags of a prediction: one registry for bit, name and meaning."""

from __future__ import annotations

import enum

__all__ = ["Flag", "flag_names", "flag_table"]


class Flag(enum.IntFlag):
    """Bits of ``SFHResult.flags``; 0 is a prediction with nothing to object to."""

    NO_DATA = 1
    FEW_PIXELS = 2
    NO_UNCERTAINTY = 4
    SNR_OUTSIDE = 8
    REDSHIFT_OUTSIDE = 16
    PARTIAL_COVERAGE = 32
    BAD_BAND = 64
    UNUSUAL_SPECTRUM = 128
    POOR_RECONSTRUCTION = 256
    NEGATIVE_FLUX = 512
    CALIBRATION_OUTSIDE = 1024
    LOW_SAMPLE_SIZE = 2048
    REDSHIFT_DOUBTFUL = 4096
    BANDS_DISAGREE = 8192
    NETWORK_OFF = 16384


_MEANING = {
    Flag.NO_DATA: "no usable pixel or no positive flux: every number is NaN",
    Flag.FEW_PIXELS: "fewer valid pixels than the network accepts: every number is NaN",
    Flag.NO_UNCERTAINTY: "no uncertainty was given; the S/N was estimated from the spectrum itself (DER_SNR)",
    Flag.SNR_OUTSIDE: "S/N per pixel outside the trained range",
    Flag.REDSHIFT_OUTSIDE: "redshift outside the trained range",
    Flag.PARTIAL_COVERAGE: "the spectrum covers less than 90 per cent of the network's wavelength range",
    Flag.BAD_BAND: "at least one band flux or error was not finite or not positive and was left out",
    Flag.UNUSUAL_SPECTRUM: "the spectrum is unlike the training set (distance in latent space)",
    Flag.POOR_RECONSTRUCTION: "the reconstructed spectrum fits badly (reduced chi2 beyond that of its S/N in training)",
    Flag.NEGATIVE_FLUX: "more than 10 per cent of the valid pixels are negative by more than 3 sigma",
    Flag.CALIBRATION_OUTSIDE: "calibration_error outside the trained range; the nearest trained value was used",
    Flag.LOW_SAMPLE_SIZE: "refinement left too few effective draws; the network's answer is kept and may be off",
    Flag.REDSHIFT_DOUBTFUL: "the stars seem to move against the given redshift by more than was trained",
    Flag.BANDS_DISAGREE: "a band that the spectrum covers is brighter or fainter than it by more than was trained",
    Flag.NETWORK_OFF: "refinement moved an answer by far more than the network's interval; the refined one is given",
}


def flag_names(value: int) -> list[str]:
    """Names of the flags set in an integer, in bit order.

    Parameters
    ----------
    value : int
        Bit mask.

    Returns
    -------
    list of str
    """
    value = int(value)
    return [str(flag.name) for flag in Flag if value & flag]


def flag_table() -> list[tuple[int, str, str]]:
    """Every flag with its bit and meaning.

    Returns
    -------
    list of tuple
        (bit value, name, meaning), in bit order.
    """
    return [(int(flag), str(flag.name), _MEANING[flag]) for flag in Flag]
