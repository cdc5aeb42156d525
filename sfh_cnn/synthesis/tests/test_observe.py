"""What telescope, sky and observer do: the size and the place of every effect."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sfh_cnn.core.constants import C_KMS
from sfh_cnn.synthesis import InstrumentConfig, ObservationConfig, observe

WAVE_AA = InstrumentConfig().wavelength_grid.wave_aa
N = 2000


@pytest.fixture
def rng():
    """Same numbers each time."""
    return np.random.default_rng(7)


def test_calibration_curves_have_the_rms_asked_for(rng):
    """On average over curves; zero amplitude is no error."""
    amplitude = np.repeat([0.003, 0.03, 0.0], 500)
    curves = observe.calibration_curves(rng, amplitude, 800, 25.0) - 1
    rms = np.sqrt(np.mean(curves**2, axis=1)).reshape(3, 500)
    assert_allclose(np.sqrt(np.mean(rms**2, axis=1))[:2], [0.003, 0.03], rtol=0.08)
    assert np.all(curves[1000:] == 0)


def test_calibration_curves_are_smooth(rng):
    """No power on scales below the shortest half wave, power on all above: tilts, curvature, wiggles."""
    curves = observe.calibration_curves(rng, np.full(400, 0.01), 800, 25.0) - 1
    mode = np.arange(800)
    basis = np.cos(np.pi * np.outer(mode, (np.arange(800) + 0.5) / 800))
    power = np.mean((curves @ basis.T) ** 2, axis=0)
    assert power[33:].sum() < 1e-6 * power.sum()
    assert np.all(power[1:33] > 0)
    assert power[1] > 3 * power[8] > 3 * power[32]


def test_error_shape_has_unit_median_and_knows_sky_lines(rng):
    """Within a few per cent at any pixel count; lines stand out in most spectra."""
    sky = np.zeros(len(WAVE_AA), dtype=np.float32)
    sky[1000:1010] = 5.0
    shape = observe.error_shape(rng, np.ones((300, len(WAVE_AA)), dtype=np.float32), sky)
    assert_allclose(np.median(shape, axis=1), 1, atol=0.02)
    assert np.all(shape > 0)
    contrast = shape[:, 1005] / shape[:, 990]
    assert 0.5 < np.mean(contrast > 1.2) < 0.9


def test_noise_has_the_quoted_power(rng):
    """Sums over many pixels scatter by the quoted errors in quadrature, also where neighbours share noise."""
    err = np.full((N, 400), 0.1, dtype=np.float32)
    noise = observe.add_noise(rng, np.zeros_like(err), err)
    assert_allclose(np.std(noise.sum(axis=1)), 0.1 * np.sqrt(400), rtol=0.06)
    # 60 per cent have independent pixels; the others share with a neighbour and scatter less.
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1], axis=1) / 0.01
    shared = neighbours > 0.15
    assert abs(np.mean(shared) - 0.4 * 0.64) < 0.06  # share (1 - share) > 0.15 from a share of 0.18 on
    assert_allclose(np.std(noise[np.abs(neighbours) < 0.05]), 0.1, rtol=0.03)
    assert np.std(noise[shared]) < 0.085


def test_coverage_is_cut_as_asked(rng):
    """The share of whole spectra, the shortest range, and one piece only."""
    mask = observe.coverage_mask(rng, N, WAVE_AA, full_share=0.5, min_coverage=0.3)
    kept = 1 - mask.mean(axis=1)
    # Of those that may be cut, 0.4 * 0.3 * 0.9 draw no cut at all.
    assert abs(np.mean(kept == 1) - (0.5 + 0.5 * 0.4 * 0.3 * 0.9)) < 0.03
    assert kept.min() > 0.3 - 1e-3
    assert np.all(np.abs(np.diff(mask.astype(int), axis=1)).sum(axis=1) <= 2)
    shares = [np.mean(~mask[:, np.searchsorted(WAVE_AA, wave)]) for wave in (5500, 6500, 8500)]
    assert shares[0] > shares[1] > shares[2] > 0.5


@pytest.mark.parametrize("redshift", [0.0, 0.02, 0.08])
def test_masks_sit_where_they_belong(rng, redshift):
    """Lines at their rest wavelengths; sky and notch move blueward in the rest frame as the redshift grows."""
    instrument = InstrumentConfig()
    mask = observe.draw_masks(rng, N, WAVE_AA, instrument, redshift, 1.0)

    def share(wave_aa):
        return mask[:, np.argmin(np.abs(WAVE_AA - wave_aa))].mean()

    background = np.median(mask.mean(axis=0))
    # H alpha, H beta, [O III] in 0.6 of the spectra and in all of the third with everything.
    for line in (4861.3, 5006.8, 6562.8):
        assert abs(share(line) - (1 - 0.4 * 2 / 3)) < 0.12
    notch = np.array(instrument.notch_window_aa) / (1 + redshift)
    assert share(notch.mean()) > 0.55
    edge = mask.mean(axis=0)[[np.searchsorted(WAVE_AA, notch[0] - 15), np.searchsorted(WAVE_AA, notch[0] + 5)]]
    assert edge[1] > edge[0] + 0.2
    assert share(7655 / (1 + redshift)) > 0.5  # telluric A band
    assert background < 0.35


def test_some_spectra_have_no_mask(rng):
    """The share of masked spectra is the one asked for."""
    mask = observe.draw_masks(rng, N, WAVE_AA, InstrumentConfig(), 0.01, 0.6)
    assert abs(np.mean(mask.any(axis=1)) - 0.6) < 0.04


def test_line_windows_have_their_width():
    """Half width and velocity in km/s."""
    windows = observe.line_windows(500.0, velocity_kms=100.0)
    centre = windows.mean(axis=1)
    assert np.any(np.abs(centre / (1 + 100 / C_KMS) - 6562.8) < 0.01)
    assert_allclose((windows[:, 1] - windows[:, 0]) / centre, 2 * 500 / C_KMS, rtol=1e-6)


def test_emission_lines_have_their_equivalent_widths(rng):
    """H alpha from 0.1 to 100 Angstrom even in the logarithm (scattered by 0.4 dex), at its place."""
    rows, lines = observe.emission_lines(rng, N, WAVE_AA, np.full(len(WAVE_AA), 1.1), 0.4)
    assert abs(len(rows) / N - 0.4) < 0.04
    near = np.abs(WAVE_AA - 4861.3) < 40  # H beta stands alone
    width = lines[:, near].sum(axis=1) * 1.25
    assert_allclose(np.mean(np.log10(width / 0.35)), 0.5, atol=0.15)
    assert_allclose(np.std(np.log10(width)), np.hypot(3 / np.sqrt(12), 0.4), atol=0.1)
    peak = WAVE_AA[near][np.argmax(lines[:, near].mean(axis=0))]
    assert abs(peak - 4861.3) < 4


def test_bands_have_the_errors_they_quote(rng):
    """Where error bars are right, and mismatch and zero points are switched off: unit scatter of the pulls."""
    config = ObservationConfig(
        no_bands_share=0.0, some_bands_share=0.0, right_error_share=1.0, grey_mismatch=0.0, zero_point_error=0.0
    )
    true = np.ones((N, 5)) * [0.1, 0.3, 0.8, 1.0, 1.1]
    flux, err = observe.add_band_errors(rng, true, config, np.zeros(N))
    assert_allclose(np.std((flux - true) / err, axis=0), 1, rtol=0.06)
    relative = err / true
    assert relative.min() >= 0.01 - 1e-6
    assert np.median(relative[:, 3]) == pytest.approx(np.sqrt(0.01 * 0.2), rel=0.15)


def test_bands_differ_from_the_spectrum_as_stated(rng):
    """Grey mismatch is common to the bands, zero points are their own; both grow with the calibration error."""
    config = ObservationConfig(no_bands_share=0.0, some_bands_share=0.0, band_error_range=(1e-4, 1e-4))
    for calibration in (0.0, 0.03):
        flux, _ = observe.add_band_errors(rng, np.full((4 * N, 5), 1e3), config, np.full(4 * N, calibration))
        log_factor = np.log(flux / 1e3)
        common = np.cov(log_factor.T)[np.triu_indices(5, 1)].mean()
        assert np.sqrt(common) == pytest.approx(0.01 + calibration, rel=0.05)
        own = np.var(log_factor - log_factor.mean(axis=1, keepdims=True)) * 5 / 4
        assert np.sqrt(own) == pytest.approx(0.005 + 1.5 * calibration, rel=0.05)


def test_bands_are_missing_as_often_as_asked(rng):
    """All of them in the first share of mocks, each with 40 per cent in the second."""
    flux, err = observe.add_band_errors(rng, np.ones((10 * N, 5)), ObservationConfig(), np.zeros(10 * N))
    missing = np.isnan(flux)
    assert np.array_equal(missing, np.isnan(err))
    # All five are missing by chance in 0.3 * 0.4^5 of the others.
    assert np.mean(missing.all(axis=1)) == pytest.approx(0.35 + 0.65 * 0.3 * 0.4**5, abs=0.012)
    assert missing.mean() == pytest.approx(0.35 + 0.65 * 0.3 * 0.4, abs=0.012)
