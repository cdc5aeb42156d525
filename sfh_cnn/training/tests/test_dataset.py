"""The stream of mocks: numbered, complete, the same for any number of workers and processes."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.tests.small import small_generator
from sfh_cnn.training import HELD_OUT, MockStream, held_out_mocks, to_tensors


class Counter:
    """A generator whose mocks are their own numbers."""

    def __init__(self):
        self.asked = []

    def chunk(self, index, n):
        """Mocks ``index * n`` to ``(index + 1) * n - 1``."""
        self.asked.append(index)
        return {"number": index * n + np.arange(n), "mass_fraction": np.ones((n, 3))}


def first_batches(n, **settings):
    """The first batches of 4 from chunks of 12."""
    stream = iter(MockStream(Counter(), 4, 12, **{"n_worker": 0, **settings}))
    return [next(stream) for _ in range(n)]


def test_every_mock_comes_once_and_chunks_are_shuffled():
    """Three batches make a chunk, in another order than it was made."""
    numbers = torch.stack([batch["number"] for batch in first_batches(6)])
    assert sorted(numbers[:3].flatten().tolist()) == list(range(12))
    assert sorted(numbers[3:].flatten().tolist()) == list(range(12, 24))
    assert numbers[:3].flatten().tolist() != list(range(12))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where there is but one core
@pytest.mark.parametrize("n_worker", [1, 2])
def test_workers_do_not_change_the_stream(n_worker):
    """Nor its noise."""
    alone, with_workers = first_batches(7), first_batches(7, n_worker=n_worker)
    for here, there in zip(alone, with_workers, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.parametrize("start", [1, 3, 5])
def test_it_starts_anywhere(start):
    """As if the batches before had been taken."""
    for here, there in zip(first_batches(7)[start:], first_batches(7 - start, start=start), strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)


def test_processes_share_the_chunks():
    """Two processes see all mocks once, and start anywhere too."""
    seen = [[batch["number"] for batch in first_batches(6, rank=rank, world_size=2)] for rank in (0, 1)]
    assert sorted(torch.cat(seen[0] + seen[1]).tolist()) == list(range(48))
    later = first_batches(2, rank=1, world_size=2, start=4)
    assert_close(later[0]["number"], seen[1][4])


def test_a_fixed_set_comes_again_in_another_order():
    """Of 20 mocks, that is 2 chunks: the third chunk holds the mocks of the first."""
    numbers = torch.stack([batch["number"] for batch in first_batches(12, n_distinct=20)]).view(4, 12)
    for again, first in ((2, 0), (3, 1)):
        assert sorted(numbers[again].tolist()) == sorted(numbers[first].tolist())
        assert numbers[again].tolist() != numbers[first].tolist()
    assert sorted(numbers[:2].flatten().tolist()) == list(range(24))


def test_batches_bring_their_noise():
    """Normal numbers for each piece of the stick, other ones for each chunk."""
    noise = torch.cat([batch["edge_noise"] for batch in first_batches(300)])
    assert noise.shape == (1200, 2)
    assert abs(noise.mean()) < 0.1
    assert noise.std().item() == pytest.approx(1.0, abs=0.05)
    assert len(torch.unique(noise)) == 2400


@pytest.mark.parametrize("n", [10, 4096, 100_000])
def test_held_out_mocks_are_beyond_all_training(n):
    """Whatever their number is: chunk numbers begin at a thousand million."""
    counter = Counter()
    for kind, first in HELD_OUT.items():
        held_out_mocks(counter, kind, n)
        assert counter.asked[-1] == first >= 10**9


def test_tensors_are_copies_of_the_mocks_in_the_order_asked():
    """Types are kept."""
    mocks = small_generator().chunk(0, 256)
    tensors = to_tensors(mocks, np.array([5, 3]))
    for name, value in mocks.items():
        assert np.array_equal(tensors[name].numpy(), value[[5, 3]], equal_nan=value.dtype.kind == "f")
    assert tensors["mask"].dtype == torch.bool
