"""Blocks of spectra on several threads: the same numbers, no thread left over, and an end after an error."""

import threading
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sfh_cnn.prediction.batches import run_network

CPU = torch.device("cpu")


class Blocks:
    """Rows in blocks of two; each row's only argument is its number. Remembers who asked."""

    def __init__(self, n_spec, bad=()):
        self.n_spec, self.bad, self.threads = n_spec, bad, []

    def parts(self):
        """As `InputBlocks.parts`."""
        for start in range(0, max(self.n_spec, 1), 2):
            yield slice(start, min(start + 2, self.n_spec))

    def take(self, part):
        """As `InputBlocks.take`."""
        self.threads.append(threading.get_ident())
        rows = np.array([row for row in range(self.n_spec)[part] if row not in self.bad], dtype=int)
        return rows, [rows.astype(np.float32)]


@pytest.fixture
def two_threads():
    """Torch as on a machine with two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def run(blocks, network=lambda x: {"twice": 2 * x}):
    """Outputs and the numbers of spectra that were reported."""
    done = []
    out = run_network(
        network, CPU, blocks, lambda _, outputs: {"half": outputs["twice"] / 4}, blocks.n_spec, done.append
    )
    return out, done


@pytest.mark.parametrize("n_spec", [1, 2, 7, 40])
def test_every_row_has_its_own_answer(two_threads, n_spec):
    """Whatever thread it came from; bad rows are NaN."""
    blocks = Blocks(n_spec, bad={3, 4, 5})
    out, done = run(blocks)
    expected = 2.0 * np.arange(n_spec)
    expected[[row for row in blocks.bad if row < n_spec]] = np.nan
    assert_array_equal(out["twice"], expected)
    assert_array_equal(out["half"], expected / 4)
    assert sum(done) == n_spec


def test_nothing_to_predict(two_threads):
    """No spectrum, or none that is good: the outputs have their names and as many rows as there are spectra."""
    assert run(Blocks(0))[0]["twice"].shape == (0,)
    assert np.isnan(run(Blocks(3, bad={0, 1, 2}))[0]["half"]).all()


def test_each_thread_has_one_of_torch(two_threads):
    """Blocks run side by side; inside of a block nothing is split; afterwards all is as before."""
    seen = []

    def network(x):
        seen.append(torch.get_num_threads())
        time.sleep(0.02)
        return {"twice": 2 * x}

    n_before = threading.active_count()
    blocks = Blocks(20)
    run(blocks, network)
    assert len(set(blocks.threads)) == 2
    assert threading.get_ident() not in blocks.threads
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    assert threading.active_count() == n_before


def test_one_block_stays_in_its_thread(two_threads):
    """It has torch's threads for itself."""
    blocks = Blocks(2)
    run(blocks)
    assert blocks.threads == [threading.get_ident()]


def test_an_error_ends_it(two_threads):
    """The blocks that wait are not done, and torch has its threads back."""
    blocks = Blocks(2000)

    def network(x):
        time.sleep(0.005)
        if x[0] == 20:
            raise RuntimeError("broken")
        return {"twice": 2 * x}

    with pytest.raises(RuntimeError, match="broken"):
        run(blocks, network)
    assert len(blocks.threads) < 200
    assert torch.get_num_threads() == 2
