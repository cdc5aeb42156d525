"""Broadening against explicit convolutions, moments of lines and conserved flux."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import ndtr

from sfh_cnn.core.constants import C_KMS
from sfh_cnn.spectra import broadening_operator, smoothing_operator

SOURCE_AA = np.arange(4900.0, 5100.0, 0.5)
EDGES_AA = np.arange(4950.0, 5050.01, 1.25)
CENTRES_AA = 0.5 * (EDGES_AA[1:] + EDGES_AA[:-1])


def spike(wave_aa=5000.0):
    """One bright cell of unit area."""
    flux = np.zeros(len(SOURCE_AA))
    flux[np.argmin(np.abs(SOURCE_AA - wave_aa))] = 1 / 0.5
    return flux


def moments(flux):
    """Area, mean and variance of a line on the pixels."""
    area = flux.sum() * 1.25
    mean = (flux * CENTRES_AA).sum() * 1.25 / area
    return area, mean, (flux * (CENTRES_AA - mean) ** 2).sum() * 1.25 / area


@pytest.mark.parametrize("sigma_aa", [1.0, 1.3, 4.0])
def test_a_line_has_the_moments_of_its_gaussian(sigma_aa):
    """Unit area, unmoved mean, and the variance asked for plus that of a pixel."""
    area, mean, variance = moments(broadening_operator(SOURCE_AA, EDGES_AA, sigma_aa) @ spike())
    assert_allclose(area, 1, rtol=1e-5)
    assert_allclose(mean, 5000, atol=1e-3)
    assert_allclose(variance, sigma_aa**2 + 1.25**2 / 12, rtol=2e-3)


def test_a_line_is_the_integral_of_its_gaussian():
    """Each pixel holds the difference of two normal distribution functions, where cells are narrow."""
    sigma_aa = 3.0
    flux = broadening_operator(SOURCE_AA, EDGES_AA, sigma_aa) @ spike()
    expected = np.diff(ndtr((EDGES_AA - 5000) / sigma_aa)) / 1.25
    assert_allclose(flux, expected, atol=5e-4 * expected.max())


def test_a_spectrum_is_convolved():
    """A spectrum of many scales, against a convolution written out and averaged over fine steps."""
    rng = np.random.default_rng(3)
    spectrum = 1 + 0.3 * np.sin(SOURCE_AA / 2.2) + 0.2 * np.sin(SOURCE_AA / 7 + rng.random())
    sigma_aa, step = 2.0, 0.05
    fine = np.arange(4930.0, 5070.0, step) + step / 2
    nearest = spectrum[np.rint((fine - SOURCE_AA[0]) / 0.5).astype(int)]
    offset = np.arange(-9, 9 + step / 2, step)
    # Cells spread their flux over 0.5 Angstrom already: the kernel is narrower by that variance.
    kernel = np.exp(-0.5 * offset**2 / (sigma_aa**2 - 0.5**2 / 12))
    convolved = np.convolve(nearest, kernel / kernel.sum(), mode="same")
    inside = slice(int(20 / step), int(120 / step))  # 4950 to 5050
    expected = convolved[inside].reshape(len(CENTRES_AA), -1).mean(axis=1)
    assert_allclose(broadening_operator(SOURCE_AA, EDGES_AA, sigma_aa) @ spectrum, expected, rtol=2e-4)


@pytest.mark.parametrize("velocity_kms", [-100.0, 80.0, 300.0])
def test_a_velocity_shifts_lines(velocity_kms):
    """Positive velocities to the red, by the Doppler factor."""
    _, mean, _ = moments(broadening_operator(SOURCE_AA, EDGES_AA, 2.0, velocity_kms) @ spike())
    assert_allclose(mean, 5000 * (1 + velocity_kms / C_KMS), atol=2e-3)


def test_no_broadening_is_an_average_over_pixels():
    """A width of zero leaves the means of the cells in each pixel: nothing blows up, nothing is blurred."""
    edges = np.arange(4949.75, 5050.0, 1.0)  # two cells each
    flux = np.random.default_rng(0).random(len(SOURCE_AA))
    first = np.argmin(np.abs(SOURCE_AA - 4950))
    expected = flux[first : first + 2 * (len(edges) - 1)].reshape(-1, 2).mean(axis=1)
    assert_allclose(broadening_operator(SOURCE_AA, edges, 0.0) @ flux, expected, atol=2e-3)


@settings(deadline=None, max_examples=25)
@given(
    sigma_aa=st.floats(0, 6),
    slope=st.floats(-0.02, 0.02),
    velocity_kms=st.floats(-300, 300),
    level=st.floats(1e-3, 1e3),
)
def test_flat_spectra_stay_flat_and_weights_positive(sigma_aa, slope, velocity_kms, level):
    """Rows are averages, whatever the width and however it changes along the spectrum."""
    sigma = np.maximum(sigma_aa + slope * (EDGES_AA - 5000), 0)
    matrix = broadening_operator(SOURCE_AA, EDGES_AA, sigma, velocity_kms)
    assert_allclose(matrix @ np.full(len(SOURCE_AA), level), level, rtol=1e-5)
    if slope == 0:
        assert matrix.data.min() >= 0


@settings(deadline=None, max_examples=25)
@given(sigma_aa=st.floats(0.3, 4), wave_aa=st.floats(4975, 5025))
def test_flux_is_conserved(sigma_aa, wave_aa):
    """What leaves a pixel arrives in others: a line keeps its area."""
    area, _, _ = moments(broadening_operator(SOURCE_AA, EDGES_AA, sigma_aa) @ spike(wave_aa))
    assert_allclose(area, 1, rtol=1e-4)


def test_smoothing_by_zero_changes_little_and_by_sigma_all():
    """On one grid: a width that grows along the spectrum broadens each line by its own."""
    wave_aa = np.arange(4000.0, 6000.0, 0.9)
    sigma = np.linspace(1.5, 4.0, len(wave_aa))
    flux = np.zeros(len(wave_aa))
    for index in (300, 1900):
        flux[:] = 0
        flux[index] = 1.0
        line = smoothing_operator(wave_aa, sigma) @ flux
        mean = (line * wave_aa).sum() / line.sum()
        width = np.sqrt((line * (wave_aa - mean) ** 2).sum() / line.sum())
        # The output pixel adds 0.9^2 / 12.
        assert_allclose(width, np.sqrt(sigma[index] ** 2 + 0.9**2 / 12), rtol=0.01)
    unchanged = smoothing_operator(wave_aa, np.zeros(len(wave_aa))) @ flux
    assert_allclose(unchanged, flux, atol=2e-3)
