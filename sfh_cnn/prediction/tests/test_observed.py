"""Observed spectra: what their covariance forgives, how the noise is measured, how the kinematics are found."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.photometry import band_matrix
from sfh_cnn.prediction.observed import ObservedSpectrum, _noise_factor
from sfh_cnn.prediction.replay import ReplayedPrior
from sfh_cnn.synthesis import calibration_curves, calibration_modes, calibration_power, draw_dust
from sfh_cnn.tests.small import small_generator

REDSHIFT, SIGMA_KMS, VELOCITY_KMS = 0.01, 120.0, 20.0


class Mock:
    """A noisy spectrum with two bands, and the history that made it, among others.

    By default its stars are old (mean log age 9.95), so that there are lines to be measured.
    """

    def __init__(self, snr=60.0, seed=8, bend=0.0, quoted=1.0):
        generator = small_generator()
        rng = np.random.default_rng(seed)
        prior = ReplayedPrior(generator.config, generator.grid.edges_yr, 1, (-2.0, 0.4))
        self.history = prior(rng.random((50, prior.n_number)))
        self.dust = draw_dust(rng, 50, generator.config.dust)
        bases = generator.broadened_bases(REDSHIFT, SIGMA_KMS, VELOCITY_KMS)
        matrix = band_matrix(generator.grid.coarse_wave_aa, generator.config.instrument.bands, REDSHIFT)
        flux, bands, *_ = generator.spectra(self.history, self.dust, bases, matrix.astype(np.float32))
        self.err = np.full(flux.shape[1], np.median(flux[0]) / snr)
        wave = np.cos(np.pi * 2 * (np.arange(flux.shape[1]) + 0.5) / flux.shape[1])
        self.flux = 3.0 * (flux[0] * (1 + bend * wave) + self.err * rng.standard_normal(flux.shape[1]))
        self.err *= 3.0 * quoted
        self.bands, self.bands_err = 3.0 * bands[0].astype(float), 0.15 * bands[0].astype(float)

    def observed(self, calibration_error=0.0, bands=True, sigma_kms=SIGMA_KMS, velocity_kms=VELOCITY_KMS):
        """Of this spectrum."""
        nothing = np.full_like(self.bands, np.nan)
        return ObservedSpectrum(
            small_generator(),
            self.flux,
            self.err,
            np.zeros(len(self.flux), dtype=bool),
            self.bands if bands else nothing,
            self.bands_err if bands else nothing,
            REDSHIFT,
            calibration_error,
            sigma_kms,
            velocity_kms,
        )


def chi2(observed, models):
    """Of models at their best levels, with the inverse covariance written out."""
    inverse = observed.by_inverse_covariance(np.eye(len(observed.data)))
    level = models @ inverse @ observed.data / np.sum((models @ inverse) * models, axis=1)
    residual = observed.data - level[:, None] * models
    return np.sum((residual @ inverse) * residual, axis=1)


def test_the_truth_is_the_most_likely_of_many():
    """At a level that it is not told."""
    mock = Mock()
    observed = mock.observed()
    assert np.argmin(chi2(observed, observed.models(mock.history, mock.dust))) == 0


def test_covariance_is_that_of_noise_and_smooth_errors():
    """Its inverse times random errors of known kinds has the mean square that a matching covariance gives."""
    mock = Mock(snr=100.0)
    observed = mock.observed(calibration_error=0.03, bands=False)
    n_wave = len(mock.flux)
    curves = calibration_curves(np.random.default_rng(4), np.full(400, 0.03), n_wave, 25.0) - 1.0
    noise = np.random.default_rng(5).standard_normal((400, len(observed.data))) * (observed.weight > 0)
    noise[:, :n_wave] += curves * observed.data[:n_wave]
    square = np.sum(noise * observed.by_inverse_covariance(noise.T).T, axis=1)
    assert_allclose(square.mean(), np.sum(observed.weight > 0), rtol=0.1)
    plain = mock.observed(calibration_error=0.0, bands=False)
    assert np.sum(noise * plain.by_inverse_covariance(noise.T).T, axis=1).mean() > 3 * square.mean()


@pytest.mark.parametrize("quoted", [0.5, 1.0, 1.4])
def test_wrong_error_bars_are_noticed(quoted):
    """The factor on the error bars makes up for what is wrong with them, down to 1 / 1.5."""
    mock = Mock(quoted=quoted, snr=40.0)
    assert_allclose(mock.observed().error_factor, max(1 / quoted, 1 / 1.5), rtol=0.25)


def test_smooth_errors_are_forgiven_where_they_are_allowed_for():
    """A bend of 2 per cent costs the truth a lot of likelihood with no calibration error, little with 3 per cent."""
    straight, bent = Mock(snr=100.0), Mock(snr=100.0, bend=0.02)

    def lost(calibration_error):
        values = []
        for mock in (straight, bent):
            seen = mock.observed(calibration_error, bands=False)
            values.append(0.5 * chi2(seen, seen.models(mock.history, mock.dust))[0])
        return values[1] - values[0]

    assert lost(0.03) < 10 < 50 < lost(0.0)


def test_the_velocity_is_found():
    """From a first guess that is off by what the network's may be."""
    observed = Mock(snr=100.0).observed(sigma_kms=160.0, velocity_kms=-20.0)
    assert abs(observed.velocity_kms - VELOCITY_KMS) < 30 < abs(-20.0 - VELOCITY_KMS)
    assert observed.sigma_kms < 160.0


def test_the_velocity_is_measured_from_the_middle_of_its_prior():
    """Stars at rest, moved to the velocity found like the models, are what the data are expected to be."""
    mock = Mock(snr=300.0)
    observed = mock.observed()
    generator, matrix = small_generator(), observed.band_matrix
    history, dust = {key: value[:1] for key, value in mock.history.items()}, tuple(part[:1] for part in mock.dust)
    at_rest, moving = (
        3.0 * generator.spectra(history, dust, generator.broadened_bases(REDSHIFT, SIGMA_KMS, velocity), matrix)[0][0]
        for velocity in (0.0, observed.velocity_kms)
    )
    used = observed.weight[: len(at_rest)] > 0
    change = (observed.data / np.where(observed.weight > 0, observed.weight, 1.0))[: len(at_rest)] - mock.flux
    expected = (moving - at_rest)[used]
    assert abs(observed.velocity_kms) > 5
    assert_allclose(change[used] @ expected / (expected @ expected), 1.0, atol=0.3)


@pytest.mark.parametrize(("slope", "low", "high"), [(0.2, 0.2, 1.0), (2.5, 1.7, 2.5)])
def test_the_power_of_smooth_errors_is_what_the_spectrum_shows(slope, low, high):
    """Wiggles on short scales and a mere bend, of the same rms, are told apart at high S/N."""
    mock = Mock(snr=200.0)
    modes = calibration_modes(len(mock.flux), 25.0)
    rng = np.random.default_rng(6)
    found = []
    for _ in range(3):
        coefficients = rng.standard_normal(len(modes)) * np.sqrt(2 * calibration_power([slope], len(modes))[0])
        bent = copy.copy(mock)
        bent.flux = mock.flux * (1 + 0.03 * coefficients @ modes)
        found.append(bent.observed(calibration_error=0.03).calibration_slope)
    assert low <= np.median(found) <= high


def test_the_dispersion_of_the_stars_is_found_among_several():
    """The true history is most likely with the dispersion that it has; the first fit does not matter."""
    mock, sigmas = Mock(snr=100.0), np.array([20.0, 70.0, 120.0, 170.0, 220.0])
    likely = []
    for first_guess in (60.0, 200.0):
        observed = mock.observed(sigma_kms=first_guess, velocity_kms=0.0)
        each = [observed.with_dispersion(sigma_kms) for sigma_kms in sigmas]
        values = [chi2(one, one.models(mock.history, mock.dust))[0] for one in each]
        likely.append(sigmas[np.argmin(values)])
        assert observed.sigma_kms not in sigmas  # copies were changed, not this one
    assert likely == [SIGMA_KMS, SIGMA_KMS]


def test_noise_that_neighbours_share_is_not_taken_for_less_noise():
    """As in resampled spectra: single pixels scatter by 0.58 of what stretches of them do, also where few are left."""
    rng = np.random.default_rng(8)
    shared = np.convolve(rng.standard_normal(1502), np.full(3, 1 / 3), mode="valid")
    assert np.std(shared) == pytest.approx(3**-0.5, rel=0.05)
    of_stretches = np.std(shared.reshape(-1, 4).sum(axis=1) / 2)
    factor = _noise_factor(shared, np.ones(1500, dtype=bool), 120.0)
    assert factor == pytest.approx(of_stretches * (375 / 255) ** 0.5, rel=0.02)
