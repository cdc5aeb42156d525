"""The fit against weighted least squares in double precision."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sfh_cnn.core import kernels
from sfh_cnn.prediction.comparison import compare
from sfh_cnn.prediction.polynomial_fit import PolynomialFit
from sfh_cnn.synthesis import line_windows

WAVE_AA = np.arange(4750.0, 8750.0, 1.25)
MARGIN = 2


@pytest.mark.parametrize(("snr", "calibration"), [(5, 0.0), (30, 0.01), (200, 0.0)])
def test_least_squares(snr, calibration):
    """Model, chi2 and polynomial; what lies under the mask does not count, nor do lines."""
    rng = np.random.default_rng(snr)
    n = len(WAVE_AA)
    model = 3e-3 * (1 + 0.1 * rng.standard_normal((4, n)))
    flux = 400 * model * (1 + 0.2 * np.sin(WAVE_AA / 900))
    err = flux / snr * rng.uniform(0.5, 1.5, (4, n))
    flux = flux + err * rng.standard_normal((4, n))
    mask = rng.random((4, n)) < 0.2
    clean, clean_err = flux.copy(), err.copy()
    flux[0, mask[0]], flux[1, mask[1]], flux[2, mask[2]] = np.nan, np.inf, 0.0
    err[1, mask[1]], err[2, mask[2]], err[3, mask[3]] = np.nan, 0.0, -np.inf
    tensors = [torch.from_numpy(values.astype(np.float32)) for values in (model, flux, err)]
    fit = PolynomialFit(WAVE_AA)
    out, chi2, bend = fit(*tensors, torch.from_numpy(mask), torch.full((4,), calibration))

    windows = line_windows(500.0)
    near_line = np.any([(low <= WAVE_AA) & (high >= WAVE_AA) for low, high in windows], axis=0)
    assert 0.02 < near_line.mean() < 0.5
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, n), 4)
    for i in range(4):
        used = ~mask[i] & ~near_line
        sigma = np.hypot(clean_err[i], calibration * clean[i])[used]
        design = basis[used] * (model[i, used] / sigma)[:, None]
        solution = np.linalg.lstsq(design, clean[i, used] / sigma)[0]
        inside = slice(*(np.flatnonzero(~mask[i])[[0, -1]] + [0, 1]))
        assert_allclose(out[i, inside], ((basis @ solution) * model[i])[inside], rtol=1e-4)
        assert_allclose(bend[i, inside], (basis @ solution)[inside], rtol=1e-4)
        expected = np.sum((clean[i, used] / sigma - design @ solution) ** 2) / (np.count_nonzero(used) - 5)
        assert float(chi2[i]) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_is_made_up_beyond_the_ends(compiled, monkeypatch):
    """The light in the V window of a spectrum that begins redward of it is the model's, at the level of the data."""
    if not compiled:
        monkeypatch.setattr(kernels, "compiled", None)
    n = len(WAVE_AA)
    rng = np.random.default_rng(4)
    model = torch.from_numpy((1 + 0.1 * rng.standard_normal((6, n + 2 * MARGIN))).astype(np.float32))
    own = model[:, MARGIN:-MARGIN]
    flux = 3 * own + torch.from_numpy(0.3 * rng.standard_normal((6, n)).astype(np.float32))
    mask = torch.zeros(6, n, dtype=torch.bool)
    for row, ends in enumerate([(0, 9999), (5500, 9999), (6300, 9999), (7000, 9999), (0, 5300), (0, 5000)]):
        mask[row] = torch.from_numpy(np.abs(WAVE_AA - np.mean(ends)) > np.ptp(ends) / 2)
    flux[mask] = torch.nan
    window = slice(*np.searchsorted(WAVE_AA, [5070, 5950]))
    spectra = flux, torch.full((6, n), 0.3), mask, torch.zeros(6)
    history = {"velocity": torch.zeros(6), "a_v": torch.zeros(6)}
    given = (Stars(), PolynomialFit(WAVE_AA), model, torch.arange(6), history, spectra, window, slice(0, None, 16))
    _, light, _ = compare(*given)
    assert_allclose(light, 3 * own[:, window].mean(1), rtol=0.04)  # 0.3 where the polynomial went on


class Stars:
    """Stars as they are."""

    margin = MARGIN
    pixel_per_kms, log2_dust = torch.zeros(2, len(WAVE_AA))

    def seen(self, rows, position, velocity_kms, a_v):
        """As `StarSpectra.seen`."""
        return rows[position][:, MARGIN:-MARGIN].clone()
