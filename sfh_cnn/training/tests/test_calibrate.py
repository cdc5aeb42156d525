"""Intervals hold what they promise on new mocks, and the threshold of unusual spectra gives its false alarms."""

import copy

import numpy as np
import pytest
import torch

from sfh_cnn.core.constants import QUANTILE_LEVELS
from sfh_cnn.tests.small import small_generator, small_network
from sfh_cnn.training import FALSE_ALARM_RATE, INPUT_NAMES, calibrate, held_out_mocks


class Guess(torch.nn.Module):
    """Predicts the quantiles of a Gaussian of width ``sigma`` around a known mean; one quantity, a random latent."""

    def __init__(self, sigma, n_latent=40):
        super().__init__()
        normal = torch.distributions.Normal(0.0, 1.0)
        self.quantiles = sigma * normal.icdf(torch.tensor(QUANTILE_LEVELS))
        self.register_buffer("interval_factor", torch.ones(1, len(QUANTILE_LEVELS)))
        self.register_buffer("latent_mean", torch.zeros(n_latent))
        self.register_buffer("latent_whitening", torch.zeros(n_latent, n_latent))
        self.register_buffer("latent_threshold", torch.ones(1))

    def encode(self, mean, latent, *_):
        """The mean rides along."""
        self.mean = mean
        return latent

    def heads(self, latent):
        """No fractions."""
        return None, self.mean[:, None, None] + self.quantiles * self.interval_factor

    def targets(self, mass, *_):
        """The truth as it is."""
        return mass


def guess_mocks(n, seed, n_latent=40):
    """Truth: skewed around the mean, median 0, scale 1."""
    torch.manual_seed(seed)
    mean = 3 * torch.randn(n)
    error = torch.distributions.LogNormal(0.0, 0.5).sample((n,)) - 1
    mixing = torch.eye(n_latent) + 0.5 * torch.rand(n_latent, n_latent, generator=torch.Generator().manual_seed(0))
    values = [mean, torch.randn(n, n_latent) @ mixing, *[torch.zeros(n)] * 5]
    truth = {name: torch.zeros(n, 1) for name in ("light_fraction", "metallicity", "scalars")}
    return dict(zip(INPUT_NAMES, values, strict=True)) | {"mass_fraction": (mean + error)[:, None]} | truth


@pytest.mark.parametrize("sigma", [0.4, 0.6])
def test_each_level_becomes_right(sigma):
    """Shares below the quantiles, on mocks that calibration has not seen, are the levels to a per cent."""
    network = Guess(sigma)
    calibrate(network, guess_mocks(20_000, 0))
    fresh = guess_mocks(20_000, 1)
    latent = network.encode(*[fresh[name] for name in INPUT_NAMES])
    below = (fresh["mass_fraction"] < network.heads(latent)[1][:, 0]).float().mean(0)
    assert np.allclose(below, QUANTILE_LEVELS, atol=0.012)
    assert network.interval_factor[0, 3] == 1


def test_a_network_that_has_not_learnt_is_not_hidden():
    """Factors stay between 0.5 and 2."""
    assert calibrate(Guess(0.01), guess_mocks(2000, 0)).max() == 2
    assert calibrate(Guess(100.0), guess_mocks(2000, 0)).min() == 0.5


def test_false_alarms_are_as_rare_as_stated():
    """On fresh spectra of the same kind, with few calibration mocks for the dimensions."""
    network = Guess(0.5)
    calibrate(network, guess_mocks(3000, 0))
    fresh = guess_mocks(50_000, 1)["flux_err"]
    distance = ((fresh - network.latent_mean) @ network.latent_whitening).square().mean(1) / network.latent_threshold
    assert (distance > 1).float().mean().item() == pytest.approx(FALSE_ALARM_RATE, abs=0.005)


def test_the_distance_is_that_of_mahalanobis():
    """Mean square 1 per dimension, whatever the correlations of the latent vector are."""
    network = Guess(0.5)
    calibrate(network, guess_mocks(20_000, 0))
    fresh = guess_mocks(20_000, 1)["flux_err"]
    white = (fresh - network.latent_mean) @ network.latent_whitening
    assert np.allclose(np.cov(white.T.numpy()), np.eye(40), atol=0.06)


def test_calibrating_twice_changes_nothing():
    """It starts from factors of 1."""
    mocks = held_out_mocks(small_generator(), "calibration", 512)
    network = copy.deepcopy(small_network())
    first = calibrate(network, mocks).clone()
    assert torch.equal(calibrate(network, mocks), first)
    assert torch.isfinite(first).all()
