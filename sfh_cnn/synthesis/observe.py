"""What telescope, sky and observer do to a spectrum: errors, noise, masks, cuts, lines, bands.

Every function draws from an explicit generator and works on plain float32 arrays, spectra first.
"""

from __future__ import annotations

import numpy as np

from sfh_cnn.core.constants import C_KMS

__all__ = [
    "CALIBRATION_SLOPE",
    "add_band_errors",
    "add_noise",
    "calibration_curves",
    "calibration_modes",
    "calibration_power",
    "coverage_mask",
    "draw_masks",
    "emission_lines",
    "error_shape",
    "line_windows",
]

#: Emission lines that observers mask, air wavelengths in Angstrom (NIST), with the strength relative to
#: H alpha around which mocks scatter.
EMISSION_LINES = (
    (3727.4, 0.6), (4101.7, 0.09), (4340.5, 0.17), (4363.2, 0.01), (4861.3, 0.35), (4958.9, 0.10), (5006.8, 0.30),
    (5197.9, 0.02), (5200.3, 0.02), (5875.6, 0.04), (6300.3, 0.03), (6363.8, 0.01), (6548.0, 0.11),
    (6562.8, 1.00), (6583.5, 0.33), (6716.4, 0.20), (6730.8, 0.15), (7135.8, 0.03), (9068.6, 0.10), (9530.6, 0.25),
)  # fmt: skip
#: Interstellar Na D absorption, rest-frame window in Angstrom.
_NA_D_WINDOW_AA = (5880.0, 5906.0)
#: Range of the slopes with which the power of smooth errors falls with frequency.
CALIBRATION_SLOPE = (0.2, 2.5)


def calibration_modes(n_wave: int, shortest_px: float) -> np.ndarray:
    """Cosines of which calibration errors are sums.

    Parameters
    ----------
    n_wave : int
        Pixels.
    shortest_px : float
        Shortest half wave, pixels.

    Returns
    -------
    ndarray, shape (n_mode, n_wave)
        The longest first: half a wave over the whole range.
    """
    mode = np.arange(1, max(int(n_wave / shortest_px), 1) + 1)
    return np.cos(np.pi * np.outer(mode, (np.arange(n_wave) + 0.5) / n_wave))


def calibration_power(slope: np.ndarray, n_mode: int) -> np.ndarray:
    """Share of each cosine in the variance of a calibration error.

    Parameters
    ----------
    slope : ndarray, shape (n_slope,)
        With which the power falls with frequency, a power law.
    n_mode : int

    Returns
    -------
    ndarray, shape (n_slope, n_mode)
        Rows sum to 1.
    """
    power = np.arange(1, n_mode + 1) ** -np.asarray(slope)[:, None]
    return power / power.sum(axis=1, keepdims=True)


def calibration_curves(rng: np.random.Generator, amplitude: np.ndarray, n_wave: int, shortest_px: float) -> np.ndarray:
    """Smooth multiplicative errors on all scales, curvature included.

    A sum of cosines (half waves from the whole range down to ``shortest_px``) with random
    coefficients whose power falls with frequency by a random slope, so that some mocks have a
    tilt or a curvature and others wiggles; scaled to the rms asked for.

    Parameters
    ----------
    rng : numpy.random.Generator
    amplitude : ndarray, shape (n_spec,)
        Rms of each curve about 1.
    n_wave : int
        Pixels.
    shortest_px : float
        Shortest half wave, pixels.

    Returns
    -------
    ndarray, shape (n_spec, n_wave), float32
        Factors around 1.
    """
    basis = calibration_modes(n_wave, shortest_px).astype(np.float32)
    n_mode = len(basis)
    power = calibration_power(rng.uniform(*CALIBRATION_SLOPE, size=len(amplitude)), n_mode)
    draw = rng.standard_normal((len(amplitude), n_mode))
    coefficients = draw * np.sqrt(2 * power) * np.asarray(amplitude)[:, None]
    curves = coefficients.astype(np.float32) @ basis
    # Factors stay positive; a single draw may be larger than the rms that is asked for on average.
    return np.clip(1.0 + curves, 0.5, 1.5, out=curves)


def error_shape(rng, flux, sky_noise):
    """Shape of the error along the spectrum: photons, detector and sky, with unit median over the pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
    flux : ndarray, shape (n_spec, n_wave)
        Noise-free flux.
    sky_noise : ndarray, shape (n_wave,)
        Extra error at sky lines, 0 between them.

    Returns
    -------
    ndarray, shape (n_spec, n_wave), float32
    """
    n_spec, n_wave = flux.shape
    x = np.linspace(-1, 1, n_wave, dtype=np.float32)
    smooth = np.stack([x, x**2, np.cos(3 * np.pi * x), np.cos(5 * np.pi * x)])
    coefficients = rng.standard_normal((n_spec, 4)).astype(np.float32) * np.float32([0.25, 0.15, 0.05, 0.05])
    shape = np.clip(1.0 + coefficients @ smooth, 0.3, 3.0)
    sky = rng.uniform(0, 1.5, size=(n_spec, 1)).astype(np.float32) * (rng.random((n_spec, 1)) < 0.7)
    shape *= 1.0 + sky * sky_noise
    # Photon noise follows the square root of the flux; sky or detector noise does not.
    photon = rng.random(n_spec) < 0.5
    relative = flux[photon] / np.mean(flux[photon], axis=1, keepdims=True)
    shape[photon] *= np.sqrt(np.maximum(relative, 0.05))
    # A strided median is as good as a full one here, and eight times faster.
    return shape / np.median(shape[:, ::8], axis=1, keepdims=True)


def add_noise(rng, flux, flux_err):
    """Add Gaussian noise; in part of the spectra neighbouring pixels share some of it.

    Resampled spectra have correlated noise: linear interpolation between two pixels mixes their
    noise. The mocks quote the error that keeps the noise power per Angstrom, as
    `sfh_cnn.spectra.resample` does.

    Parameters
    ----------
    rng : numpy.random.Generator
    flux, flux_err : ndarray, shape (n_spec, n_wave)
        Noise-free flux and its error (1 sigma).

    Returns
    -------
    ndarray, shape (n_spec, n_wave), float32
    """
    noise = rng.standard_normal(flux.shape, dtype=np.float32)
    mixed = np.flatnonzero(rng.random(len(flux)) < 0.4)
    share = rng.uniform(0, 0.5, size=(len(mixed), 1)).astype(np.float32)
    noise[mixed] = (1 - share) * noise[mixed] + share * np.roll(noise[mixed], 1, axis=1)
    noise *= flux_err
    noise += flux
    return noise


def coverage_mask(rng, n_spec, wave_aa, full_share, min_coverage):
    """Cuts at one or both ends of the range.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_spec : int
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame pixels, Angstrom.
    full_share : float
        Share of spectra that keep the whole range.
    min_coverage : float
        Shortest coverage as a share of the range.

    Returns
    -------
    ndarray of bool, shape (n_spec, n_wave)
        True where there is no data.
    """
    low_end, high_end = wave_aa[0], wave_aa[-1]
    span = high_end - low_end
    # Blue cuts are short (the blue end of an instrument), red cuts of any length (4800-7000, 4800-6200, ...).
    low = low_end + np.where(rng.random(n_spec) < 0.6, 0.15 * span * rng.random(n_spec) ** 2, 0.0)
    shortest = np.minimum(low + min_coverage * span, high_end)
    high = np.where(rng.random(n_spec) < 0.7, shortest + (high_end - shortest) * rng.random(n_spec), high_end)
    few = rng.random(n_spec) < 0.1  # spectra that have lost their blue half
    low = np.where(few, low_end + 0.5 * span * rng.random(n_spec), low)
    high = np.where(few, high_end, high)
    full = rng.random(n_spec) < full_share
    low, high = np.where(full, low_end, low), np.where(full, high_end, high)
    return (wave_aa < low[:, None] - 1e-6) | (wave_aa > high[:, None] + 1e-6)


def line_windows(half_width_kms: float, velocity_kms: float = 0.0) -> np.ndarray:
    """Rest-frame windows around the emission lines.

    Parameters
    ----------
    half_width_kms : float
        Half width, km/s.
    velocity_kms : float, optional
        Of the gas relative to the rest frame, km/s.

    Returns
    -------
    ndarray, shape (n_line, 2)
        Lower and upper wavelengths, Angstrom.
    """
    centre = np.array([line for line, _ in EMISSION_LINES]) * (1 + velocity_kms / C_KMS)
    return centre[:, None] * (1 + np.array([-1, 1]) * half_width_kms / C_KMS)


def draw_masks(rng, n_spec, wave_aa, instrument, redshift, masked_share):
    """Masks as observers set them: lines at all widths in use, sky, Na D, the AO notch, and random holes.

    A third of the masked spectra have everything masked at once, the others each window at random.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_spec : int
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame pixels, Angstrom.
    instrument : InstrumentConfig
        Gives the observed-frame windows.
    redshift : float
        Moves them to the rest frame.
    masked_share : float
        Share of spectra with any mask.

    Returns
    -------
    ndarray of bool, shape (n_spec, n_wave)
        True is bad.
    """
    lines = line_windows(np.exp(rng.uniform(np.log(150), np.log(1500))))
    sky = np.array(instrument.sky_windows_aa).reshape(-1, 2) / (1 + redshift)
    notch = np.array([instrument.notch_window_aa]) / (1 + redshift)
    windows = np.concatenate([lines, sky, notch, [_NA_D_WINDOW_AA]])
    inside = ((wave_aa >= windows[:, :1]) & (wave_aa <= windows[:, 1:])).astype(np.float32)
    # Lines are masked as a set, for that is how masks are made.
    n_line = len(lines)
    member = np.zeros((n_spec, len(windows)), dtype=np.float32)
    member[:, :n_line] = rng.random((n_spec, 1)) < 0.6
    member[:, n_line:] = rng.random((n_spec, len(windows) - n_line)) < rng.random((n_spec, 1))
    member[rng.random(n_spec) < 1 / 3] = 1.0
    mask = (member @ inside) > 0
    # Random holes: dead columns, cosmic rays, up to a tenth of the range in one piece.
    n_wave = len(wave_aa)
    hole = rng.integers(n_wave, size=n_spec)
    width = (0.1 * n_wave * rng.random(n_spec) ** 4).astype(int)
    pixel = np.arange(n_wave)
    mask |= (pixel >= hole[:, None]) & (pixel < (hole + width)[:, None])
    speckled = np.flatnonzero(rng.random(n_spec) < 0.15)
    mask[speckled] |= rng.random((len(speckled), n_wave), dtype=np.float32) < 0.3 * rng.random((len(speckled), 1))
    mask[rng.random(n_spec) >= masked_share] = False
    return mask


def emission_lines(rng, n_spec, wave_aa, lsf_sigma_aa, emission_share):
    """Emission lines left in the spectrum, in units of a continuum of 1.

    Equivalent widths of H alpha from 0.1 to 100 Angstrom, line ratios scattered by a factor of 2.5,
    gas velocity and dispersion shared by the spectra of a call. They are a nuisance: they say nothing
    about the star formation history of the mock.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_spec : int
    wave_aa : ndarray, shape (n_wave,)
        Rest-frame pixels, Angstrom.
    lsf_sigma_aa : ndarray, shape (n_wave,)
        Line spread, Angstrom.
    emission_share : float
        Share of spectra with lines.

    Returns
    -------
    rows : ndarray of int
        Spectra that have lines.
    lines : ndarray, shape (len(rows), n_wave), float32
    """
    rows = np.flatnonzero(rng.random(n_spec) < emission_share)
    centre = np.array([line for line, _ in EMISSION_LINES]) * (1 + rng.normal(0, 50) / C_KMS)
    strength = np.array([value for _, value in EMISSION_LINES])
    gas_kms = np.exp(rng.uniform(np.log(20), np.log(300)))
    sigma = np.hypot(np.interp(centre, wave_aa, lsf_sigma_aa), centre * gas_kms / C_KMS)[:, None]
    profile = np.exp(-0.5 * ((wave_aa - centre[:, None]) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    width = 10 ** rng.uniform(-1, 2, size=(len(rows), 1))
    scatter = 10 ** (0.4 * rng.standard_normal((len(rows), len(centre))))
    return rows, (width * strength * scatter).astype(np.float32) @ profile.astype(np.float32)


def add_band_errors(rng, band_flux, config, calibration_error):
    """Noise, zero points, aperture mismatch and missing bands.

    Parameters
    ----------
    rng : numpy.random.Generator
    band_flux : ndarray, shape (n_spec, n_band)
        True fluxes; the spectrum's V-band level is about 1.
    config : ObservationConfig
    calibration_error : ndarray, shape (n_spec,)
        Of the spectra; mismatch grows with it.

    Returns
    -------
    band_flux, band_flux_err : ndarray, shape (n_spec, n_band), float32
        Measured fluxes and quoted errors; NaN where the band is missing.
    """
    n_spec, n_band = band_flux.shape
    grey, zero_point = config.band_mismatch(calibration_error)
    factor = np.exp(
        grey[:, None] * rng.standard_normal((n_spec, 1)) + zero_point[:, None] * rng.standard_normal((n_spec, n_band))
    )
    low, high = np.log(config.band_error_range)
    typical = rng.uniform(low, high, size=(n_spec, 1))
    relative = np.exp(np.clip(typical + 0.4 * rng.standard_normal((n_spec, n_band)), low, high))
    # Half of the sets are limited by the sky in their faint bands.
    floor = np.exp(rng.uniform(np.log(1e-4), np.log(0.05), size=(n_spec, 1))) * (rng.random((n_spec, 1)) < 0.5)
    true_err = np.hypot(relative * band_flux, floor)
    wrong = np.exp(0.2 * rng.standard_normal((n_spec, 1)) * (rng.random((n_spec, 1)) > config.right_error_share))
    measured = band_flux * factor + true_err * rng.standard_normal((n_spec, n_band))
    missing = rng.random((n_spec, n_band)) < 0.4
    missing &= rng.random((n_spec, 1)) < config.some_bands_share
    missing |= rng.random((n_spec, 1)) < config.no_bands_share
    measured[missing] = np.nan
    quoted = np.where(missing, np.nan, true_err * wrong)
    return measured.astype(np.float32), quoted.astype(np.float32)
