"""predict_cube on a Dask cluster: the maps of a run here, also when a worker is killed."""

import os
import pickle
import signal

import astropy.units as u
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction import cube as cube_module
from sfh_cnn.prediction import cube_parts
from sfh_cnn.spectra import open_cube

from .mock_cube import N_X, N_Y, REDSHIFT

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


@pytest.fixture(autouse=True)
def one_thread():
    """As dask gives its workers: with another number of threads sums are rounded in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rows(monkeypatch):
    """A block for each row of the cube."""
    monkeypatch.setattr(cube_module, "_STRIPE_BYTES", 1)


def cluster(**options):
    """A cluster of two workers of one thread."""
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50, **options
    )


def options_of(mock, binned):
    """Single spaxels, or bins of which some are in one row, some in two and some in all."""
    bins = np.arange(N_Y * N_X).reshape(N_Y, N_X) // 5 if binned else None
    if binned:
        bins[:, 7] = 100
    more = {"bins": bins} if binned else {"snr_cut": 0}
    unit = u.Unit("1e-20 erg / (s cm2 AA)")
    images = {band: tuple(part * unit for part in pair) for band, pair in mock.bands.items()}
    return {"redshift": REDSHIFT, "velocity": mock.velocity_kms * u.km / u.s, "images": images, **more}


def assert_identical(maps, other):
    """To the last bit, and the flags."""
    assert_array_equal(maps.bin_id, other.bin_id)
    for key, value in other.result.arrays.items():
        assert_array_equal(maps.result.arrays[key], value, err_msg=key)


@pytest.mark.parametrize("binned", [False, True])
def test_a_cluster_makes_the_same_maps(predictor, mock, path, rows, binned):
    """The blocks are done by its workers, and what is added up across them is added up in their order."""
    options = options_of(mock, binned)
    here = predictor.predict_cube(path, **options)
    with cluster(processes=False) as workers:
        there = predictor.predict_cube(path, scheduler=workers.scheduler_address, **options)
        with workers.get_client() as client:
            done = sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values())
    assert done >= N_Y
    assert_identical(there, here)
    assert set(there.result.meta["seconds"]) == set(here.result.meta["seconds"])


def test_what_goes_to_a_worker_survives_the_journey(predictor, path, observed):
    """A predictor and a cube on disk, and not the pixels of it."""
    here, there = (one.predict(observed.spectrum()) for one in (predictor, pickle.loads(pickle.dumps(predictor))))
    assert_array_equal(there.mass_fraction.value, here.mass_fraction.value)
    packed = pickle.dumps(open_cube(path))
    assert len(packed) < 20_000
    assert_array_equal(pickle.loads(packed).read(2, 4)[0], open_cube(path).read(2, 4)[0])


@pytest.mark.slow
@pytest.mark.parametrize("binned", [False, True])
def test_a_killed_worker_does_not_show(predictor, mock, path, rows, monkeypatch, binned):
    """Processes, one of them killed in the middle: the same maps."""
    options = options_of(mock, binned)
    here = predictor.predict_cube(path, **options)
    killed = []
    with cluster(processes=True) as workers:
        add = cube_parts.MemoryParts.add

        def kill_then_add(self, arrays):
            if self.n_done == 2:
                killed.append(workers.workers[0].pid)
                os.kill(killed[0], signal.SIGKILL)
            add(self, arrays)

        monkeypatch.setattr(cube_parts.MemoryParts, "add", kill_then_add)
        there = predictor.predict_cube(path, scheduler=workers.scheduler_address, **options)
    assert len(killed) == 1
    assert_identical(there, here)


def test_a_run_on_a_cluster_is_taken_up_here(predictor, mock, path, rows, monkeypatch, tmp_path):
    """What the cluster has done waits beside the output, as that of any other run."""
    options = {**options_of(mock, binned=True), "output": tmp_path / "maps.fits"}
    add = cube_parts.FolderParts.add

    def stop(self, arrays):
        if self.n_done == 4:
            raise SFHCNNError("stopped")
        add(self, arrays)

    monkeypatch.setattr(cube_parts.FolderParts, "add", stop)
    with cluster(processes=False) as workers, pytest.raises(SFHCNNError, match="stopped"):
        predictor.predict_cube(path, scheduler=workers.scheduler_address, **options)
    monkeypatch.setattr(cube_parts.FolderParts, "add", add)
    resumed = predictor.predict_cube(path, **options)
    del options["output"]
    assert_identical(resumed, predictor.predict_cube(path, **options))


def test_no_scheduler_at_the_address(predictor, path):
    """An error of the system, as for a missing file."""
    quick = pytest.importorskip("dask").config.set({"distributed.comm.timeouts.connect": "0.5 s"})
    with quick, pytest.raises(OSError, match="9 after"):
        predictor.predict_cube(path, redshift=REDSHIFT, scheduler="tcp://127.0.0.1:9")
