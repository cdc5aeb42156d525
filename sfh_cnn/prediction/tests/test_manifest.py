"""A list of cubes: each on its own, and the list as often as need be."""

import astropy.units as u
import pytest
from astropy.table import QTable
from numpy.testing import assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction import cube as cube_module
from sfh_cnn.prediction import predict_manifest
from sfh_cnn.results import SFHMaps
from sfh_cnn.spectra import Cube

from .mock_cube import N_X, N_Y, REDSHIFT, make_mock_cube


def test_a_list_of_cubes(predictor, tmp_path):
    """Files beside the list; a missing cube does not stop the others; what is done is skipped the second time."""
    make_mock_cube().write(tmp_path / "a.fits")
    table = QTable(
        {
            "cube": ["a.fits", "missing.fits", "a.fits"],
            "output": ["a_maps.fits", "b_maps.fits", "c_maps.fits"],
            "redshift": [REDSHIFT, REDSHIFT, REDSHIFT],
            "target_snr": [100.0, 100.0, 200.0],
            "distance": [10.0, 10.0, 20.0] * u.Mpc,
            "ebv": [0.0, 0.0, 0.1] * u.mag,
        }
    )
    table.write(tmp_path / "cubes.ecsv")
    status = predict_manifest(predictor, tmp_path / "cubes.ecsv")["status"]
    assert [status[0], status[2]] == ["done", "done"]
    assert "no cube at" in status[1]
    maps = SFHMaps.read(tmp_path / "c_maps.fits")
    options = {"redshift": REDSHIFT, "target_snr": 200, "distance": 20 * u.Mpc, "ebv": 0.1}
    direct = predictor.predict_cube(tmp_path / "a.fits", **options)
    assert_array_equal(maps.bin_id, direct.bin_id)
    assert_array_equal(maps.result.arrays["mass_fraction"], direct.result.arrays["mass_fraction"])
    again = predict_manifest(predictor, tmp_path / "cubes.ecsv")["status"]
    assert [again[0], again[2]] == ["skipped", "skipped"]


def test_each_cube_can_be_stopped_and_taken_up_again(predictor, tmp_path, monkeypatch):
    """Ctrl-C in the second cube: the first is kept, the second goes on with the block where it was."""
    monkeypatch.setattr(cube_module, "_STRIPE_BYTES", 1)
    for name in "ab":
        make_mock_cube().write(tmp_path / f"{name}.fits")
    table = QTable({"cube": ["a.fits", "b.fits"], "output": ["a_maps.fits", "b_maps.fits"]})
    table["redshift"], table["snr_cut"] = REDSHIFT, 0.0
    table.write(tmp_path / "cubes.ecsv")
    read, rows = Cube.read, []

    def interrupted(self, y0, y1, planes):
        rows.append((self.name, y0, y1))
        if (self.name, y0, y1) == ("b.fits", 5, 6) and rows.count(rows[-1]) == 1:
            raise KeyboardInterrupt
        return read(self, y0, y1, planes)

    monkeypatch.setattr(Cube, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_manifest(predictor, tmp_path / "cubes.ecsv")
    rows.clear()
    rows.append(("b.fits", 5, 6))
    summary = predict_manifest(predictor, tmp_path / "cubes.ecsv")
    assert list(summary["status"]) == ["skipped", "done"]
    assert list(summary["n_spec"]) == [0, N_Y * N_X]
    assert summary["time"][1] > 0 * u.s
    assert [row[1] for row in rows[1:] if row[2] - row[1] == 1] == [5, 6, 7, 8]
    first, second = (SFHMaps.read(tmp_path / f"{name}_maps.fits") for name in "ab")
    assert_array_equal(first.result.arrays["mass_fraction"], second.result.arrays["mass_fraction"])


def test_no_error_of_a_cube_stops_the_others(predictor, tmp_path, monkeypatch):
    """Not even one that nobody has thought of."""
    make_mock_cube().write(tmp_path / "a.fits")
    table = QTable({"cube": ["a.fits", "a.fits"], "output": ["a1.fits", "a2.fits"], "redshift": [REDSHIFT] * 2})
    table["target_snr"] = 200.0
    table.write(tmp_path / "cubes.ecsv")
    predict = type(predictor).predict_cube

    def broken(self, cube, output, **options):
        if output.name == "a1.fits":
            raise RuntimeError("a bug")
        return predict(self, cube, output=output, **options)

    monkeypatch.setattr(type(predictor), "predict_cube", broken)
    assert list(predict_manifest(predictor, tmp_path / "cubes.ecsv")["status"]) == ["RuntimeError: a bug", "done"]


def test_refusals(predictor, tmp_path):
    """Before anything is computed."""
    QTable({"cube": ["a"], "result": ["b"]}).write(tmp_path / "wrong.ecsv")
    with pytest.raises(SFHCNNError, match="columns cube and output"):
        predict_manifest(predictor, tmp_path / "wrong.ecsv")
    QTable({"cube": ["a", "c"], "output": ["b", "b"]}).write(tmp_path / "twice.ecsv")
    with pytest.raises(SFHCNNError, match="same output"):
        predict_manifest(predictor, tmp_path / "twice.ecsv")
    for column, value, message in (
        ("redshift", "z=0.01", "row 1: redshift must be a number, got 'z=0.01'"),
        ("distance", "eleven", "row 1: distance must be a number with a unit, got 'eleven'"),
        ("distance", 11.0, "row 1: distance must be a number with a unit, got '11.0'"),
        ("output", "", "row 1 has no output"),
    ):
        table = QTable({"cube": ["a"], "output": ["b"]})
        table[column] = [value]
        table.write(tmp_path / "bad.ecsv", overwrite=True)
        with pytest.raises(SFHCNNError, match=message):
            predict_manifest(predictor, tmp_path / "bad.ecsv")
    with pytest.raises(FileNotFoundError, match="no manifest"):
        predict_manifest(predictor, tmp_path / "nothing.ecsv")
