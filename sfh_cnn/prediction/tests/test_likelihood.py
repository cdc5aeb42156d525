"""The likelihood: where it peaks, what it forgives, and how it measures the noise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.photometry import band_matrix
from sfh_cnn.prediction.likelihood import SpectrumLikelihood
from sfh_cnn.prediction.replay import ReplayedPrior
from sfh_cnn.tests.small import small_generator

REDSHIFT, SIGMA_KMS, VELOCITY_KMS = 0.01, 120.0, 20.0


class Mock:
    """A noisy spectrum with two bands, and the history that made it, among others."""

    def __init__(self, snr=60.0, seed=1, bend=0.0, quoted=1.0):
        generator = small_generator()
        rng = np.random.default_rng(seed)
        prior = ReplayedPrior(generator.config, generator.grid.edges_yr, 1, (-2.0, 0.4))
        self.history, self.dust = prior(rng.random((50, prior.n_number)))
        bases = generator.broadened_bases(REDSHIFT, SIGMA_KMS, VELOCITY_KMS)
        matrix = band_matrix(generator.grid.coarse_wave_aa, generator.config.instrument.bands, REDSHIFT)
        flux, bands, *_ = generator.spectra(self.history, self.dust, bases, matrix.astype(np.float32))
        self.err = np.full(flux.shape[1], np.median(flux[0]) / snr)
        wave = np.cos(np.pi * 2 * (np.arange(flux.shape[1]) + 0.5) / flux.shape[1])
        self.flux = 3.0 * (flux[0] * (1 + bend * wave) + self.err * rng.standard_normal(flux.shape[1]))
        self.err *= 3.0 * quoted
        self.bands, self.bands_err = 3.0 * bands[0].astype(float), 0.15 * bands[0].astype(float)

    def likelihood(self, calibration_error=0.0, bands=True, sigma_kms=SIGMA_KMS, velocity_kms=VELOCITY_KMS):
        """Of this spectrum."""
        nothing = np.full_like(self.bands, np.nan)
        return SpectrumLikelihood(
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


def test_the_truth_is_the_most_likely_of_many():
    """At a level that it is not told."""
    mock = Mock()
    assert np.argmax(mock.likelihood()(mock.history, mock.dust)) == 0


def test_chi2_is_that_of_the_dense_covariance():
    """Without bands, calibration errors and kinematics it is the plain sum over the valid pixels."""
    mock = Mock()
    likelihood = mock.likelihood(bands=False)
    rows = slice(0, 5)
    history = {key: value[rows] for key, value in mock.history.items()}
    dust = tuple(part[rows] for part in mock.dust)
    flux, *_ = small_generator().spectra(history, dust, likelihood.bases, likelihood._band_matrix)
    n = len(mock.flux)
    weight = likelihood._weight[:n].astype(float)
    assert_allclose(weight[weight > 0], 1 / (mock.err[weight > 0] * likelihood.error_factor), rtol=1e-6)
    # The nuisance in dense form, from its projection: C^-1 = 1 - P P^T in units of the noise.
    inverse = np.eye(n) - likelihood._project[:n].astype(float) @ likelihood._project[:n].astype(float).T
    data = mock.flux * weight
    expected = []
    for model in flux * weight:
        square = model @ inverse @ model
        residual = data - (model @ inverse @ data) / square * model
        expected.append(-0.5 * residual @ inverse @ residual - 0.5 * np.log(square))
    assert_allclose(likelihood(history, dust), expected, rtol=2e-4, atol=0.02)


@pytest.mark.parametrize("quoted", [0.5, 1.0, 1.4])
def test_wrong_error_bars_are_noticed(quoted):
    """The factor on the error bars makes up for what is wrong with them, down to 1 / 1.5."""
    mock = Mock(quoted=quoted, snr=40.0)
    assert_allclose(mock.likelihood().error_factor, max(1 / quoted, 1 / 1.5), rtol=0.25)


def test_smooth_errors_are_forgiven_where_they_are_allowed_for():
    """A bend of 2 per cent costs the truth a lot of likelihood with no calibration error, little with 3 per cent."""
    straight, bent = Mock(snr=100.0), Mock(snr=100.0, bend=0.02)

    def lost(calibration_error):
        values = [
            mock.likelihood(calibration_error, bands=False)(mock.history, mock.dust)[0] for mock in (straight, bent)
        ]
        return values[0] - values[1]

    assert lost(0.03) < 10 < 50 < lost(0.0)


def test_the_velocity_is_found():
    """From a first guess that is off by what the network's may be."""
    likelihood = Mock(snr=100.0).likelihood(sigma_kms=160.0, velocity_kms=-20.0)
    assert abs(likelihood.velocity_kms - VELOCITY_KMS) < 30 < abs(-20.0 - VELOCITY_KMS)
    assert likelihood.sigma_kms < 160.0
