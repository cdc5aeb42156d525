"""What a card must say, and what it says in words."""

import copy
import dataclasses
import json

import pytest

from sfh_cnn.core import AgeGrid, ModelContract, card, config_to_toml, load_config
from sfh_cnn.core.constants import SCALAR_NAMES

NOMINAL = {"50": 0.5, "68": 0.6827, "95": 0.9545}


def scores(**changed):
    """All derived quantities with scores that raise no question."""
    good = {"bias": 0.0, "scatter": 0.1, "std": 0.2, "outliers": 0.01, "coverage": NOMINAL}
    return {name: good | changed.get(name, {}) for name in SCALAR_NAMES} | {"mass_fraction_bias_by_bin": [0.001] * 16}


def complete():
    """A contract whose card lacks nothing and has no weak points."""
    curve = {"step": list(range(9, 200, 10))}
    curve |= {name: [0.3 - 0.01 * i for i in range(20)] for name in card.CURVE_QUANTITIES}
    training = {
        "seed": 7,
        "n_steps": 200,
        "n_mocks_seen": 102_400,
        "seconds": 5400.0,
        "machine": "CPU, 2 cores",
        "settings": {"seed": 7},
        "learning_curve": curve,
    }
    draws = {"log_t90": {"coverage": NOMINAL, "uneven": 0.01}}
    accuracy = {
        "n_mocks": 5000,
        "overall": scores(),
        "groups": {name: scores() for name in ("S/N < 18", "S/N 18-70", "S/N > 70", "no bands")},
        "reduced_chi2_limit": {"snr": [10], "limit": [1.2]},
        "joint_posterior": draws | {"uneven_limit": 0.03, "tarp": {"deviation": 0.02}},
    }
    return ModelContract(
        wave_start_aa=4750.0,
        wave_step_aa=1.25,
        n_wave=100,
        age_edges_yr=tuple(AgeGrid.default().edges_yr.tolist()),
        bands=("F814W",),
        band_pivots_aa=(8059.0,),
        libraries=(),
        imf="Kroupa",
        metallicity_range_dex=(-2.0, 0.4),
        domain={},
        synthesis={"sfh": {"families": {"constant": 0.25, "delayed_tau": 0.75}}, "dust": {"laws": {"calzetti": 1.0}}},
        training=training,
        accuracy=accuracy,
        name="mine",
    )


def changed(path, value):
    """The complete card with one entry replaced, or gone (None)."""
    data = copy.deepcopy(dataclasses.asdict(complete()))
    *parents, last = path
    table = data
    for key in parents:
        table = table[key]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return ModelContract(**data)


def test_a_complete_card():
    """Nothing is missing and nothing is weak."""
    assert card.missing_parts(complete()) == []
    assert card.weak_points(complete()) == []


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        *[(("training", key), None, f"training.{key}") for key in ("seed", "n_steps", "n_mocks_seen", "machine")],
        (("training", "seconds"), None, "training.seconds"),
        (("training", "settings"), None, "training.settings"),
        (("training", "learning_curve"), None, "training.learning_curve"),
        (("training", "learning_curve", "step"), [], "training.learning_curve"),
        (("accuracy", "n_mocks"), None, "accuracy.n_mocks"),
        (("accuracy", "reduced_chi2_limit"), None, "accuracy.reduced_chi2_limit"),
        (("accuracy", "overall", "a_v"), None, "accuracy.overall.a_v.bias"),
        (("accuracy", "overall", "a_v", "coverage"), None, "accuracy.overall.a_v.coverage"),
        (("accuracy", "overall", "mass_fraction_bias_by_bin"), [0.0], "accuracy.overall.mass_fraction_bias_by_bin"),
        (("accuracy", "groups", "S/N < 18"), None, "accuracy.groups by S/N"),
        (("accuracy", "groups", "no bands"), None, "accuracy.groups by bands"),
        (("accuracy", "joint_posterior"), {}, "accuracy.joint_posterior"),
        (("accuracy", "joint_posterior", "tarp"), None, "accuracy.joint_posterior.tarp"),
    ],
)
def test_what_is_missing_is_named(path, value, name):
    """Each part that a reader needs."""
    assert name in card.missing_parts(changed(path, value))


def test_a_network_without_bands_needs_no_groups_by_bands():
    """There is nothing to compare."""
    contract = changed(("accuracy", "groups", "no bands"), None).replace(bands=(), band_pivots_aa=())
    assert card.missing_parts(contract) == []


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            ("accuracy", "groups", "S/N < 18"),
            scores(light_weighted_log_age={"scatter": 0.16}),
            "S/N < 18: light- and mass-weighted log age scatter by 0.16 (all: 0.10) and 0.10 (0.10) dex.",
        ),
        (
            ("accuracy", "overall", "mass_weighted_log_age", "outliers"),
            0.117,
            "12 % of the mass-weighted log ages are off by more than 0.5 dex.",
        ),
        (
            ("accuracy", "overall", "velocity", "coverage"),
            NOMINAL | {"68": 0.71},
            "all mocks: intervals of velocity hold 71 % instead of 68 %.",
        ),
        (
            ("accuracy", "groups", "S/N > 70"),
            scores(velocity_dispersion={"coverage": NOMINAL | {"50": 0.44}}),
            "S/N > 70: intervals of velocity dispersion hold 44 % instead of 50 %.",
        ),
        (
            ("accuracy", "joint_posterior", "log_t90", "coverage"),
            NOMINAL | {"68": 0.72},
            "joint draws: intervals of log t90 hold 72 % instead of 68 %.",
        ),
        (
            ("accuracy", "joint_posterior", "tarp"),
            {"deviation": 0.05},
            "joint draws, all quantities together: coverage is off by up to 0.050 (TARP; chance 0.030).",
        ),
        (("training", "known_failures"), ["Active nuclei."], "Active nuclei."),
    ],
)
def test_weak_points_are_named(path, value, sentence):
    """Each kind of failure that numbers show, and what the makers say; no other one with it."""
    assert card.weak_points(changed(path, value)) == [sentence]


def test_a_group_may_be_off_by_more_than_all():
    """Three points of a group are chance, of all mocks they are not."""
    off = {"coverage": NOMINAL | {"68": 0.71}}
    assert card.weak_points(changed(("accuracy", "groups", "S/N > 70"), scores(velocity=off))) == []


def test_cards_of_before_say_what_they_can():
    """Without the newer parts there are fewer words, and no error."""
    old = complete().replace(training={}, accuracy={})
    assert (card.weak_points(old), card.bin_biases(old), card.curve_points(old), card.commands(old)) == ([], [], [], [])
    assert card.stages(old) == [{"name": "mine"}]


def test_priors_in_words():
    """The most frequent family first."""
    assert card.priors(complete()) == [
        ("star formation", "delayed_tau 75 %, constant 25 %"),
        ("dust laws", "calzetti 100 %"),
    ]


def test_biases_by_bin_have_their_bins():
    """Youngest first."""
    first, *_, last = card.bin_biases(complete())
    assert first == (0.0, 1e7, 0.001)
    assert last[1] == pytest.approx(1.38e10)


def test_curves_are_thinned_and_end_at_the_end():
    """Mocks seen at each point, of 512 for each step."""
    points = card.curve_points(complete())
    assert len(points) == 7
    assert points[-1] == (102_400, *[pytest.approx(0.11)] * 3)
    assert points[0] == (512 * 20, *[pytest.approx(0.29)] * 3)
    assert card.last_scatter(card.stages(complete())[-1]) == [pytest.approx(0.11)] * 3


def test_stages_are_in_order():
    """The trainings before, then this one, which is not told twice."""
    contract = changed(("training", "earlier"), [{"name": "first", "seed": 1}])
    first, last = card.stages(contract)
    assert (first["name"], last["name"], last["seed"]) == ("first", "mine", 7)
    assert "earlier" not in last


def test_commands_make_it_anew():
    """With what it started from and its teacher, as files to be had first, told apart by their hashes."""
    contract = changed(("training", "started_from"), "first (SHA-256 0123456789abcdef)")
    contract = contract.replace(training=contract.training | {"teacher": "large (not released)"})
    assert card.commands(contract) == [
        "sfh-cnn info mine --config > mine.toml",
        "sfh-cnn train --config mine.toml --init-from first-01234567.pt --teacher large.pt --out run",
        "sfh-cnn release run --name mine --n-mocks 5000 --out mine.pt",
        "sfh-cnn evaluate mine.pt --n-mocks 5000",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.0, "12 s"), (89.0, "89 s"), (150.0, "2.5 min"), (3600.0, "60 min"), (9000.0, "2.5 h"), (None, "not recorded")],
)
def test_times_are_for_readers(seconds, text):
    """Seconds, minutes or hours, two digits."""
    assert card.duration(seconds) == text


@dataclasses.dataclass(frozen=True)
class Inner:
    """A table in a table."""

    ranges: dict[str, tuple[float, ...]]
    text: str = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    """A table."""

    inner: Inner
    number: float = 1.0
    on: bool = False
    nothing: str | None = None


def test_toml_comes_back(tmp_path):
    """Numbers to the last digit, names and texts with anything in them."""
    config = Outer(Inner({"a b": (1e-7, 2.5e10), "c-d": (0.1 + 0.2,)}, 'say "ü"\n\\'), 1e22, True)
    file = tmp_path / "a.toml"
    file.write_text(config_to_toml(json.loads(json.dumps(dataclasses.asdict(config)))), encoding="utf-8")
    assert load_config(file, Outer) == config
