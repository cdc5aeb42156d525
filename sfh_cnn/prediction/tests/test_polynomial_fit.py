"""The fit against weighted least squares in double precision."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sfh_cnn.prediction.polynomial_fit import PolynomialFit
from sfh_cnn.synthesis import line_windows

WAVE_AA = np.arange(4750.0, 8750.0, 1.25)


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
        assert_allclose(out[i], (basis @ solution) * model[i], rtol=1e-4)
        assert_allclose(bend[i], basis @ solution, rtol=1e-4)
        expected = np.sum((clean[i, used] / sigma - design @ solution) ** 2) / (np.count_nonzero(used) - 5)
        assert float(chi2[i]) == pytest.approx(expected, rel=2e-3)
