"""What a model card must say, and what it says in words: weak points, stages of the training, commands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .constants import SCALAR_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .contract import ModelContract

__all__ = [
    "CURVE_QUANTITIES",
    "QUANTITY_LABELS",
    "bin_biases",
    "commands",
    "curve_points",
    "duration",
    "last_scatter",
    "missing_parts",
    "priors",
    "stages",
    "weak_points",
]

#: Quantities of a card: how a reader calls them, and their unit.
QUANTITY_LABELS = {
    "light_weighted_log_age": ("light-weighted log age", "dex"),
    "mass_weighted_log_age": ("mass-weighted log age", "dex"),
    "light_weighted_metallicity": ("light-weighted [M/H]", "dex"),
    "mass_weighted_metallicity": ("mass-weighted [M/H]", "dex"),
    "a_v": ("A_V", "mag"),
    "log_mass_to_light": ("log M/L_V, without dust", "dex"),
    "log_mass_to_light_attenuated": ("log M/L_V, attenuated", "dex"),
    "log_recent_fraction": ("log mass fraction < 100 Myr", "dex"),
    "velocity_dispersion": ("velocity dispersion", "km/s"),
    "velocity": ("velocity", "km/s"),
    "log_t50": ("log t50", "dex"),
    "log_t90": ("log t90", "dex"),
    "formed_in_last_gyr": ("mass fraction < 1 Gyr", ""),
}
#: Whose scatter tells how a training got on.
CURVE_QUANTITIES = ("light_weighted_log_age", "mass_weighted_log_age", "light_weighted_metallicity")
#: Points of a learning curve that are shown.
_N_POINT = 8
_AGES = ("light_weighted_log_age", "mass_weighted_log_age")
_TRAINING = ("seed", "n_steps", "n_mocks_seen", "seconds", "machine", "settings")
_ACCURACY = ("n_mocks", "overall", "groups", "joint_posterior", "reduced_chi2_limit")
_SCORES = ("bias", "scatter", "std", "coverage")
_NOMINAL = {"50": 0.5, "68": 0.6827, "95": 0.9545}
#: Coverage that is further off is a weak point: of all mocks, of a group of them.
_OFF, _OFF_IN_GROUP = 0.02, 0.04
#: A group whose ages scatter by so much more than all do is one, and so many ages that are off by half a dex.
_MUCH_SCATTER, _MANY_OUTLIERS = 1.5, 0.05


def missing_parts(contract: ModelContract) -> list[str]:
    """What a card lacks before a network may be released.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of str
        Dotted names; empty if the card is complete.
    """
    training, accuracy = contract.training, contract.accuracy
    missing = [f"training.{name}" for name in _TRAINING if training.get(name) is None]
    if not training.get("learning_curve", {}).get("step"):
        missing.append("training.learning_curve")
    missing += [f"accuracy.{name}" for name in _ACCURACY if not accuracy.get(name)]
    overall, groups = accuracy.get("overall", {}), accuracy.get("groups", {})
    missing += [
        f"accuracy.overall.{name}.{part}"
        for name in SCALAR_NAMES
        for part in _SCORES
        if part not in overall.get(name, {})
    ]
    if len(overall.get("mass_fraction_bias_by_bin", ())) != contract.n_age:
        missing.append("accuracy.overall.mass_fraction_bias_by_bin")
    if sum(name.startswith("S/N") for name in groups) < 3:
        missing.append("accuracy.groups by S/N")
    if contract.bands and not {"no bands", "all bands"} & set(groups):
        missing.append("accuracy.groups by bands")
    if "tarp" not in accuracy.get("joint_posterior", {}):
        missing.append("accuracy.joint_posterior.tarp")
    return missing


def weak_points(contract: ModelContract) -> list[str]:
    """Known failures of a network: what its own numbers say, then what its makers say.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of str
        A sentence each.
    """
    accuracy = contract.accuracy
    parts = [_scattered(accuracy), _outliers(accuracy), _miscovered(accuracy), _joint(accuracy)]
    return [*(sentence for part in parts for sentence in part), *contract.training.get("known_failures", ())]


def priors(contract: ModelContract) -> list[tuple[str, str]]:
    """What the mock galaxies of a network were: weights of families, dust laws, ranges.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of tuple
        Subject and text.
    """
    synthesis = contract.synthesis

    def shares(table, key="families"):
        entries = sorted(synthesis.get(table, {}).get(key, {}).items(), key=lambda entry: -entry[1])
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in entries)

    parts = {
        "star formation": shares("sfh"),
        "enrichment": shares("metallicity"),
        "dust laws": shares("dust", "laws"),
    }
    return [(subject, text) for subject, text in parts.items() if text]


def curve_points(contract: ModelContract) -> list[tuple[float, ...]]:
    """Learning curve of the last training, thinned.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of tuple
        Number of mocks seen, then the scatter of `CURVE_QUANTITIES` (dex) on held-out mocks.
    """
    training = contract.training
    curve, n_step = training.get("learning_curve", {}), training.get("n_steps")
    steps = curve.get("step", [])
    if not steps or not n_step:
        return []
    every = max(-(-len(steps) // _N_POINT), 1)
    chosen = range((len(steps) - 1) % every, len(steps), every)  # the last one among them
    per_step = training["n_mocks_seen"] / n_step
    return [(round((steps[i] + 1) * per_step), *(curve.get(name, [])[i] for name in CURVE_QUANTITIES)) for i in chosen]


def last_scatter(stage: dict) -> list[float]:
    """Scatter of `CURVE_QUANTITIES` (dex) on held-out mocks at the end of a training.

    Parameters
    ----------
    stage : dict
        From `stages`.

    Returns
    -------
    list of float
        NaN where it was not recorded.
    """
    curve = stage.get("learning_curve", {})
    return [(curve.get(name) or [math.nan])[-1] for name in CURVE_QUANTITIES]


def bin_biases(contract: ModelContract) -> list[tuple[float, float, float]]:
    """Youngest and oldest age (yr) of each bin, and the mean of predicted less true mass fraction.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of tuple
        Empty where the card does not tell.
    """
    edges = contract.age_edges_yr
    biases = contract.accuracy.get("overall", {}).get("mass_fraction_bias_by_bin", ())
    return list(zip(edges, edges[1:], biases, strict=False))


def stages(contract: ModelContract) -> list[dict]:
    """Records of the trainings that led to a network, the first one first.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of dict
        As ``contract.training``; those of before have ``name`` and ``sha256`` of the network that came of them.
    """
    training = {key: value for key, value in contract.training.items() if key != "earlier"}
    return [*contract.training.get("earlier", ()), {"name": contract.name, **training}]


def commands(contract: ModelContract) -> list[str]:
    """Commands that make a network anew from its card, and measure it.

    Parameters
    ----------
    contract : ModelContract

    Returns
    -------
    list of str
        Empty where the card does not hold the settings of the training.
    """
    training, name = contract.training, contract.name
    if not training.get("settings"):
        return []
    train = f"sfh-cnn train --config {name}.toml"
    for key, option in (("started_from", "--init-from"), ("teacher", "--teacher")):
        if key in training:
            train += f" {option} {_file_of(training[key])}"
    n_mocks = contract.accuracy.get("n_mocks", 10_000)
    return [
        f"sfh-cnn info {name} --config > {name}.toml",
        f"{train} --out run",
        f"sfh-cnn release run --name {name} --n-mocks {n_mocks} --out {name}.pt",
        f"sfh-cnn evaluate {name}.pt --n-mocks {n_mocks}",
    ]


def duration(seconds: float | None) -> str:
    """A time for readers.

    Parameters
    ----------
    seconds : float or None

    Returns
    -------
    str
    """
    if seconds is None:
        return "not recorded"
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            number = seconds / length
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{seconds:.0f} s"


def _file_of(source):
    """A file to be had first, of a network that is named with its hash: others may have the same name."""
    name, _, rest = source.partition(" (")
    sha256 = rest.removeprefix("SHA-256 ").rstrip(")")
    return f"{name}-{sha256[:8]}.pt" if rest.startswith("SHA-256 ") else f"{name}.pt"


def _scattered(accuracy) -> Iterator[str]:
    overall = accuracy.get("overall", {})
    for name, group in accuracy.get("groups", {}).items():
        (light, light_all), (mass, mass_all) = ((group[age]["scatter"], overall[age]["scatter"]) for age in _AGES)
        if light > _MUCH_SCATTER * light_all or mass > _MUCH_SCATTER * mass_all:
            numbers = f"{light:.2f} (all: {light_all:.2f}) and {mass:.2f} ({mass_all:.2f}) dex"
            yield f"{name}: light- and mass-weighted log age scatter by {numbers}."


def _outliers(accuracy) -> Iterator[str]:
    for name in _AGES:
        share = accuracy.get("overall", {}).get(name, {}).get("outliers", 0.0)
        if share > _MANY_OUTLIERS:
            yield f"{100 * share:.0f} % of the {QUANTITY_LABELS[name][0]}s are off by more than 0.5 dex."


def _miscovered(accuracy) -> Iterator[str]:
    """Intervals that hold clearly more or less than they say, of all mocks or of a group."""
    sets = {"all mocks": (accuracy.get("overall", {}), _OFF)}
    sets |= {name: (group, _OFF_IN_GROUP) for name, group in accuracy.get("groups", {}).items()}
    for where, (scores, limit) in sets.items():
        for name in SCALAR_NAMES:
            off = _off(scores.get(name, {}).get("coverage", {}), limit)
            if off:
                yield f"{where}: intervals of {QUANTITY_LABELS[name][0]} hold {off}."


def _joint(accuracy) -> Iterator[str]:
    joint = accuracy.get("joint_posterior", {})
    for name, entry in joint.items():
        off = _off(entry["coverage"], _OFF) if name in QUANTITY_LABELS else ""
        if off:
            yield f"joint draws: intervals of {QUANTITY_LABELS[name][0]} hold {off}."
    deviation, limit = joint.get("tarp", {}).get("deviation", 0.0), joint.get("uneven_limit", 1.0)
    if deviation > limit:
        off = f"coverage is off by up to {deviation:.3f} (TARP; chance {limit:.3f})"
        yield f"joint draws, all quantities together: {off}."


def _off(coverage, limit):
    """Levels that are off by more, in words; empty if none is."""
    off = [
        f"{100 * share:.0f} % instead of {level} %"
        for level, share in coverage.items()
        if abs(share - _NOMINAL[level]) > limit
    ]
    return " and ".join(off)
