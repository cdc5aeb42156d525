"""Spectra of stars against interpolation and dust written out, one spectrum at a time."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sfh_cnn.synthesis import attenuation_curve


@pytest.fixture(scope="module")
def stars(predictor):
    """Of the small network."""
    return predictor.engine._star_spectra


@pytest.fixture(scope="module")
def weights(predictor):
    """Of nine random histories."""
    _, n_age, n_met, *_ = (None, *predictor.engine.templates.sizes)
    return torch.rand(9, n_age, n_met, generator=torch.Generator().manual_seed(1))


#: Within a pixel, beyond, beyond what is done by differences, and beyond the margin.
VELOCITIES = torch.tensor([0.0, 12.0, -35.0, 88.0, -170.0, 260.0, -420.0, 900.0, -3000.0])
SIGMAS = torch.tensor([0.0, 260.0, 40.0, 110.0, 40.0, 0.0, 180.0, 340.0, 20.0])


def test_shift_and_dust(predictor, stars, weights):
    """Linear interpolation, then Calzetti's law; whatever the velocity. The outermost pixels are not asked for."""
    a_v = torch.linspace(0.0, 2.5, 9)
    rows, position = stars.at_rest(weights, SIGMAS)
    out = stars.seen(rows, position, VELOCITIES, a_v).numpy()
    grid = predictor.contract.wavelength_grid
    margin = (rows.shape[1] - grid.n_wave) // 2
    pixels = np.arange(grid.n_wave)
    for i, velocity in enumerate(VELOCITIES.double().numpy()):
        rest = rows[position[i], margin:-margin].double().numpy()
        expected = np.interp(pixels - velocity / 299792.458 * grid.wave_aa / grid.step_aa, pixels, rest)
        expected *= 10 ** (-0.4 * float(a_v[i]) * attenuation_curve("calzetti", grid.wave_aa))
        assert_allclose(out[i, 1:-1], expected[1:-1], rtol=2e-4)


def test_each_has_its_own_dispersion(stars, weights):
    """Alone or among others, in whichever row it comes out."""
    rows, position = stars.at_rest(weights, SIGMAS)
    for i in range(len(SIGMAS)):
        alone, first = stars.at_rest(weights[i : i + 1], SIGMAS[i : i + 1])
        assert_allclose(rows[position[i]], alone[first[0]], rtol=1e-5)


def test_a_spectrum_without_an_answer_does_not_harm_others(stars, weights):
    """NaN stays in its row."""
    rows, position = stars.at_rest(weights, SIGMAS)
    velocities = VELOCITIES.clone()
    velocities[2] = torch.nan
    out = stars.seen(rows, position, velocities, torch.zeros(9))
    assert torch.isfinite(out).all(1).tolist() == [i != 2 for i in range(9)]
