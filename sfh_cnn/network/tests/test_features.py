"""Normalisation inside the network: flux scale out, masked pixels without influence, gaps bridged."""

import math

import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.network.features import BandFeatures, SpectrumFeatures

N_WAVE, BLOCK = 160, 16
WAVE = torch.linspace(-1, 1, N_WAVE)


@pytest.fixture
def features():
    """Ten blocks of 16 pixels."""
    return SpectrumFeatures(N_WAVE, BLOCK, 0.02)


@pytest.fixture
def spectra():
    """Four sloping spectra with lines, S/N 50, a fifth of the pixels masked."""
    torch.manual_seed(0)
    flux = 1 + 0.3 * WAVE * torch.arange(4)[:, None] / 3 + 0.01 * torch.randn(4, N_WAVE)
    return flux, 0.02 * torch.ones(4, N_WAVE), torch.rand(4, N_WAVE) < 0.2


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**30])
def test_the_flux_scale_drops_out(features, spectra, factor):
    """Only ``scale`` knows the unit; a power of two changes no digit."""
    flux, flux_err, mask = spectra
    here = features(flux, flux_err, mask)
    there = features(flux * factor, flux_err * factor, mask)
    for i in (0, 1, 2, 4):
        assert torch.equal(here[i], there[i])
    assert torch.equal(here[3] * factor, there[3])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, 0.0])
def test_values_under_the_mask_do_not_matter(features, spectra, bad):
    """Neither flux nor error of a masked pixel is looked at."""
    flux, flux_err, mask = spectra
    here = features(flux, flux_err, mask)
    there = features(flux.masked_fill(mask, bad), flux_err.masked_fill(mask, bad), mask)
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a, b)


def test_masked_pixels_carry_no_signal(features, spectra):
    """High-passed flux and precision are 0 there, and the precision lies between 0 and 1 elsewhere."""
    high_passed, precision, _, _, _ = features(*spectra)
    mask = spectra[2]
    assert (high_passed[mask] == 0).all()
    assert (precision[mask] == 0).all()
    assert (precision[~mask] > 0).all()
    assert (precision[~mask] <= 1).all()


def test_high_passed_flux_is_the_deviation_over_signal_and_noise(features):
    """One deviating pixel of a flat spectrum: (f / c - 1) / sqrt(noise^2 + floor^2), precision floor / that."""
    flux = torch.ones(1, N_WAVE)
    flux[0, 40] = 1.03
    flux_err = 0.015 * torch.ones(1, N_WAVE)
    high_passed, precision, _, scale, continuum = features(flux, flux_err, torch.zeros(1, N_WAVE, dtype=torch.bool))
    level = float(scale[0, 0] * continuum[0, 40])
    width = math.hypot(0.015 / level, 0.02)
    assert high_passed[0, 40].item() == pytest.approx((1.03 / level - 1) / width, rel=1e-4)
    assert precision[0, 40].item() == pytest.approx(0.02 / width, rel=1e-4)


def test_the_continuum_follows_a_slope(features):
    """A straight line comes back, away from the ends, where blocks have neighbours on one side only."""
    flux = 1 + 0.5 * WAVE[None]
    _, _, _, scale, continuum = features(flux, 0.01 * flux, torch.zeros(1, N_WAVE, dtype=torch.bool))
    middle = slice(3 * BLOCK, -3 * BLOCK)
    assert_close((scale * continuum)[:, middle], flux[:, middle], rtol=0.01, atol=0.0)


@pytest.mark.parametrize("gap", [slice(32, 48), slice(40, 120), slice(0, 100), slice(100, 160)])
def test_the_continuum_bridges_gaps_of_any_width(features, gap):
    """Where all is masked the continuum stays between the fluxes of the valid pixels."""
    flux = 1 + 0.5 * WAVE[None]
    mask = torch.zeros(1, N_WAVE, dtype=torch.bool)
    mask[:, gap] = True
    _, _, _, scale, continuum = features(flux, 0.01 * flux, mask)
    valid, bridged = flux[~mask], (scale * continuum)[0, gap]
    assert bridged.min() > 0.95 * valid.min()
    assert bridged.max() < 1.05 * valid.max()


def test_blocks_say_where_data_are(features, spectra):
    """Coverage is the share of valid pixels; a block without any has the noise of 'no information', log10(10)."""
    flux, flux_err, mask = spectra
    mask = mask.clone()
    mask[:, 2 * BLOCK : 3 * BLOCK] = True
    _, _, blocks, _, _ = features(flux, flux_err, mask)
    assert blocks.shape == (4, 3, N_WAVE // BLOCK)
    assert_close(blocks[:, 2], (~mask).float().view(4, -1, BLOCK).mean(-1))
    assert_close(blocks[:, 1, 2], torch.ones(4))
    good = [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert_close(blocks[:, 1, good], torch.full((4, 9), math.log10(0.02)), atol=0.2, rtol=0.0)


def test_an_all_masked_spectrum_is_finite(features):
    """Nothing to see gives numbers all the same; that it means nothing is the predictor's to say."""
    nothing = torch.full((1, N_WAVE), math.nan)
    for value in features(nothing, nothing, torch.ones(1, N_WAVE, dtype=torch.bool)):
        assert torch.isfinite(value).all()


def test_pixels_must_fill_the_blocks():
    """A remainder is refused, with both numbers."""
    with pytest.raises(ValueError, match=r"n_wave \(100\) must be a multiple of block_px \(16\)"):
        SpectrumFeatures(100, 16, 0.02)


def test_bands_missing_flux_or_error_are_absent():
    """NaN flux, NaN error or an error that is not positive: all features of the band are 0."""
    nan = math.nan
    flux = torch.tensor([[1.0, nan, 1.0, 1.0, 1.0]])
    err = torch.tensor([[0.1, 0.1, nan, 0.0, -1.0]])
    magnitude, error, presence = BandFeatures()(flux, err, torch.ones(1, 1)).view(3, 5)
    assert presence.tolist() == [1, 0, 0, 0, 0]
    assert (magnitude[1:] == 0).all()
    assert (error[1:] == 0).all()


def test_band_features_are_relative_to_the_spectrum():
    """Same numbers in any unit; magnitude asinh(50 f / s) - 4.6; error in that magnitude by error propagation."""
    flux, err, scale = torch.tensor([[2.0, 0.001]]), torch.tensor([[0.1, 0.01]]), torch.tensor([[4.0]])
    here = BandFeatures()(flux, err, scale)
    assert_close(here, BandFeatures()(flux * 2.0**20, err * 2.0**20, scale * 2.0**20))
    magnitude, error, _ = here.view(3, 2)
    step = 1e-4
    for i in range(2):
        f, e = flux[0, i].item(), err[0, i].item()
        assert magnitude[i].item() == pytest.approx(math.asinh(50 * f / 4) - 4.6, abs=1e-5)
        slope = (math.asinh(50 * (f + step) / 4) - math.asinh(50 * (f - step) / 4)) / (2 * step)
        assert error[i].item() == pytest.approx(math.log10(e * slope) + 1.2, abs=1e-3)


def test_negative_band_fluxes_are_data():
    """A flux below 0 within its error is a measurement, not a missing band."""
    out = BandFeatures()(torch.tensor([[-0.1]]), torch.tensor([[0.2]]), torch.ones(1, 1))
    assert torch.isfinite(out).all()
    assert out[0, 2] == 1
    assert out[0, 0] < -4.6
