"""Tests of the record of what a network promises."""

import dataclasses
import json

import pytest
from numpy.testing import assert_array_equal

from sfh_cnn.core import AgeGrid, ModelContract, NetworkFileError, WavelengthGrid


@pytest.fixture
def contract():
    """A contract with every field filled; it is frozen, so tests may share it."""
    return ModelContract(
        wave_start_aa=4750.0,
        wave_step_aa=1.25,
        n_wave=100,
        age_edges_yr=tuple(AgeGrid.default().edges_yr.tolist()),
        bands=("F275W", "F814W"),
        band_pivots_aa=(2708.0, 8059.0),
        libraries=({"name": "toy", "sha256": "0" * 64, "imf": "Kroupa", "solar_metallicity": 0.02},),
        imf="Kroupa",
        metallicity_range_dex=(-2.0, 0.4),
        domain={"snr": [3.0, 200.0]},
        synthesis={"seed": 1, "families": {"constant": 0.1}},
        training={"seed": 2},
        accuracy={"mass_weighted_log_age": 0.12},
        name="toy",
    )


def test_json_round_trip_is_exact(contract):
    """Every field comes back equal, bin edges to the last digit, tuples as tuples."""
    again = ModelContract.from_json(contract.to_json())
    assert again == contract
    assert_array_equal(again.age_grid.edges_yr, AgeGrid.default().edges_yr)


def test_grids_are_made_from_the_record(contract):
    """Grids and counts follow from the fields; nothing is stored twice."""
    assert contract.age_grid == AgeGrid.default()
    assert contract.wavelength_grid == WavelengthGrid(4750.0, 1.25, 100)
    assert (contract.n_age, contract.n_band) == (16, 2)


def test_replace_makes_a_copy(contract):
    """Measured accuracy is added after training; the original stays as it was."""
    changed = contract.replace(accuracy={"a_v": 0.05})
    assert changed.accuracy == {"a_v": 0.05}
    assert contract.accuracy == {"mass_weighted_log_age": 0.12}


def test_a_contract_is_frozen(contract):
    """No one changes what a network promises in passing."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.n_wave = 3


def test_a_field_of_a_later_version_is_passed_over(contract):
    """A newer writer may add to the record."""
    data = json.loads(contract.to_json()) | {"moon_phase": "full"}
    assert ModelContract.from_json(json.dumps(data)) == contract


def damaged(**changes):
    """Change or (with None) remove fields of the JSON."""

    def damage(text):
        data = json.loads(text) | changes
        return json.dumps({name: value for name, value in data.items() if value is not None})

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "",
        lambda text: "[1, 2]",
        damaged(bands=None),
        damaged(wave_start_aa=None),
        damaged(age_edges_yr=[1.0, 0.5]),
        damaged(age_edges_yr="young"),
        damaged(n_wave=0),
        damaged(wave_step_aa="wide"),
        damaged(wave_step_aa=float("nan")),
        damaged(wave_start_aa=10**400),
        damaged(n_wave=12.5),
        damaged(bands=["F275W"]),
        damaged(bands=["F275W", 814]),
        damaged(libraries=["BC03"]),
        damaged(name=["toy"]),
        damaged(accuracy=0.1),
        damaged(domain={"snr": [200.0, 3.0]}),
        damaged(domain={"redshift": 0.1}),
        damaged(metallicity_range_dex=[-2.0, float("inf")]),
        damaged(training={"note": "\x1b]0;owned\x07"}),
        damaged(synthesis={"families": {"\x1b[2J": 1.0}}),
    ],
)
def test_a_damaged_record_is_one_clear_error(contract, damage):
    """Truncated, foreign, incomplete or impossible: never a traceback from inside."""
    with pytest.raises(NetworkFileError, match="model card is not readable"):
        ModelContract.from_json(damage(contract.to_json()))
