"""Registry and weights of families."""

import dataclasses

import numpy as np
import pytest

from sfh_cnn.core import SFHCNNError
from sfh_cnn.synthesis.amr_prior import AMR_FAMILIES
from sfh_cnn.synthesis.mixture import Family, FamilyRegistry, choose_families, log_range, log_uniform
from sfh_cnn.synthesis.sfh_prior import SFH_FAMILIES


@pytest.fixture
def registry():
    """A registry with one family."""
    registry = FamilyRegistry("test")

    @registry.register("one")
    @dataclasses.dataclass(frozen=True)
    class One(Family):
        width: tuple[float, float] = (1.0, 2.0)
        share: tuple[float, float] = log_range(0.1, 0.5)

        def draw(self):
            return self.width

    return registry


def test_families_are_drawn_by_weight():
    """Shares of the mixture follow the weights within counting noise, and a weight of 0 is never drawn."""
    weights = [2.0, 0.0, 5.0, 3.0]
    n = 100_000
    share = np.bincount(choose_families(np.random.default_rng(0), n, weights), minlength=4) / n
    expected = np.array(weights) / 10
    assert np.all(np.abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / n))


def test_log_uniform_is_even_in_log():
    """The logarithm of the draws has the mean and variance of a uniform variate."""
    log_draws = np.log(log_uniform(np.random.default_rng(0), (1e3, 1e7), 100_000))
    span = np.log(1e4)
    assert log_draws.shape == (100_000, 1)
    assert np.mean(log_draws) == pytest.approx(np.log(1e5), abs=4 * span / np.sqrt(12e5))
    assert np.var(log_draws) == pytest.approx(span**2 / 12, rel=0.02)


def test_parameters_reach_the_family_as_tuples(registry):
    """TOML lists become the ranges of the family."""
    assert registry.build({"one": 1}, {"one": {"width": [3, 4]}})["one"].width == (3.0, 4.0)


@pytest.mark.parametrize(
    ("weights", "parameters", "match"),
    [
        ({"two": 1}, {}, "unknown test family 'two'; known families: one"),
        ({"one": 1}, {"one": {"wdth": [1, 2]}}, "unknown key wdth; known keys: share, width"),
        ({"one": 1}, {"one": {"width": [2, 1]}}, "width of One needs two finite numbers, low <= high"),
        ({"one": 1}, {"one": {"share": [0, 1]}}, "share of One is drawn in log and needs numbers above 0"),
        ({"one": 1}, {"two": {"width": [1, 2]}}, "without a weight: two"),
        ({"one": -1}, {}, "must be finite, >= 0 and not all 0"),
        ({"one": 0}, {}, "must be finite, >= 0 and not all 0"),
        ({}, {}, "must be finite, >= 0 and not all 0"),
        ({"one": np.nan}, {}, "must be finite"),
    ],
)
def test_bad_mixtures_are_refused(registry, weights, parameters, match):
    """What is wrong is named, and what is known is listed."""
    with pytest.raises(SFHCNNError, match=match):
        registry.build(weights, parameters)


def test_a_name_is_registered_once(registry):
    """A second family under a name would silently change what a configuration means."""
    with pytest.raises(SFHCNNError, match="'one' is registered already"):
        registry.register("one")(registry["one"])


def test_only_dataclasses_that_draw_are_families(registry):
    """A class without draw or fields is refused when it is registered, not when it is used."""
    with pytest.raises(SFHCNNError, match="must be a dataclass with a draw method"):
        registry.register("bad")(dict)


@pytest.mark.parametrize("registry", [SFH_FAMILIES, AMR_FAMILIES])
def test_no_range_makes_a_family_overflow(registry):
    """Every range can begin at 0 unless the family says that it must not; no draw divides by 0 or takes its log."""
    mass = np.full((20, 85), 1 / 85)
    edges_yr = np.concatenate([np.arange(10) * 1e6, np.geomspace(1e7, 1.38e10, 76)])
    for name in registry.names:
        for field in dataclasses.fields(registry[name]):
            if not isinstance(field.default, tuple) or isinstance(field.default[0], str):
                continue
            try:
                family = registry[name](**{field.name: (0.0, field.default[1])})
            except SFHCNNError as err:
                assert "is drawn in log" in str(err)  # noqa: PT017
                continue
            args = (mass, edges_yr) if registry is AMR_FAMILIES else (20, edges_yr)
            assert np.all(np.isfinite(family.draw(np.random.default_rng(0), *args)))
