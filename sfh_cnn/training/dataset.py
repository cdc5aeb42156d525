"""MockStream: an endless, numbered stream of batches, the same for any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sfh_cnn.core import SFHCNNError

if TYPE_CHECKING:
    from torch import Tensor

    from sfh_cnn.synthesis import MockGenerator, TrainingSet

__all__ = ["HELD_OUT", "MockStream", "held_out_mocks", "to_tensors"]

#: Chunks from these numbers on are never trained on.
HELD_OUT = {"validation": 10**9, "calibration": 2 * 10**9, "test": 3 * 10**9}
#: Of a mock; a band that is not finite is missing.
_MAY_BE_NAN = ("band_flux", "band_flux_err")


def to_tensors(
    mocks: dict[str, np.ndarray], rows: slice | np.ndarray = slice(None), seed: int | list[int] = 0
) -> dict[str, Tensor]:
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

    Raises
    ------
    SFHCNNError
        If a mock is not finite: it would make all weights NaN.
    """
    _check_finite(mocks)
    chosen = {name: np.ascontiguousarray(value[rows]) for name, value in mocks.items()}
    n, n_age = chosen["mass_fraction"].shape
    chosen["edge_noise"] = np.random.default_rng(seed).standard_normal((n, n_age - 1), dtype=np.float32)
    return {name: torch.from_numpy(value) for name, value in chosen.items()}


def _check_finite(mocks):
    """All of them, but for missing bands and what is masked."""
    for name, value in mocks.items():
        if name in _MAY_BE_NAN or value.dtype.kind != "f":
            continue
        bad = ~np.isfinite(value)
        if bad.any() and name in ("flux", "flux_err") and "mask" in mocks:
            bad &= ~mocks["mask"]
        if bad.any():
            rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
            raise SFHCNNError(
                f"{name} of {len(rows)} of {len(bad)} mocks is not finite, first of number {rows[0]}; training needs "
                "finite numbers: look for NaN in the stellar libraries, the bands or the training set"
            )


def held_out_mocks(generator: MockGenerator, kind: str, n: int) -> dict[str, Tensor]:
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
    """Chunk ``i`` of a stream, shuffled: its groups share kinematics and must not fill a batch."""

    def __init__(self, stream, first):
        self.stream, self.first = stream, first
        self.n_chunk = -(-stream.n_distinct // stream.chunk_size)  # rounded up; 0 means no end

    def __len__(self):
        return 10**8

    def __getitem__(self, item):
        stream = self.stream
        index = self.first + item * stream.world_size
        if stream.stored is None:
            mocks = stream.generator.chunk(self._place(index), stream.chunk_size)
        else:
            mocks = self._read(self._place(index))
            if not stream.stored.observed:
                mocks = stream.generator.observe(mocks, np.random.default_rng([stream.seed, index, 2]))
        return to_tensors(mocks, np.random.default_rng([index]).permutation(stream.chunk_size), seed=[index, 1])

    def _place(self, index):
        """Which mocks chunk ``index`` shows: those of a fixed set come in its order first, then in random ones."""
        if not self.n_chunk:
            return index
        epoch, place = divmod(index, self.n_chunk)
        if epoch == 0:
            return place
        return int(np.random.default_rng([self.stream.seed, epoch, 3]).permutation(self.n_chunk)[place])

    def _read(self, place):
        """A chunk from disk; the last one is filled up with the first mocks."""
        size, n_distinct = self.stream.chunk_size, self.stream.n_distinct
        parts, start, missing = [], place * size, size
        while missing:
            stop = min(start + missing, n_distinct)
            parts.append(self.stream.stored.read(start, stop))
            missing -= stop - start
            start = 0
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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
    stored : `~sfh_cnn.synthesis.TrainingSet`, optional
        Mocks on disk that are shown instead of new ones, all of them or the first ``n_distinct``. If they are
        noise-free the generator observes them, anew each time.
    seed : int, optional
        Of the order in which a fixed set comes again, and of the noise of a noise-free one.
    pin_memory : bool, optional
        Have batches from other processes where a GPU fetches them from without waiting.
    """

    def __init__(
        self,
        generator: MockGenerator,
        batch_size: int,
        chunk_size: int,
        start: int = 0,
        n_worker: int = 1,
        rank: int = 0,
        world_size: int = 1,
        n_distinct: int = 0,
        stored: TrainingSet | None = None,
        seed: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.generator, self.stored = generator, stored
        self.batch_size, self.chunk_size = batch_size, chunk_size
        self.start, self.n_worker = start, n_worker
        self.rank, self.world_size = rank, world_size
        self.n_distinct = n_distinct or (0 if stored is None else len(stored))
        self.seed, self.pin_memory = seed, pin_memory

    def __iter__(self):
        per_chunk = self.chunk_size // self.batch_size
        chunk, skip = divmod(self.start, per_chunk)
        first = chunk * self.world_size + self.rank
        loader = DataLoader(
            _Chunks(self, first),
            batch_size=None,
            shuffle=False,
            num_workers=self.n_worker,
            prefetch_factor=2 if self.n_worker else None,
            pin_memory=self.pin_memory,
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
