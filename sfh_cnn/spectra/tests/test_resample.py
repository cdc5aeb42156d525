"""Resampling: integrals, errors and masks, against direct sums and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sfh_cnn.core import SFHCNNError, WavelengthGrid, kernels, pixel_edges
from sfh_cnn.spectra import resample_matrix, resample_spectra

GRID = WavelengthGrid(5000.0, 1.25, 400)
REDSHIFT = 0.013


@pytest.fixture(params=["finer", "coarser", "logarithmic"])
def edges_obs(request):
    """Observed pixels that cover the grid: narrower than its pixels, wider, or of growing width."""
    low, high = 4990 * (1 + REDSHIFT), 5520 * (1 + REDSHIFT)
    if request.param == "logarithmic":
        return np.geomspace(low, high, 600)
    return np.arange(low, high, {"finer": 0.37, "coarser": 3.1}[request.param])


def test_rows_sum_to_one_and_a_flat_spectrum_stays_flat(edges_obs):
    """Flux density is a mean over the pixel: a constant stays what it is."""
    matrix = resample_matrix(edges_obs, GRID, REDSHIFT)
    assert matrix.format == "csr"
    assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    flux, _, mask = resample_spectra(np.full((1, len(edges_obs) - 1), 3e-18), None, None, matrix)
    assert_allclose(flux, 3e-18, rtol=1e-6)
    assert not mask.any()


def test_overlaps_agree_with_a_brute_force_count(edges_obs):
    """Each weight is the overlap of two intervals over the width of the output pixel."""
    matrix = resample_matrix(edges_obs, GRID, REDSHIFT).toarray()
    out = GRID.edges_aa * (1 + REDSHIFT)
    overlap = np.minimum(out[1:, None], edges_obs[1:]) - np.maximum(out[:-1, None], edges_obs[:-1])
    assert_allclose(matrix, np.clip(overlap, 0, None) / np.diff(out)[:, None], atol=1e-10)


def test_the_integral_of_a_line_is_kept(edges_obs):
    """A narrow line keeps its flux whatever the pixels, and its rest wavelength."""
    centre = 0.5 * (edges_obs[1:] + edges_obs[:-1])
    line = np.exp(-0.5 * ((centre - 5270.3 * (1 + REDSHIFT)) / 4.0) ** 2)[np.newaxis]
    flux, _, _ = resample_spectra(line, None, None, resample_matrix(edges_obs, GRID, REDSHIFT))
    assert_allclose(flux.sum() * GRID.step_aa * (1 + REDSHIFT), (line * np.diff(edges_obs)).sum(), rtol=1e-6)
    assert_allclose((flux * GRID.wave_aa).sum() / flux.sum(), 5270.3, atol=0.05)


@given(shift=st.floats(-0.6, 0.6), width=st.floats(0.3, 4.0), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_flux_is_conserved_for_any_pixels(shift, width, seed):
    """The integral over the range that both share is the same before and after."""
    edges = np.arange(5000.0 + shift, 5400.0, width)
    grid = WavelengthGrid(4900.0, 1.25, 500)  # wider than the input on both sides
    flux = np.random.default_rng(seed).uniform(0, 1, len(edges) - 1)
    matrix = resample_matrix(edges, grid)
    assert_allclose((matrix @ flux).sum() * grid.step_aa, flux @ np.diff(edges), rtol=1e-10)


def test_identical_pixels_are_copied_with_their_errors():
    """Resampling onto the same pixels changes nothing."""
    rng = np.random.default_rng(1)
    flux, flux_err = rng.normal(1, 0.1, (3, GRID.n_wave)), rng.uniform(0.01, 0.02, (3, GRID.n_wave))
    out, err, mask = resample_spectra(flux, flux_err, None, resample_matrix(GRID.edges_aa, GRID))
    assert_allclose(out, flux, rtol=1e-6)
    assert_allclose(err, flux_err, rtol=1e-6)
    assert not mask.any()
    assert out.dtype == err.dtype == np.float32


def test_errors_keep_the_information_of_a_stretch_of_spectrum(edges_obs):
    """The summed inverse variance, (S/N)^2 of a flat spectrum, is that of the input over the same range."""
    matrix = resample_matrix(edges_obs, GRID, REDSHIFT)
    flux = np.ones((1, len(edges_obs) - 1))
    _, err, _ = resample_spectra(flux, 0.05 * flux, None, matrix)
    width_out = GRID.step_aa * (1 + REDSHIFT)
    per_angstrom_in = 1 / (0.05**2 * np.diff(edges_obs).mean())
    per_angstrom_out = (1 / err.astype(float) ** 2).mean() / width_out
    assert_allclose(per_angstrom_out, per_angstrom_in, rtol=2e-3 if np.ptp(np.diff(edges_obs)) > 0.01 else 1e-5)


def test_errors_match_the_scatter_of_wide_sums():
    """Noise drawn in the input pixels: sums over 50 output pixels scatter as their errors say."""
    rng = np.random.default_rng(2)
    edges = np.arange(4900.0, 5600.0, 1.9)
    flux = rng.normal(0, 0.1, (4000, len(edges) - 1))
    out, err, _ = resample_spectra(flux, np.full_like(flux, 0.1), None, resample_matrix(edges, GRID))
    sums = out.reshape(4000, -1, 50).sum(axis=2)
    expected = np.sqrt((err[0].astype(float) ** 2).reshape(-1, 50).sum(axis=1))
    assert_allclose(sums.std(axis=0), expected, rtol=0.05)


def test_bad_pixels_leave_and_never_leak():
    """Masked, NaN, infinite and error-free pixels change nothing beyond their own output pixels."""
    edges = np.arange(4990.0, 5520.0, 0.5)
    flux = np.tile(np.linspace(1, 2, len(edges) - 1), (5, 1))
    err, mask = np.full_like(flux, 0.1), np.zeros(flux.shape, dtype=bool)
    bad = slice(400, 420)
    matrix = resample_matrix(edges, GRID)
    clean, clean_err, _ = resample_spectra(flux, err, mask, matrix)
    flux[0, bad], mask[0, bad] = 1e9, True
    flux[1, bad] = np.nan
    flux[2, bad] = np.inf
    err[3, bad] = 0
    err[4, bad] = np.nan
    out, out_err, out_mask = resample_spectra(flux, err, mask, matrix)
    assert np.isfinite(out).all()
    assert np.isfinite(out_err).all()
    hit = (matrix.toarray()[:, bad].sum(axis=1)) > 0
    for row in range(5):
        assert_allclose(out[row, ~hit], clean[row, ~hit], rtol=1e-6)
        assert_allclose(out_err[row, ~hit], clean_err[row, ~hit], rtol=1e-6)
        assert out_mask[row].sum() in (7, 8)  # 10 Angstrom of 1.25: seven or eight pixels more than half gone
        assert (out[row, out_mask[row]] == 0).all()
    partly = hit & ~out_mask[0]
    assert_allclose(out[0, partly], clean[0, partly], atol=0.003)  # renormalised, not dimmed
    assert (out_err[0, partly] > clean_err[0, partly]).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("absurd", [1e-3, 1.0, 1e10, 1e30, 1e-38, 1e99, 1e300, 1e-307])
def test_absurd_errors_spoil_no_others(kind, compiled, absurd, monkeypatch):
    """Some pipelines give bad pixels an error of 1e10: squares of the others must not vanish beside it."""
    if not compiled:
        monkeypatch.setattr(kernels, "compiled", None)
    elif kernels.compiled is None:
        pytest.skip("no compiled kernels")
    if not float(np.finfo(kind).smallest_subnormal) < absurd < float(np.finfo(kind).max):
        pytest.skip("no such number")
    matrix = resample_matrix(GRID.edges_aa, GRID)
    err = np.full((3, GRID.n_wave), 2.5e-18, dtype=kind)
    err[:2, 100] = err[2, ::20] = absurd
    mask = np.zeros(err.shape, dtype=bool)
    mask[0, 100] = True
    flux, err_out, bad = resample_spectra(np.full(err.shape, 1e-16, dtype=kind), err, mask, matrix)
    others = err[2] != kind(absurd)
    assert bad[0, 100]
    assert bad[1, 100] == (absurd not in (1e-3, 1.0))  # 1e18 times more, or less, than the others
    assert not bad[:, others].any()
    assert_allclose(err_out[:, others], 2.5e-18, rtol=1e-6)
    assert_allclose(flux[:, others], 1e-16, rtol=1e-6)
    if not bad[1, 100]:
        assert_allclose(err_out[1, 100], absurd, rtol=1e-6)


def test_half_a_pixel_has_twice_the_variance():
    """Two input pixels per output pixel, one of them bad: the error is that of the other one."""
    edges = np.linspace(*GRID.edges_aa[[0, -1]], 2 * GRID.n_wave + 1)
    flux = np.ones((1, 2 * GRID.n_wave))
    mask = np.zeros(flux.shape, dtype=bool)
    mask[0, 20] = True
    _, err, bad = resample_spectra(flux, 0.1 * flux, mask, resample_matrix(edges, GRID))
    assert not bad.any()
    assert_allclose(err[0, 9:12], [0.1 / np.sqrt(2), 0.1, 0.1 / np.sqrt(2)], rtol=1e-6)


def test_pixels_outside_the_observed_range_are_masked():
    """A spectrum that stops early leaves the rest of the grid bad, also when they do not meet at all."""
    edges = np.arange(5100.0, 5300.2, 1.0)
    flux = np.ones((1, len(edges) - 1))
    out, err, mask = resample_spectra(flux, 0.1 * flux, None, resample_matrix(edges, GRID))
    inside = (GRID.wave_aa >= 5100) & (GRID.wave_aa <= 5300)  # half a pixel is enough
    assert (mask[0] == ~inside).all()
    assert_allclose(out[0, inside], 1, rtol=1e-6)
    assert_allclose(err[0, inside][2:-2], 0.1 / np.sqrt(1.25), rtol=1e-5)
    nowhere = resample_matrix(edges + 5000, GRID)
    assert nowhere.nnz == 0
    assert resample_spectra(flux, None, None, nowhere)[2].all()


def test_a_batch_is_the_sum_of_its_spectra():
    """Every spectrum comes out as it does alone, for batches longer than a block."""
    rng = np.random.default_rng(3)
    edges = np.arange(4990.0, 5520.0, 0.9)
    flux, err = rng.normal(1, 0.1, (150, len(edges) - 1)), rng.uniform(0.1, 0.2, (150, len(edges) - 1))
    mask = rng.random(flux.shape) < 0.05
    matrix = resample_matrix(edges, GRID)
    batch = resample_spectra(flux, err, mask, matrix)
    for row in (0, 70, 149):
        alone = resample_spectra(flux[[row]], err[[row]], mask[[row]], matrix)
        for many, one in zip(batch, alone, strict=True):
            assert (many[row] == one[0]).all()


def test_refusals():
    """Unsorted edges, impossible redshifts and shapes that do not fit are named."""
    edges = pixel_edges(np.arange(5000.0, 5100.0))
    with pytest.raises(SFHCNNError, match="increasing"):
        resample_matrix(edges[::-1], GRID)
    with pytest.raises(SFHCNNError, match="redshift"):
        resample_matrix(edges, GRID, np.nan)
    with pytest.raises(SFHCNNError, match=r"\(n_spec, 100\)"):
        resample_spectra(np.ones((2, 99)), None, None, resample_matrix(edges, GRID))
    with pytest.raises(SFHCNNError, match="flux_err has shape"):
        resample_spectra(np.ones((2, 100)), np.ones((1, 100)), None, resample_matrix(edges, GRID))
