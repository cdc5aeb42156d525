"""Tests of the kernels on star formation histories."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sfh_cnn.core import AgeGrid
from sfh_cnn.core.history import cumulative_mass, formation_time, mean_log_age, mean_metallicity, recent_fraction

GRID = AgeGrid.default()
EDGES_YR = GRID.edges_yr
CONSTANT = np.diff(EDGES_YR) / EDGES_YR[-1]


@pytest.mark.parametrize("i", [0, 7, 15])
def test_mean_log_age_of_a_single_burst(i):
    """A burst inside one bin has the age of that bin."""
    assert_allclose(mean_log_age(np.eye(16)[[i]], GRID.log_ages_dex), GRID.log_ages_dex[i])


def test_mean_log_age_of_constant_star_formation():
    """The mean of log10 t over the age of the Universe T is log10(T) - log10(e)."""
    assert_allclose(mean_log_age(CONSTANT, GRID.log_ages_dex), np.log10(EDGES_YR[-1] / np.e), rtol=1e-12)


def test_mean_metallicity_of_two_equal_parts():
    """Half at -1 and half at 0 make -0.5, whatever the empty bins hold."""
    fraction = np.zeros((1, 16))
    fraction[0, [3, 12]] = 0.5
    metallicity_dex = np.full((1, 16), 77.0)
    metallicity_dex[0, [3, 12]] = -1.0, 0.0
    assert_allclose(mean_metallicity(fraction, metallicity_dex), [-0.5])


def test_cumulative_mass_runs_forward_in_time():
    """All mass is formed at the youngest edge, none before the oldest, half before a half-way edge."""
    assert_allclose(cumulative_mass([[0.2, 0.3, 0.5]]), [[1.0, 0.8, 0.5, 0.0]])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_formation_time_of_constant_star_formation(share):
    """A constant rate has formed a share s of its mass at lookback time T (1 - s)."""
    assert_allclose(formation_time(CONSTANT, EDGES_YR, share), EDGES_YR[-1] * (1 - share), rtol=1e-12)


def test_formation_time_inside_a_single_burst():
    """Half of a burst in one bin is formed in the middle of the bin."""
    times = formation_time(np.eye(16), EDGES_YR, 0.5)
    assert_allclose(times, (EDGES_YR[:-1] + EDGES_YR[1:]) / 2, rtol=1e-12)


def test_formation_time_in_a_gap_is_at_the_edge_of_an_episode():
    """Half the mass in the oldest and half in the youngest bin: t50 is an edge of the gap between."""
    fraction = np.zeros(16)
    fraction[[0, 15]] = 0.5
    time = formation_time(fraction, EDGES_YR, 0.5)
    assert EDGES_YR[1] * (1 - 1e-12) <= time <= EDGES_YR[15] * (1 + 1e-12)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), share=st.floats(0.01, 0.99))
def test_formation_time_inverts_the_cumulative_mass(seed, share):
    """The mass formed before t(share), interpolated at constant rate, is that share."""
    fraction = np.random.default_rng(seed).dirichlet(np.full(16, 0.5))
    time = formation_time(fraction, EDGES_YR, share)
    formed = np.interp(time, EDGES_YR, cumulative_mass(fraction))
    assert_allclose(formed, share, atol=1e-9)


def test_formation_time_of_nan_is_nan_and_leaves_the_others_alone():
    """A spectrum without an answer has none here either."""
    fraction = np.stack([CONSTANT, np.full(16, np.nan)])
    times = formation_time(fraction, EDGES_YR, 0.5)
    assert_allclose(times[0], EDGES_YR[-1] / 2)
    assert np.isnan(times[1])


def test_formation_time_keeps_leading_axes():
    """Draws of many spectra have two leading axes."""
    fraction = np.broadcast_to(CONSTANT, (2, 3, 16))
    assert formation_time(fraction, EDGES_YR, 0.5).shape == (2, 3)


@pytest.mark.parametrize("time_yr", [0.0, 5e6, 1e7, 1e8, 1.38e10])
def test_recent_fraction_of_constant_star_formation(time_yr):
    """A constant rate forms the share t / T in the last t, also when t cuts a bin."""
    assert_allclose(recent_fraction(CONSTANT, EDGES_YR, time_yr), time_yr / EDGES_YR[-1], rtol=1e-12)


def test_recent_fraction_and_cumulative_mass_add_up():
    """Formed in the last t and formed before t are everything."""
    fraction = np.random.default_rng(3).dirichlet(np.ones(16), size=4)
    assert_allclose(recent_fraction(fraction, EDGES_YR, EDGES_YR[6]) + cumulative_mass(fraction)[:, 6], 1, rtol=1e-12)
