"""Enrichment histories against closed forms, and the mixtures."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sfh_cnn.core import SFHCNNError, build_config, config_to_dict
from sfh_cnn.synthesis import amr_prior, sfh_prior
from sfh_cnn.synthesis.amr_prior import (
    AMR_FAMILIES,
    METALLICITY_RANGE_DEX,
    MetallicityPrior,
    draw_metallicity,
    register_amr_family,
)
from sfh_cnn.synthesis.sfh_prior import draw_mass_fraction

EDGES_YR = np.concatenate([np.arange(10) * 1e6, np.geomspace(1e7, 1.38e10, 76)])
CONSTANT = np.diff(EDGES_YR)[None] / EDGES_YR[-1]
MIDDLE_YR = 0.5 * (EDGES_YR[1:] + EDGES_YR[:-1])
#: Share of the mass formed up to the middle of each bin at constant SFR.
FORMED = 1 - MIDDLE_YR / EDGES_YR[-1]


def draw(name, mass=CONSTANT, seed=0, level=0.0, **pinned):
    """[M/H] of one family with its parameters pinned by ranges of zero width."""
    pinned = {key: (value, value) for key, value in pinned.items()}
    family = AMR_FAMILIES[name](level_dex=(level, level), typical_share=0.0, **pinned)
    return family.draw(np.random.default_rng(seed), mass, EDGES_YR)


def test_closed_box_is_the_logarithm_of_the_gas_left():
    """Z = Z0 + p ln(1 / gas fraction), solved by hand: 5 per cent of the gas left, from -1 to 0."""
    gas = 1 - 0.95 * FORMED
    z = 0.1 + (1 - 0.1) * np.log(1 / gas) / np.log(1 / 0.05)
    assert_allclose(10 ** draw("closed_box", rise_dex=1.0, gas_fraction=0.05)[0], z, rtol=1e-9)


def test_leaky_box_solves_its_equation():
    """dZ/dx is proportional to exp(-x / s): checked by differences, with Z0 and Z at the ends."""
    z = 10 ** draw("leaky_box", rise_dex=1.0, saturation=0.3)[0]
    rate = np.diff(z) / np.diff(FORMED)
    middle = 0.5 * (FORMED[1:] + FORMED[:-1])
    expected = 0.9 / 0.3 * np.exp(-middle / 0.3) / (1 - np.exp(-1 / 0.3))
    assert_allclose(rate, expected, rtol=5e-3)
    assert_allclose(z[0], 1, rtol=1e-4)


@pytest.mark.parametrize("name", ["closed_box", "leaky_box"])
def test_boxes_follow_the_mass_and_not_the_clock(name):
    """A galaxy that formed in one go early has its final [M/H] ever since; it depends on mass only."""
    early = np.where(EDGES_YR[:-1] > 1e10, CONSTANT, 0)
    early /= early.sum()
    metallicity = draw(name, early)[0]
    assert_allclose(metallicity[EDGES_YR[1:] < 1e10], 0, atol=1e-9)
    assert np.all(np.diff(metallicity[early[0] > 0]) < 0)


def test_boxes_begin_inside_the_range():
    """A rise of 2 dex to [M/H] = -1 begins at -2, not at -3."""
    assert draw("leaky_box", level=-1.0, rise_dex=2.0).min() > -2.0 - 1e-9


def test_flat_is_flat():
    """The level at all ages."""
    assert_array_equal(draw("flat", level=-0.3), np.full(CONSTANT.shape, -0.3))


def test_linear_has_its_slope_and_mean():
    """Slope in log age as stated, towards the present, and the level as the mass-weighted mean."""
    metallicity = draw("linear_log_age", level=-0.5, slope=0.4)[0]
    assert_allclose(np.diff(metallicity) / np.diff(np.log10(MIDDLE_YR)), -0.4, rtol=1e-9)
    assert_allclose(CONSTANT[0] @ metallicity, -0.5)


def test_scatter_has_its_size():
    """About a flat relation the standard deviation over many curves is the one asked for."""
    family = AMR_FAMILIES["scatter"](
        level_dex=(-0.5, -0.5), typical_share=0.0, bases=("flat",), scatter_dex=(0.2, 0.2), length_dex=(0.1, 0.1)
    )
    metallicity = family.draw(np.random.default_rng(0), np.repeat(CONSTANT, 5000, axis=0), EDGES_YR)
    assert_allclose(metallicity.mean(axis=0), -0.5, atol=0.015)
    assert_allclose(metallicity.std(axis=0), 0.2, rtol=0.06)


def test_dilution_drops_and_recovers():
    """Against the same leaky box: nothing before the inflow, the drop right after, exp(-mass) later."""
    # A range of inflow times narrower than a bin pins it.
    pinned = {"rise_dex": (1.0, 1.0), "saturation": (0.3, 0.3)}
    family = AMR_FAMILIES["dilution"](
        level_dex=(0, 0),
        typical_share=0,
        drop_dex=(0.4, 0.4),
        inflow_yr=(5e9, 5.001e9),
        recovery=(0.1, 0.1),
        **pinned,
    )
    diluted = family.draw(np.random.default_rng(0), CONSTANT, EDGES_YR)[0]
    change = diluted - draw("leaky_box", rise_dex=1.0, saturation=0.3)[0]
    after = EDGES_YR[:-1] < 5e9
    assert_allclose(change[~after], 0, atol=1e-12)
    expected = -0.4 * np.exp(-(FORMED[after] - FORMED[after].min()) / 0.1)
    assert_allclose(change[after], expected, atol=1e-9)


def test_every_dilution_comes_after_the_first_star():
    """In galaxies of any age the drop touches bins in which stars form."""
    rng = np.random.default_rng(0)
    mass, _ = draw_mass_fraction(rng, 300, EDGES_YR, {"constant": 1})
    shallow = {"level_dex": (0.0, 0.0), "typical_share": 0.0, "rise_dex": (0.0, 0.0), "drop_dex": (0.5, 0.5)}
    metallicity = AMR_FAMILIES["dilution"](**shallow).draw(rng, mass, EDGES_YR)
    assert np.all(np.min(np.where(mass > 0, metallicity, 0), axis=1) < -0.25)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 40),
    name=st.sampled_from(AMR_FAMILIES.names),
    history=st.sampled_from(sfh_prior.SFH_FAMILIES.names),
)
def test_metallicity_is_in_range_for_any_history(seed, n, name, history):
    """Any enrichment of any star formation history is finite and inside the range."""
    rng = np.random.default_rng(seed)
    mass, _ = draw_mass_fraction(rng, n, EDGES_YR, {history: 1})
    metallicity, index = draw_metallicity(rng, mass, EDGES_YR, {name: 1})
    assert metallicity.shape == mass.shape
    assert np.all((metallicity >= METALLICITY_RANGE_DEX[0]) & (metallicity <= METALLICITY_RANGE_DEX[1]))
    assert_array_equal(index, np.zeros(n))


@pytest.mark.parametrize("prior", [amr_prior.DEFAULT, amr_prior.LOCAL_DISCS])
def test_same_generator_same_histories(prior):
    """The state of the generator decides everything; plain tables and back change nothing."""
    mass, _ = draw_mass_fraction(np.random.default_rng(0), 200, EDGES_YR)
    again = build_config(config_to_dict(prior), MetallicityPrior)
    first = draw_metallicity(np.random.default_rng(3), mass, EDGES_YR, prior)
    second = draw_metallicity(np.random.default_rng(3), mass, EDGES_YR, again)
    assert_array_equal(first[0], second[0])
    assert_array_equal(first[1], second[1])


def test_the_default_is_broad():
    """Mean [M/H] fills -2 to 0.4, with more weight above -0.7, and mostly rises towards the present."""
    rng = np.random.default_rng(0)
    mass, _ = draw_mass_fraction(rng, 20_000, EDGES_YR)
    metallicity, _ = draw_metallicity(rng, mass, EDGES_YR)
    share = np.histogram(np.sum(mass * metallicity, axis=1), bins=np.linspace(-2, 0.4, 7))[0] / len(mass)
    assert share.min() > 0.06
    assert share[3:].sum() > 0.5
    rise = metallicity[:, 0] - metallicity[:, -1]
    assert np.mean(rise > 0.05) > 0.6
    assert np.mean(rise < -0.05) > 0.03


def test_local_discs_are_near_solar():
    """Mass-weighted [M/H] between -1.2 and 0.4, in the mean near -0.25; few below -0.9."""
    rng = np.random.default_rng(0)
    mass, _ = draw_mass_fraction(rng, 5000, EDGES_YR, sfh_prior.LOCAL_DISCS)
    metallicity, _ = draw_metallicity(rng, mass, EDGES_YR, amr_prior.LOCAL_DISCS)
    mean = np.sum(mass * metallicity, axis=1)
    assert mean.min() > -1.25
    assert np.mean(mean < -0.9) < 0.03
    assert np.mean(mean) == pytest.approx(-0.25, abs=0.1)


def test_unknown_names_are_listed():
    """A typo is an error at once, with the known names."""
    with pytest.raises(SFHCNNError, match=r"'closed'; known families: flat, linear_log_age, closed_box"):
        MetallicityPrior({"closed": 1})


def test_users_register_their_own(monkeypatch):
    """A registered family is drawn by name, and cut to the range like all others."""
    monkeypatch.setattr(AMR_FAMILIES, "_classes", dict(AMR_FAMILIES._classes))

    @register_amr_family("rich")
    @dataclasses.dataclass(frozen=True)
    class Rich:
        level: float = 3.0

        def draw(self, rng, mass_fraction, edges_yr):
            return np.full(mass_fraction.shape, self.level)

    metallicity, _ = draw_metallicity(np.random.default_rng(0), CONSTANT, EDGES_YR, {"rich": 1})
    assert_array_equal(metallicity, np.full(CONSTANT.shape, METALLICITY_RANGE_DEX[1]))
