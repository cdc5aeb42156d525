"""MockStream: an endless, numbered stream of batches, the same for any number of workers."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

__all__ = ["HELD_OUT", "MockStream", "to_tensors"]

#: Chunks from these numbers on are never trained on.
HELD_OUT = {"validation": 10**9, "calibration": 2 * 10**9, "test": 3 * 10**9}


def to_tensors(mocks, rows=slice(None)):
    """Mocks of a `MockGenerator` as a dictionary of tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(value[rows])) for name, value in mocks.items()}


class _Chunks(Dataset):
    """Chunk ``i`` of a generator, shuffled: its groups share kinematics and must not fill a batch."""

    def __init__(self, generator, chunk_size, first, stride):
        self.generator = generator
        self.chunk_size = chunk_size
        self.first, self.stride = first, stride

    def __len__(self):
        return 10**8

    def __getitem__(self, item):
        index = self.first + item * self.stride
        mocks = self.generator.chunk(index, self.chunk_size)
        return to_tensors(mocks, np.random.default_rng([index]).permutation(self.chunk_size))


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
    """

    def __init__(self, generator, batch_size, chunk_size, start=0, n_worker=1, rank=0, world_size=1):
        self.generator = generator
        self.batch_size, self.chunk_size = batch_size, chunk_size
        self.start, self.n_worker = start, n_worker
        self.rank, self.world_size = rank, world_size

    def __iter__(self):
        per_chunk = self.chunk_size // self.batch_size
        chunk, skip = divmod(self.start, per_chunk)
        chunks = _Chunks(self.generator, self.chunk_size, chunk * self.world_size + self.rank, self.world_size)
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
