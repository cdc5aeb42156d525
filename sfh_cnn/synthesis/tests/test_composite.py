"""From histories to weights and bins: nothing is lost on the way."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from sfh_cnn.synthesis.composite import bin_history, library_shares, mass_weights

NODES_DEX = np.array([-2.3, -1.7, -0.7, -0.4, 0.0, 0.4])
N_FINE = 6

masses = arrays(float, (3, N_FINE), elements=st.floats(0, 1)).map(
    lambda m: (m + 1e-9) / (m + 1e-9).sum(1, keepdims=True)
)
metallicities = arrays(float, (3, N_FINE), elements=st.floats(-2.0, 0.4))


@settings(deadline=None)
@given(mass=masses, metallicity=metallicities)
def test_mass_and_metallicity_are_conserved(mass, metallicity):
    """Weights on the nodes keep each bin's mass and its mean [M/H]."""
    weights = mass_weights(mass, metallicity, NODES_DEX)
    assert_allclose(weights.sum(axis=2), mass, atol=1e-6)
    assert_allclose(weights @ NODES_DEX, mass * metallicity, atol=2e-6)
    assert np.all(weights >= 0)


@settings(deadline=None)
@given(mass=masses, metallicity=metallicities)
def test_bins_keep_mass_light_and_mean_metallicity(mass, metallicity):
    """Fine bins into coarse ones: sums, and means weighted by mass."""
    parent = np.array([0, 0, 1, 1, 1, 2])
    light = mass * np.array([9.0, 5.0, 3.0, 2.0, 1.0, 0.5])
    mass_fraction, light_fraction, binned = bin_history(mass, metallicity, light, parent, 3)
    for k in range(3):
        inside = parent == k
        assert_allclose(mass_fraction[:, k], mass[:, inside].sum(axis=1), atol=1e-6)
        assert_allclose(light_fraction[:, k], light[:, inside].sum(axis=1) / light.sum(axis=1), atol=1e-6)
    assert_allclose((mass_fraction * binned).sum(axis=1), (mass * metallicity).sum(axis=1), atol=1e-4)


def test_an_empty_bin_has_the_mean_metallicity_of_its_fine_bins():
    """Rather than NaN: the network is asked for [M/H] there, with little weight."""
    mass = np.array([[0.0, 0.0, 1.0]])
    _, _, binned = bin_history(mass, np.array([[-1.0, 0.0, 0.3]]), mass, np.array([0, 0, 1]), 2)
    assert_allclose(binned, [[-0.5, 0.3]], atol=1e-5)


def test_library_shares():
    """Rows sum to 1; the share of mixtures is the one asked for, and one library is never mixed with itself."""
    rng = np.random.default_rng(0)
    shares = library_shares(rng, 20_000, 3, 0.4)
    assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    mixed = (shares > 0).sum(axis=1) == 2
    assert abs(mixed.mean() - 0.4) < 0.015
    assert_allclose(shares.mean(axis=0), 1 / 3, atol=0.015)
    assert_allclose(library_shares(rng, 50, 1, 0.4), 1)
