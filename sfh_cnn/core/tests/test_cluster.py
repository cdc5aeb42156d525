"""A list worked through by a cluster, with workers that die."""

import os
import signal
from pathlib import Path

import pytest

from sfh_cnn.core import SFHCNNError, map_on_cluster

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


@pytest.fixture(scope="module")
def threads():
    """A cluster of two workers in this process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


def multiply(item, factor):
    """The work."""
    if item == 13:
        raise FileNotFoundError("the worker does not see the file")
    return item * factor


def test_results_come_in_the_order_of_the_items(threads):
    """By the address of the scheduler, or with a client, which stays open."""
    expected = [3 * i for i in range(12)]
    assert list(map_on_cluster(threads.scheduler_address, multiply, range(12), 3)) == expected
    with distributed.Client(threads, set_as_default=False) as client:
        assert list(map_on_cluster(client, multiply, range(12), 3)) == expected
        assert client.status == "running"


def test_items_are_taken_as_they_are_needed(threads):
    """Neither all tasks nor all results wait at a time."""
    taken = []
    items = (taken.append(i) or i for i in range(1000))
    results = map_on_cluster(threads.scheduler_address, multiply, items, 1)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) < 12
    results.close()


def test_an_error_of_a_worker_is_an_error_here(threads):
    """Of the same class."""
    with pytest.raises(FileNotFoundError, match="does not see"):
        list(map_on_cluster(threads.scheduler_address, multiply, range(10, 20), 3))


def _kill_once(item, marker):
    if item == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def _kill_always(item, _shared):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.slow
@pytest.mark.parametrize("n_worker", [1, 2])
def test_a_dead_worker_is_replaced(tmp_path, n_worker):
    """Its items are done by the others, or by the one that starts in its place."""
    options = {"n_workers": n_worker, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        done = list(map_on_cluster(cluster.scheduler_address, _kill_once, range(8), str(tmp_path / "marker")))
        assert done == list(range(8))
        if n_worker == 1:
            return  # dask does not start a single worker again for ever
        with pytest.raises(SFHCNNError, match="workers"):
            list(map_on_cluster(cluster.scheduler_address, _kill_always, range(8), None))
