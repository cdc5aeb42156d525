"""The stream of mocks: numbered, complete, the same for any number of workers and processes."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core import SFHCNNError
from sfh_cnn.synthesis import generate_training_set
from sfh_cnn.tests.small import small_config, small_generator, small_library
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
    """Of 20 mocks, that is 2 chunks: the third and the fourth chunk hold the mocks of the first two."""
    numbers = torch.stack([batch["number"] for batch in first_batches(12, n_distinct=20)]).view(2, 24)
    assert [sorted(epoch.tolist()) for epoch in numbers] == [list(range(24))] * 2
    assert numbers[0].tolist() != numbers[1].tolist()


def test_chunks_of_a_fixed_set_change_places():
    """In the order of the set first, then in one that depends on the epoch and the seed."""
    epochs = {seed: [] for seed in (0, 1)}
    for seed, seen in epochs.items():
        chunks = torch.stack([batch["number"] for batch in first_batches(90, n_distinct=120, seed=seed)])
        seen += (chunks.view(3, 10, 12).amin(-1) // 12).tolist()
        assert all(sorted(order) == list(range(10)) for order in seen)
        assert seen[0] == list(range(10))
    assert len({tuple(order) for seen in epochs.values() for order in seen}) == 5


class Stored(Counter):
    """Twenty mocks on disk."""

    observed = True

    def __len__(self):
        return 20

    def read(self, start, stop):
        """Mocks ``start`` to ``stop - 1``."""
        assert 0 <= start < stop <= 20
        return {"number": np.arange(start, stop), "mass_fraction": np.ones((stop - start, 3))}


def test_a_set_on_disk_is_shown_whole():
    """Its last chunk is filled up with its first mocks; nothing is made; it starts anywhere, for any process."""
    generator = Counter()
    settings = {"n_worker": 0, "stored": Stored()}
    stream = iter(MockStream(generator, 4, 12, **settings))
    numbers = torch.stack([next(stream)["number"] for _ in range(12)])
    for epoch in numbers.view(2, 24):
        assert sorted(epoch.tolist()) == sorted([*range(20), *range(4)])
    assert sorted(numbers[:3].flatten().tolist()) == list(range(12))
    assert generator.asked == []
    later = iter(MockStream(generator, 4, 12, start=7, **settings))
    assert_close(next(later)["number"], numbers[7])
    second = iter(MockStream(generator, 4, 12, start=3, rank=1, world_size=2, **settings))
    assert_close(next(second)["number"], numbers[9])


def test_the_first_mocks_of_a_set_on_disk():
    """``n_distinct`` of them."""
    stream = iter(MockStream(Counter(), 4, 4, n_worker=0, stored=Stored(), n_distinct=8))
    numbers = torch.stack([next(stream)["number"] for _ in range(6)]).view(3, 8)
    assert all(sorted(epoch.tolist()) == list(range(8)) for epoch in numbers)


def test_stored_and_fresh_mocks_are_the_same(tmp_path):
    """To the last bit, where a chunk of training is a chunk of the set."""
    config = small_config()
    stored = generate_training_set(config.synthesis, tmp_path, 4096, libraries=[small_library()])
    streams = [MockStream(small_generator(), 1024, 2048, n_worker=0, stored=source) for source in (stored, None)]
    for here, there, _ in zip(*streams, range(4), strict=False):
        assert set(here) == set(there)
        assert all(torch.equal(here[name].nan_to_num(), there[name].nan_to_num()) for name in here)


def test_noise_free_mocks_have_other_noise_each_time(tmp_path):
    """The same galaxies in both epochs; and again the same when the stream starts there, in another process."""
    config = small_config()
    stored = generate_training_set(config.synthesis, tmp_path, 512, libraries=[small_library()], observed=False)

    def batches(n, **settings):
        stream = iter(MockStream(small_generator(), 256, 512, stored=stored, **{"n_worker": 0, **settings}))
        batches = [next(stream) for _ in range(n)]
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    seen, again = batches(4), batches(2, start=2, n_worker=1)
    epochs = [{name: value[rows] for name, value in seen.items()} for rows in (slice(512), slice(512, None))]
    assert all(torch.equal(again[name].nan_to_num(), value.nan_to_num()) for name, value in epochs[1].items())
    orders = [epoch["scalars"][:, 5].argsort() for epoch in epochs]
    first, second = ({name: v[order] for name, v in e.items()} for e, order in zip(epochs, orders, strict=True))
    assert torch.equal(first["mass_fraction"], second["mass_fraction"])
    assert torch.equal(first["redshift"], second["redshift"])
    assert not (first["flux"] == second["flux"]).all(1).any()
    assert first["flux_err"].shape == first["mask"].shape == (512, 240)


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


@pytest.mark.parametrize("name", ["flux", "flux_err", "scalars", "mass_fraction", "redshift"])
def test_mocks_that_are_not_finite_are_refused(name):
    """With what, how many and which; what is masked or a missing band may be NaN."""
    mocks = small_generator().chunk(0, 256)
    assert np.isnan(mocks["band_flux"]).any()
    mocks["mask"][7] = True
    mocks["flux"][7], mocks["flux_err"][7] = np.nan, np.inf
    to_tensors(mocks)
    mocks["mask"][5] = False
    mocks[name][5] = np.inf
    with pytest.raises(SFHCNNError, match=f"{name} of 1 of 256 mocks is not finite, first of number 5"):
        to_tensors(mocks)


def test_the_stream_looks_at_each_chunk():
    """Not only at the first one."""

    class Breaking(Counter):
        def chunk(self, index, n):
            mocks = super().chunk(index, n)
            mocks["mass_fraction"][0] = np.nan if index == 2 else 1.0
            return mocks

    stream = iter(MockStream(Breaking(), 4, 12, n_worker=0))
    for _ in range(6):
        next(stream)
    with pytest.raises(SFHCNNError, match="mass_fraction of 1 of 12 mocks is not finite"):
        next(stream)
