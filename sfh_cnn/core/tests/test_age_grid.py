"""Tests of the age bins."""

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad

from sfh_cnn.core import AgeGrid, SFHCNNError


@st.composite
def grids_over(draw, low_yr=0.0, high_yr=1.38e10):
    """Any bins between two ages."""
    inner = draw(st.lists(st.floats(low_yr + 1e5, high_yr - 1e5), max_size=20, unique=True))
    edges = np.unique(np.concatenate([[low_yr], inner, [high_yr]]))
    edges = edges[np.concatenate([[True], np.diff(edges) > 1.0])]
    edges[-1] = high_yr
    return AgeGrid(edges * u.yr)


def test_default_bins_are_those_of_the_contract():
    """0-10 Myr, then 15 equal steps of 0.2093 dex that end at 13.8 Gyr."""
    grid = AgeGrid.default()
    assert grid.n_age == len(grid) == 16
    assert grid.edges_yr[0] == 0
    assert_allclose(grid.edges_yr[[1, -1]], [1e7, 1.38e10], rtol=1e-12)
    assert_allclose(np.diff(np.log10(grid.edges_yr[1:])), 0.2093, atol=5e-5)


def test_edges_and_widths_have_units():
    """The bins add up to the age of the oldest edge."""
    grid = AgeGrid.default()
    assert grid.edges.unit.is_equivalent(u.yr)
    assert_allclose(grid.widths.sum().to_value(u.Gyr), 13.8)


def test_edges_may_come_in_any_time_unit():
    """The same bins, in Myr and in seconds."""
    edges_myr = np.array([0.0, 10.0, 100.0, 13800.0])
    assert_allclose(AgeGrid((edges_myr * u.Myr).to(u.s)).edges_yr, AgeGrid(edges_myr * u.Myr).edges_yr, rtol=1e-14)


def test_log_age_of_the_youngest_bin_in_closed_form():
    """The mean of log10 t between 0 and T is log10(T) - log10(e), finite although the bin starts at 0."""
    assert_allclose(AgeGrid.default().log_ages_dex[0], 7 - np.log10(np.e), rtol=1e-14)


@pytest.mark.parametrize("i", [1, 7, 15])
def test_log_ages_match_numerical_integration(i):
    """The mean of log10 t at constant star formation rate, by quadrature."""
    grid = AgeGrid.default()
    low, high = grid.edges_yr[[i, i + 1]]
    expected = quad(np.log10, low, high, epsrel=1e-12)[0] / (high - low)
    assert_allclose(grid.log_ages_dex[i], expected, rtol=1e-10)


def test_log_age_of_the_whole_history_is_the_width_weighted_mean_of_the_bins():
    """Constant star formation over all bins is one bin of constant star formation."""
    grid = AgeGrid.default()
    whole = AgeGrid(grid.edges_yr[[0, -1]] * u.yr)
    assert_allclose(grid.log_ages_dex @ (grid.widths / grid.widths.sum()).value, whole.log_ages_dex[0], rtol=1e-12)


def test_log_ages_and_centers_are_the_same_ages():
    """``log_ages`` is in dex(yr), ``centers`` is the same as a time, inside its bin."""
    grid = AgeGrid.default()
    assert grid.log_ages.unit == u.dex(u.yr)
    assert_allclose(grid.log_ages.physical.to_value(u.yr), grid.centers.to_value(u.yr), rtol=1e-12)
    assert np.all((grid.centers > grid.edges[:-1]) & (grid.centers < grid.edges[1:]))


def test_rebin_splits_in_proportion_to_time():
    """A bin cut at a quarter of its width gives a quarter of its mass to the younger part."""
    old, new = AgeGrid([0.0, 4.0] * u.Gyr), AgeGrid([0.0, 1.0, 4.0] * u.Gyr)
    assert_allclose(old.rebin([1.0], new), [0.25, 0.75], rtol=1e-14)


def test_rebin_to_finer_bins_and_back_changes_nothing():
    """Finer bins that share the edges keep everything."""
    grid = AgeGrid.default()
    finer = AgeGrid(np.union1d(grid.edges_yr, (grid.edges_yr[:-1] + grid.edges_yr[1:]) / 2) * u.yr)
    fraction = np.random.default_rng(1).dirichlet(np.ones(16), size=5)
    assert_allclose(finer.rebin(grid.rebin(fraction, finer), grid), fraction, rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(old=grids_over(), new=grids_over(), seed=st.integers(0, 100))
def test_rebin_conserves_mass(old, new, seed):
    """Whatever the bins, no mass is lost or made."""
    fraction = np.random.default_rng(seed).dirichlet(np.ones(old.n_age), size=3)
    rebinned = old.rebin(fraction, new)
    assert rebinned.shape == (3, new.n_age)
    assert np.all(rebinned >= 0)
    assert_allclose(rebinned.sum(axis=-1), 1, rtol=1e-9)


def test_rebin_keeps_the_mean_age_of_constant_star_formation():
    """A constant rate is constant in any bins."""
    grid, other = AgeGrid.default(), AgeGrid([0.0, 0.1, 2.0, 13.8] * u.Gyr)
    constant = (grid.widths / grid.widths.sum()).value
    assert_allclose(grid.rebin(constant, other), (other.widths / other.widths.sum()).value, rtol=1e-12)


@pytest.mark.parametrize("edges_gyr", [[0.1, 13.8], [0.0, 10.0]])
def test_rebin_refuses_bins_that_would_lose_mass(edges_gyr):
    """Bins that start later or end earlier are refused, with both ranges."""
    with pytest.raises(SFHCNNError, match="would lose mass"):
        AgeGrid.default().rebin(np.ones(16) / 16, AgeGrid(edges_gyr * u.Gyr))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([1.0, 1.0] * u.Gyr, "strictly increasing"),
        ([2.0, 1.0] * u.Gyr, "strictly increasing"),
        ([-1.0, 1.0] * u.Gyr, "not negative"),
        ([0.0, np.nan] * u.Gyr, "finite"),
        ([1.0] * u.Gyr, r"at least two ages.*\(1,\)"),
        ([[0.0, 1.0]] * u.Gyr, "one dimension"),
    ],
)
def test_impossible_edges_are_refused(edges, message):
    """Edges must run from young to old."""
    with pytest.raises(SFHCNNError, match=message):
        AgeGrid(edges)


def test_edges_without_a_unit_or_in_a_wrong_one_are_refused():
    """A bare number is no age, and neither is a length."""
    with pytest.raises(u.UnitTypeError, match="edges needs a unit"):
        AgeGrid([0.0, 1.0])
    with pytest.raises(u.UnitConversionError, match="edges is in km"):
        AgeGrid([0.0, 1.0] * u.km)


def test_equal_grids_are_equal_and_hash_alike():
    """Grids are values: they can be compared and be keys."""
    grid, same, other = AgeGrid.default(), AgeGrid.default(), AgeGrid([0.0, 1.0] * u.Gyr)
    assert grid == same
    assert hash(grid) == hash(same)
    assert grid != other
    assert grid != "a grid"


def test_a_grid_cannot_be_changed_from_outside():
    """What ``edges_yr`` hands out is a copy."""
    grid = AgeGrid.default()
    grid.edges_yr[0] = 5.0
    assert grid.edges_yr[0] == 0


def test_repr_names_bins_and_range():
    """The representation tells the direction of time."""
    assert repr(AgeGrid.default()) == "<AgeGrid: 16 bins, 0-13.8 Gyr of lookback time>"
