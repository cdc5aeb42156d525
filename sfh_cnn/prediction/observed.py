"""A spectrum and its bands as data of unit noise, with what is not wanted left out of all products."""

import copy

import numpy as np

from sfh_cnn.photometry import band_matrix
from sfh_cnn.synthesis import CALIBRATION_SLOPE, calibration_modes, calibration_power

from .lines import near_lines

__all__ = ["ObservedSpectrum"]

#: Slopes of the power of calibration errors that are weighed against each other.
_SLOPES = np.linspace(*CALIBRATION_SLOPE, 7)
#: Pixels that are averaged to measure the noise: neighbours share some of it in resampled spectra, and what single
#: pixels scatter is up to a third less.
_BLOCK_PX = 4
#: Steps by which the kinematics of the models change, and prior widths of both changes, km/s.
_STEP_KMS = (10.0, 50.0)
_WIDTH_KMS = (50.0, 100.0)
#: Least prior width of the velocity that is allowed for, km/s.
_LEAST_WIDTH_KMS = 1.0
#: Least rms of the smooth errors that the fit of the noise allows for: dust laws differ from any mixture of stars.
_LEAST_BEND = 0.02
#: Times that the kinematics are fitted, each from the last answer.
_N_KINEMATIC_FIT = 3


class ObservedSpectrum:
    """One spectrum with its bands and the covariance of its errors.

    Gaussian noise of known shape. Part of the covariance: smooth calibration errors, as a Gaussian process of the
    amplitude given whose power is that of the training's errors, weighted by what the spectrum says of it; velocity,
    to first order around its best value; mismatch between spectrum and bands. Fitted beforehand: one factor on the
    error bars, from what is left when the spectrum is fitted by any combination of stars. The velocity dispersion is
    the caller's: lines that are sharper or broader look like other metallicities, and not to first order.

    Parameters
    ----------
    generator : `~sfh_cnn.synthesis.MockGenerator`
    flux, flux_err, mask : ndarray, shape (n_wave,)
        On the network's pixels, any unit of order 1.
    band_flux, band_flux_err : ndarray, shape (n_band,)
        In the same unit; NaN where missing.
    redshift, calibration_error : float
    velocity_dispersion, velocity : float
        First guesses, km/s, for what is fitted beforehand.

    Attributes
    ----------
    data : ndarray, shape (n_data,)
        Pixels, less what the prior of the velocity expects, then bands, over their noise; 0 where masked or missing.
    weight : ndarray, shape (n_data,)
        One over the noise; models times this compare with the data.
    bases : tuple of ndarray
        Young and old stars with velocity and dispersion, for `~sfh_cnn.synthesis.MockGenerator.spectra`.
    band_matrix : ndarray, shape (n_coarse, n_band)
    error_factor, sigma_kms, velocity_kms, calibration_slope : float
        What was fitted, or given to `with_dispersion`; the slope is that of the power of the calibration errors, a mean
        over its evidence.
    """

    def __init__(
        self,
        generator,
        flux,
        flux_err,
        mask,
        band_flux,
        band_flux_err,
        redshift,
        calibration_error,
        velocity_dispersion,
        velocity,
    ):
        self.generator, self.redshift = generator, redshift
        wave_aa = generator.wave_aa
        valid = ~mask & ~near_lines(wave_aa) & (flux_err > 0)
        self._inverse_err = np.where(valid, 1.0 / np.where(valid, flux_err, 1.0), 0.0)
        self._flux = np.where(valid, flux, 0.0)
        self.sigma_kms, self.velocity_kms = max(velocity_dispersion, 10.0), velocity
        modes = calibration_modes(len(wave_aa), generator.config.observation.calibration_scale_px)
        powers = calibration_power(_SLOPES, len(modes))  # (n_slope, n_mode)
        amplitude, weight = max(calibration_error, _LEAST_BEND), np.full(len(powers), 1.0 / len(powers))
        for _ in range(_N_KINEMATIC_FIT):
            curves = np.sqrt(2.0 * weight @ powers)[:, None] * modes
            stars, tangents, design = self._fit_stars(curves * amplitude)
            if calibration_error > 0:
                weight = self._weigh(powers, design, modes * calibration_error * stars)
        self.calibration_slope = float(weight @ _SLOPES)
        modes = np.sqrt(2.0 * weight @ powers)[:, None] * modes
        self._inverse_err = self._inverse_err / self.error_factor

        # Everything smooth that may be added to a model: data = level * model + noise + nuisance.
        curves = modes * calibration_error * stars if calibration_error > 0 else modes[:0]
        config = generator.config.observation
        bands = generator.config.instrument.bands
        has = np.isfinite(band_flux) & (band_flux_err > 0)
        self.band_matrix = band_matrix(generator.grid.coarse_wave_aa, bands, redshift).astype(np.float32)
        band_flux = np.where(has, band_flux, 0.0)
        grey, zero_point = (share * band_flux for share in config.band_mismatch(calibration_error))
        band_err = np.hypot(np.where(has, band_flux_err, 1.0), zero_point)
        self.weight = np.concatenate([self._inverse_err, np.where(has, 1.0 / band_err, 0.0)])
        # The models have the velocity that was fitted, its prior has its middle at 0: expected is a change by the rest.
        per_kms = tangents[:1] / _WIDTH_KMS[0]
        self.data = np.concatenate([self._flux + self.velocity_kms * per_kms[0], band_flux]) * self.weight
        width_kms = max(config.velocity_error_kms / 2, _LEAST_WIDTH_KMS)
        nuisance = np.concatenate([curves, width_kms * per_kms])  # (n_nuisance, n_wave)
        nuisance = np.concatenate([nuisance, np.zeros((len(nuisance), len(bands)))], axis=1)
        nuisance = np.concatenate([nuisance, np.concatenate([np.zeros(len(wave_aa)), grey])[None]]) * self.weight
        # Woodbury: with noise of unit variance the inverse covariance is 1 - P P^T, P = U L^-T, L L^T = 1 + U^T U.
        lower = np.linalg.cholesky(np.eye(len(nuisance)) + nuisance @ nuisance.T)
        self._project = np.linalg.solve(lower, nuisance).T  # (n_data, n_nuisance)
        self.bases = generator.broadened_bases(redshift, self.sigma_kms, self.velocity_kms)

    def with_dispersion(self, sigma_kms):
        """The same data, to be compared with stars of another velocity dispersion (km/s)."""
        other = copy.copy(self)
        other.sigma_kms = sigma_kms
        other.bases = self.generator.broadened_bases(self.redshift, sigma_kms, self.velocity_kms)
        return other

    def by_inverse_covariance(self, vectors):
        """Columns (n_data, n) multiplied by the inverse covariance of the errors."""
        return vectors - self._project @ (self._project.T @ vectors)

    def models(self, history, dust):
        """Models over the noise, (n, n_data); arguments as `~sfh_cnn.synthesis.MockGenerator.spectra` takes them."""
        flux, band_flux, _, _ = self.generator.spectra(history, dust, self.bases, self.band_matrix)
        return np.concatenate([flux, band_flux], axis=1) * self.weight

    def _fit_stars(self, curves):
        """Fit any combination of stars, calibration and kinematics; better kinematics, and the noise factor.

        Returns the stars' spectrum (n_wave,), its changes with velocity and dispersion (2, n_wave), scaled to
        their prior widths, and what may be added to the stars at little cost: templates and changes, scaled likewise.
        """
        generator, z = self.generator, self.redshift
        sigma, velocity = self.sigma_kms, self.velocity_kms
        wider = np.hypot(sigma, _STEP_KMS[1])
        here, moved, spread = (
            np.concatenate(generator.broadened_bases(z, *kinematics))
            for kinematics in ((sigma, velocity), (sigma, velocity + _STEP_KMS[0]), (wider, velocity))
        )
        size = np.abs(here).mean(axis=1, keepdims=True)
        here, moved, spread = here / size, moved / size, spread / size
        weight, data = self._inverse_err, self._flux * self._inverse_err
        level = np.sum(self._flux) / np.count_nonzero(weight)
        loose = np.full(len(here), (0.01 / level) ** 2)
        stars = _ridge(here * weight, data, loose)[0] @ here
        prior = np.concatenate([loose, np.ones(len(curves) + 2)])
        # Changes with velocity and dispersion are those of the stars that fit, found in a first round.
        tangents = np.zeros((2, len(stars)))
        for _ in range(2):
            design = np.concatenate([here, curves * stars, tangents])
            solution, used = _ridge(design * weight, data, prior)
            coefficients = solution[: len(here)]
            stars = coefficients @ here
            tangents = np.stack([coefficients @ moved - stars, coefficients @ spread - stars])
            tangents *= np.array([[_WIDTH_KMS[0] / _STEP_KMS[0]], [(_WIDTH_KMS[1] / _STEP_KMS[1]) ** 2]])
        design = np.concatenate([here, curves * stars, tangents])
        solution, used = _ridge(design * weight, data, prior)
        shift, change = solution[-2:]
        low, high = generator.config.observation.velocity_dispersion_range_kms
        self.velocity_kms = velocity + np.clip(shift, -2, 2) * _WIDTH_KMS[0]
        self.sigma_kms = np.clip(np.sqrt(max(sigma**2 + change * _WIDTH_KMS[1] ** 2, 1.0)), low, 1.2 * high)
        factor = _noise_factor(data - solution @ (design * weight), weight > 0, used)
        self.error_factor = max(factor, 1.0 / generator.config.observation.error_factor)
        return stars, tangents, np.concatenate([here / np.sqrt(loose)[:, None], tangents])

    def _weigh(self, powers, design, curves):
        """Weights (n_slope,) of calibration errors of some powers, from the evidence for each.

        Any combination of the rows of ``design`` with coefficients of order 1 may be part of the spectrum; ``curves``
        are its cosines.
        """
        inverse_err = self._inverse_err / self.error_factor
        rows = np.concatenate([design, curves]) * inverse_err
        matrix, vector = rows @ rows.T, rows @ (self._flux * inverse_err)
        evidence = []
        for power in powers:
            scale = np.concatenate([np.ones(len(design)), np.sqrt(2.0 * power)])
            lower = np.linalg.cholesky(np.eye(len(rows)) + matrix * np.outer(scale, scale))
            evidence.append(
                0.5 * np.sum(np.linalg.solve(lower, scale * vector) ** 2) - np.sum(np.log(lower.diagonal()))
            )
        weight = np.exp(np.array(evidence) - max(evidence))
        return weight / weight.sum()


def _noise_factor(residual, valid, n_parameter):
    """Rms of whitened residuals, averaged in blocks of pixels unless the fit has too many parameters for that."""
    block_px = _BLOCK_PX if np.count_nonzero(valid) > 2 * _BLOCK_PX * n_parameter else 1
    n = len(residual) // block_px * block_px
    full = valid[:n].reshape(-1, block_px).all(axis=1)
    mean = residual[:n].reshape(-1, block_px).sum(axis=1)[full] / np.sqrt(block_px)
    return np.sqrt(np.sum(mean**2) / max(len(mean) - n_parameter, 10))


def _ridge(design, data, prior):
    """Coefficients of the rows of ``design`` that fit, with their prior precision, and the parameters used."""
    matrix = design @ design.T
    inverse = np.linalg.inv(matrix + np.diag(prior))
    return inverse @ (design @ data), np.trace(inverse @ matrix)
