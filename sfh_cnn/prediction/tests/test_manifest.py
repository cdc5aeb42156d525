"""A list of cubes: each on its own, and the list as often as need be."""

import astropy.units as u
import pytest
from astropy.table import QTable
from numpy.testing import assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction import predict_manifest
from sfh_cnn.results import SFHMaps

from .mock_cube import REDSHIFT, make_mock_cube


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
        }
    )
    table.write(tmp_path / "cubes.ecsv")
    status = predict_manifest(predictor, tmp_path / "cubes.ecsv")["status"]
    assert [status[0], status[2]] == ["done", "done"]
    assert "no cube at" in status[1]
    maps = SFHMaps.read(tmp_path / "c_maps.fits")
    direct = predictor.predict_cube(tmp_path / "a.fits", redshift=REDSHIFT, target_snr=200, distance=20 * u.Mpc)
    assert_array_equal(maps.bin_id, direct.bin_id)
    assert_array_equal(maps.result.arrays["mass_fraction"], direct.result.arrays["mass_fraction"])
    again = predict_manifest(predictor, tmp_path / "cubes.ecsv")["status"]
    assert [again[0], again[2]] == ["skipped", "skipped"]


def test_refusals(predictor, tmp_path):
    """Before anything is computed."""
    QTable({"cube": ["a"], "result": ["b"]}).write(tmp_path / "wrong.ecsv")
    with pytest.raises(SFHCNNError, match="columns cube and output"):
        predict_manifest(predictor, tmp_path / "wrong.ecsv")
    QTable({"cube": ["a", "c"], "output": ["b", "b"]}).write(tmp_path / "twice.ecsv")
    with pytest.raises(SFHCNNError, match="same output"):
        predict_manifest(predictor, tmp_path / "twice.ecsv")
    with pytest.raises(FileNotFoundError, match="no manifest"):
        predict_manifest(predictor, tmp_path / "nothing.ecsv")
