"""Star formation histories against numerical integrals of their SFR, and the mixtures."""

import dataclasses
import itertools

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad

from sfh_cnn.core import AgeGrid, SFHCNNError, build_config, config_to_dict
from sfh_cnn.synthesis.sfh_prior import (
    DEFAULT,
    LOCAL_DISCS,
    SFH_FAMILIES,
    SFHPrior,
    draw_mass_fraction,
    register_sfh_family,
)

EDGES_YR = np.concatenate([np.arange(10) * 1e6, np.geomspace(1e7, 1.38e10, 76)])
#: Parameters that are one number.
SHARES = ("rising_share", "old_share", "rough_share")


def draw(name, n=1, edges_yr=EDGES_YR, seed=0, **parameters):
    """Histories of one family with parameters pinned by ranges of zero width."""
    pinned = {key: value if key in SHARES else (value, value) for key, value in parameters.items()}
    return SFH_FAMILIES[name](**pinned).draw(np.random.default_rng(seed), n, edges_yr)


def integrate(sfr, edges_yr=EDGES_YR, breaks=()):
    """Mass fractions of an SFR given as a function of lookback time in yr, by quadrature."""
    mass = np.zeros(edges_yr.size - 1)
    for i, (low, high) in enumerate(itertools.pairwise(edges_yr)):
        nodes = [low, *sorted(b for b in breaks if low < b < high), high]
        mass[i] = sum(quad(sfr, a, b, epsabs=0, epsrel=1e-10)[0] for a, b in itertools.pairwise(nodes))
    return mass / mass.sum()


def delayed(start, tau):
    """SFR of a delayed tau model."""
    return lambda t: (start - t) * np.exp(-(start - t) / tau) if t < start else 0.0


def test_delayed_tau_is_the_integral_of_its_sfr():
    """Bins hold the integral of x exp(-x / tau)."""
    expected = integrate(delayed(6e9, 8e8), breaks=[6e9])
    assert_allclose(draw("delayed_tau", start_yr=6e9, tau_yr=8e8)[0], expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(("rising", "sign"), [(0.0, 1), (1.0, -1)])
def test_exponential_is_the_integral_of_its_sfr(rising, sign):
    """Declining with the time since the start, or rising with it."""
    expected = integrate(lambda t: np.exp(-sign * (9e9 - t) / 2e9) if t < 9e9 else 0.0, breaks=[9e9])
    assert_allclose(
        draw("exponential", start_yr=9e9, tau_yr=2e9, rising_share=rising)[0], expected, rtol=1e-6, atol=1e-15
    )


def test_constant_is_time():
    """Mass goes with the time that a bin has after the start."""
    expected = np.clip(5e9 - EDGES_YR[:-1], 0, np.diff(EDGES_YR)) / 5e9
    assert_allclose(draw("constant", start_yr=5e9)[0], expected, atol=1e-15)


def test_quenched_is_the_integral_of_its_sfr():
    """Delayed tau, then a fall of the SFR that begins at its value at quenching."""
    start, tau, quench, fall = 1e10, 5e9, 2e9, 3e8
    before = delayed(start, tau)

    def sfr(t):
        return before(t) if t >= quench else before(quench) * np.exp(-(quench - t) / fall)

    mass = draw("quenched", start_yr=start, tau_yr=tau, quench_share=quench / start, quench_tau_yr=fall)
    assert_allclose(mass[0], integrate(sfr, breaks=[start, quench]), rtol=1e-6, atol=1e-15)


def test_recent_change_multiplies_the_recent_sfr():
    """The SFR after the change is the old one times the factor."""
    before = delayed(1e10, 5e9)
    expected = integrate(lambda t: before(t) * (0.1 if t < 3e8 else 1.0), breaks=[1e10, 3e8])
    mass = draw("recent_change", start_yr=1e10, tau_yr=5e9, change_yr=3e8, factor=0.1)
    assert_allclose(mass[0], expected, rtol=1e-6, atol=1e-15)


def test_bursts_hold_their_share():
    """Base outside the bursts, base + share of mass inside; with equal ages all bursts are one."""
    mass = draw(
        "burst_on_top",
        start_yr=1e10,
        tau_yr=1e9,
        burst_age_yr=1e8,
        burst_duration_yr=5e7,
        burst_share=0.2,
    )[0]
    base = integrate(delayed(1e10, 1e9), breaks=[1e10])
    inside = np.clip(np.minimum(EDGES_YR[1:], 1e8) - np.maximum(EDGES_YR[:-1], 5e7), 0, None) / 5e7
    assert_allclose(mass, 0.8 * base + 0.2 * inside, rtol=1e-6, atol=1e-15)


def test_two_components_share_the_mass():
    """Sum of an old and a young delayed tau."""
    mass = draw(
        "two_component",
        old_start_yr=1.2e10,
        old_tau_yr=5e8,
        young_start_yr=1e9,
        young_tau_yr=2e9,
        young_share=0.3,
    )[0]
    old, young = integrate(delayed(1.2e10, 5e8), breaks=[1.2e10]), integrate(delayed(1e9, 2e9), breaks=[1e9])
    assert_allclose(mass, 0.7 * old + 0.3 * young, rtol=1e-6, atol=1e-15)


def test_double_peaks_have_their_median_and_width():
    """A narrow peak has its mass on both sides of its age in equal parts, 68 per cent within one sigma."""
    edges = np.concatenate([[0], 10 ** np.array([8.45, 8.5, 8.55, 10.139])])
    mass = draw("double_peaked", edges_yr=edges, peak_log_age=8.5, width_dex=0.05, old_share=0.0)[0]
    assert_allclose(mass, [0.158655, 0.341345, 0.341345, 0.158655], atol=1e-6)


def test_double_peaks_with_old_stars():
    """Of the stated share of histories the first peak is old, with its share of the mass."""
    pinned = {"peak_log_age": (8.0, 8.0), "old_log_age": (9.8, 9.8), "share": (0.25, 0.25)}
    family = SFH_FAMILIES["double_peaked"](width_dex=(0.05, 0.05), old_share=0.3, **pinned)
    mass = family.draw(np.random.default_rng(0), 4000, np.array([0, 10**9.0, 1.38e10]))
    has_old = mass[:, 1] > 0.01
    assert_allclose(mass[has_old, 1], 0.25, atol=1e-6)
    assert_allclose(mass[~has_old, 1], 0.0, atol=1e-6)
    assert np.mean(has_old) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("rough_share", [0.0, 1.0])
def test_stochastic_scatters_log_sfr_about_the_smooth_one(rough_share):
    """The log SFR minus that of the smooth history has the stated scatter, up to the normalisation."""
    pinned = {"start_yr": 1.3e10, "tau_yr": 1e10}
    smooth = draw("delayed_tau", **pinned)[0]
    parameters = {"scatter_dex": 0.2, "length_dex": 0.1, "rough_share": rough_share}
    scattered = draw("stochastic", n=4000, **parameters, **pinned)
    ratio_dex = np.log10(scattered[:, smooth > 0] / smooth[smooth > 0])
    young, middle = ratio_dex[:, 5], ratio_dex[:, 40]
    assert np.std(young - middle) == pytest.approx(0.2 * np.sqrt(2), rel=0.05)
    # Over a step shorter than the correlation length a random walk does not remember where it was going.
    step = np.diff(ratio_dex[:, 20:60], axis=1)
    memory = np.mean(step[:, 1:] * step[:, :-1]) / np.mean(step**2)
    decay = np.exp(-np.log10(EDGES_YR[-1] / EDGES_YR[-2]) / 0.1 * (1.0 if rough_share else np.sqrt(3)))
    x = -np.log(decay)
    kernel = (lambda k: decay**k) if rough_share else (lambda k: (1 + k * x) * decay**k)
    expected = (2 * kernel(1) - 1 - kernel(2)) / (2 - 2 * kernel(1))
    assert memory == pytest.approx(expected, abs=0.02)


def test_dirichlet_has_constant_sfr_in_the_coarse_bins():
    """Fine bins inside a coarse bin share one SFR; mean and variance of the shares are Dirichlet's."""
    mass = draw("dirichlet", n=20_000, concentration=1.0, width_power=0.5)
    coarse = AgeGrid.default()
    fine = AgeGrid(EDGES_YR * u.yr)
    sfr = mass / np.diff(EDGES_YR)
    parent = np.searchsorted(coarse.edges_yr, 0.5 * (EDGES_YR[1:] + EDGES_YR[:-1])) - 1
    for k in range(coarse.n_age):
        assert_allclose(sfr[:50, parent == k], sfr[:50, parent == k][:, :1] * np.ones(np.sum(parent == k)), atol=1e-15)
    share, expected = fine.rebin(mass, coarse), np.diff(coarse.edges_yr) ** 0.5
    expected /= expected.sum()
    assert_allclose(share.mean(axis=0), expected, atol=0.003)
    assert_allclose(share.var(axis=0), expected * (1 - expected) / (1 + 16 * 1.0), rtol=0.1, atol=1e-5)


def test_single_burst_is_a_top_hat():
    """All mass between the beginning of the burst and its end."""
    mass = draw("single_burst", log_age=9.0, duration_share=0.1)[0]
    expected = np.clip(np.minimum(EDGES_YR[1:], 1e9) - np.maximum(EDGES_YR[:-1], 9e8), 0, None) / 1e8
    assert_allclose(mass, expected, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in SFH_FAMILIES.names if name != "stochastic"])
def test_histories_do_not_depend_on_the_bins(name):
    """Fine bins add up to what coarse bins hold: the cumulative mass is exact, not sampled."""
    edges = AgeGrid.default().edges_yr
    nested = np.sort(np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])]))
    family = SFH_FAMILIES[name]()
    coarse = family.draw(np.random.default_rng(5), 200, edges)
    fine = family.draw(np.random.default_rng(5), 200, nested)
    assert_allclose(fine[:, ::2] + fine[:, 1::2], coarse, atol=1e-12)


@pytest.mark.parametrize("name", SFH_FAMILIES.names)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 100),
    oldest=st.floats(5e9, 1.38e10),
    n_bin=st.integers(2, 60),
)
def test_mass_is_conserved_and_positive(name, seed, n, oldest, n_bin):
    """Any family on any grid, cut short too: no negative mass, rows sum to 1."""
    edges = np.concatenate([[0], np.geomspace(1e6, oldest, n_bin)])
    mass = SFH_FAMILIES[name]().draw(np.random.default_rng(seed), n, edges)
    assert mass.shape == (n, n_bin)
    assert np.all(mass >= -1e-15)
    assert_allclose(mass.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("prior", [DEFAULT, LOCAL_DISCS])
def test_same_generator_same_histories(prior):
    """The state of the generator decides everything; another seed gives others."""
    first = draw_mass_fraction(np.random.default_rng(3), 500, EDGES_YR, prior)
    again = draw_mass_fraction(np.random.default_rng(3), 500, EDGES_YR, prior)
    other = draw_mass_fraction(np.random.default_rng(4), 500, EDGES_YR, prior)
    assert_array_equal(first[0], again[0])
    assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_family_index_names_the_family():
    """Rows marked constant have the same SFR in all bins after the start; the other rows have not."""
    mass, index = draw_mass_fraction(np.random.default_rng(0), 400, EDGES_YR, {"single_burst": 1, "constant": 3})
    sfr = mass / np.diff(EDGES_YR)
    is_constant = np.isclose(sfr[:, 0], sfr[:, 1]) & (sfr[:, 0] > 0)
    assert_array_equal(is_constant, index == 1)
    assert np.mean(index) == pytest.approx(0.75, abs=0.1)


def test_the_default_is_broad():
    """Every half dex of mean log age from 7 to 10 is well filled, by mass and by rough light."""
    mass, _ = draw_mass_fraction(np.random.default_rng(0), 20_000, EDGES_YR)
    log_age = AgeGrid(EDGES_YR * u.yr).log_ages_dex
    light = mass * np.maximum(10**log_age, 3e6) ** -0.7
    for weight, lowest in ((mass, 0.03), (light / light.sum(axis=1, keepdims=True), 0.09)):
        share = np.histogram(weight @ log_age, bins=np.arange(7.0, 10.3, 0.5))[0] / len(mass)
        assert share.min() > lowest
        assert share.max() < 0.35


def test_local_discs_are_old_and_still_forming_stars():
    """Mass-weighted ages above 1.5 Gyr; star formation in the last 100 Myr in nearly all."""
    mass, _ = draw_mass_fraction(np.random.default_rng(0), 5000, EDGES_YR, LOCAL_DISCS)
    age = AgeGrid(EDGES_YR * u.yr).centers.to_value(u.yr)
    assert (mass @ age).min() > 1.5e9
    recent = mass[:, EDGES_YR[1:] <= 1.0001e8].sum(axis=1)
    assert np.mean(recent > 1e-4) > 0.95


def test_steep_rises_do_not_overflow():
    """Over 1380 e-folding times the mass up to an age t is 1 - exp(-t / tau)."""
    mass = draw("exponential", start_yr=1.38e10, tau_yr=1e7, rising_share=1.0)[0]
    assert_allclose(mass, -np.diff(np.exp(-EDGES_YR / 1e7)), rtol=1e-6, atol=1e-12)


def test_peaks_before_the_oldest_edge():
    """A grid that ends before most peaks of the prior has their stars in its oldest bins."""
    edges = np.concatenate([[0.0], np.geomspace(1e7, 3e8, 20)])
    mass = SFH_FAMILIES["double_peaked"]().draw(np.random.default_rng(0), 2000, edges)
    assert np.all(mass >= 0)
    assert_allclose(mass.sum(axis=1), 1)
    assert np.mean(mass[:, -2:].sum(axis=1) > 0.3) > 0.5


@pytest.mark.parametrize("prior", [DEFAULT, LOCAL_DISCS])
def test_a_prior_survives_toml(prior):
    """Prior to plain tables and back draws the same histories, whether ranges are tuples or lists."""
    table = config_to_dict(prior)
    table["parameters"] = {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
        for name, own in table["parameters"].items()
    }
    again = build_config(table, SFHPrior)
    assert_array_equal(
        draw_mass_fraction(np.random.default_rng(1), 50, EDGES_YR, prior)[0],
        draw_mass_fraction(np.random.default_rng(1), 50, EDGES_YR, again)[0],
    )


def test_unknown_names_are_listed():
    """A typo is an error at once, with the known names."""
    with pytest.raises(SFHCNNError, match=r"'delayed_tua'; known families: delayed_tau, exponential"):
        SFHPrior({"delayed_tua": 1})
    with pytest.raises(SFHCNNError, match=r"delayed_tau: unknown key tau; known keys: start_yr, tau_yr"):
        SFHPrior({"delayed_tau": 1}, {"delayed_tau": {"tau": [1, 2]}})


def test_users_register_their_own(monkeypatch):
    """A registered family is drawn by name with parameters from the configuration."""
    monkeypatch.setattr(SFH_FAMILIES, "_classes", dict(SFH_FAMILIES._classes))

    @register_sfh_family("one_bin")
    @dataclasses.dataclass(frozen=True)
    class OneBin:
        position: int = 0

        def draw(self, rng, n, edges_yr):
            return np.tile(np.eye(edges_yr.size - 1)[self.position], (n, 1))

    prior = SFHPrior({"one_bin": 1}, {"one_bin": {"position": 7}})
    mass, _ = draw_mass_fraction(np.random.default_rng(0), 3, EDGES_YR, prior)
    assert_array_equal(np.argmax(mass, axis=1), 7)
