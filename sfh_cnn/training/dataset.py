"""MockStream: an endless, numbered stream of batches, the same for any number of workers."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

__all__ = ["HELD_OUT", "MockStream", "held_out_mocks", "to_tensors"]

#: Chunks from these numbers on are never trained on.
HELD_OUT = {"validation": 10**9, "calibration": 2 * 10**9, "test": 3 * 10**9}


def to_tensors(mocks, rows=slice(None), seed=0):
    """Mocks of a `MockGenerator` as a dictionary of tensors.

    ``edge_noise`` is added, normal numbers for `JointPosterior.jitter`: a batch brings all its randomness with it,
    so that a resumed or distributed run sees the same.

    Parameters
    ----------
    mocks : dict of ndarray
    rows : slice or ndarray, optional
        Mocks to take, in that order.
    seed : int or list of int, optional
        Of the noise.

    Returns
    -------
    dict of Tensor
    """
    chosen = {name: np.ascontiguousarray(value[rows]) for name, value in mocks.items()}
    n, n_age = chosen["mass_fraction"].shape
    chosen["edge_noise"] = np.random.default_rng(seed).standard_normal((n, n_age - 1), dtype=np.float32)
    return {name: torch.from_numpy(value) for name, value in chosen.items()}


def held_out_mocks(generator, kind, n):
    """Mocks that no network of this package was trained on.

    Parameters
    ----------
    generator : MockGenerator
    kind : {"validation", "calibration", "test"}
    n : int
        Number of mocks.

    Returns
    -------
    dict of Tensor
    """
    return to_tensors(generator.chunk(HELD_OUT[kind], n))


class _Chunks(Dataset):
    """Chunk ``i`` of a generator, shuffled: its groups share kinematics and must not fill a batch."""

    def __init__(self, generator, chunk_size, first, stride, n_distinct):
        self.generator = generator
        self.chunk_size = chunk_size
        self.first, self.stride = first, stride
        self.n_chunk = -(-n_distinct // chunk_size)  # rounded up; 0 means no end

    def __len__(self):
        return 10**8

    def __getitem__(self, item):
        index = self.first + item * self.stride
        mocks = self.generator.chunk(index % self.n_chunk if self.n_chunk else index, self.chunk_size)
        return to_tensors(mocks, np.random.default_rng([index]).permutation(self.chunk_size), seed=[index, 1])


class MockStream:
    """Iterable over batches, starting anywhere.

    Parameters
    ----------
    generator : MockGenerator
    batch_size, chunk_size : int
        The chunk is a multiple of the batch.
    start : int, optional
        Number of the first batch.
    n_worker : int, optional
        Processes that make mocks; 0 makes them in this one.
    rank, world_size : int, optional
        With several training processes each takes every ``world_size``-th chunk.
    n_distinct : int, optional
        After so many mocks (rounded up to whole chunks) the first ones come again, in another order; 0 for never.
    """

    def __init__(self, generator, batch_size, chunk_size, start=0, n_worker=1, rank=0, world_size=1, n_distinct=0):
        self.generator = generator
        self.batch_size, self.chunk_size = batch_size, chunk_size
        self.start, self.n_worker = start, n_worker
        self.rank, self.world_size = rank, world_size
        self.n_distinct = n_distinct

    def __iter__(self):
        per_chunk = self.chunk_size // self.batch_size
        chunk, skip = divmod(self.start, per_chunk)
        first = chunk * self.world_size + self.rank
        chunks = _Chunks(self.generator, self.chunk_size, first, self.world_size, self.n_distinct)
        loader = DataLoader(
            chunks,
            batch_size=None,
            shuffle=False,
            num_workers=self.n_worker,
            prefetch_factor=2 if self.n_worker else None,
            worker_init_fn=_one_thread,
        )
        for mocks in loader:
            for i in range(skip, per_chunk):
                rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
                yield {name: value[rows] for name, value in mocks.items()}
            skip = 0


def _one_thread(_):
    """Workers are many already."""
    torch.set_num_threads(1)
