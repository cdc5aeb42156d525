"""Training sets on disk: HDF5 shards that can be resumed, verified and made on a cluster."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy import log

from sfh_cnn import __version__
from sfh_cnn.core import (
    ModelContract,
    SFHCNNError,
    SFHCNNWarning,
    atomic_write,
    config_to_dict,
    folder_lock,
    map_on_cluster,
    progress,
    remove_temporaries,
    require,
)

from .generate import MockGenerator

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sfh_cnn.ssp import SSPLibrary

    from .config import SynthesisConfig

__all__ = ["CHUNK_SIZE", "TrainingSet", "generate_training_set"]

#: Mocks that are drawn together; chunk ``i`` of a set is ``MockGenerator.chunk(i, CHUNK_SIZE)``.
CHUNK_SIZE = 2048
_MANIFEST = "manifest.json"
_FORMAT = "sfh_cnn training set 1"


def generate_training_set(
    config: SynthesisConfig,
    folder: str | Path,
    n_mocks: int,
    *,
    n_worker: int = 1,
    observed: bool = True,
    scheduler: Any = None,
    libraries: Iterable[SSPLibrary] | None = None,
    shard_size: int = 2 * CHUNK_SIZE,
    progress_bar: bool | None = None,
) -> TrainingSet:
    """Make a training set, or go on with one that was interrupted.

    The same configuration, seed and libraries give the same arrays, whatever the number of workers or machines of
    one kind. Shards that exist are verified and kept.

    Parameters
    ----------
    config : SynthesisConfig
        What to make.
    folder : str or `pathlib.Path`
        Where; made if it does not exist. A folder that holds a set of another configuration is refused.
    n_mocks : int
        Number of mocks. A finished set may be extended by asking for more.
    n_worker : int, optional
        Processes of this machine. With more than one, a script needs ``if __name__ == "__main__":`` around the call.
    observed : bool, optional
        False leaves out noise, masks, cuts, lines and all errors; training adds them anew each time.
    scheduler : str, optional
        Address of a Dask scheduler (``"tcp://..."``) whose workers make the shards instead; they must see the folder.
    libraries : list of `~sfh_cnn.ssp.SSPLibrary`, optional
        Instead of reading those that the configuration names.
    shard_size : int, optional
        Mocks in a file, a multiple of 2048.
    progress_bar : bool, optional
        Show a progress bar; by default on a terminal.

    Returns
    -------
    TrainingSet

    Raises
    ------
    SFHCNNError
        If the folder belongs to another set or another process, or a number is not positive.
    """
    if n_mocks < 1 or n_worker < 1 or shard_size < 1 or shard_size % CHUNK_SIZE:
        raise SFHCNNError(
            f"n_mocks and n_worker must be positive and shard_size a multiple of {CHUNK_SIZE}, "
            f"got {n_mocks}, {n_worker} and {shard_size}"
        )
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        remove_temporaries(folder)
        generator = MockGenerator(config, libraries)
        manifest = _manifest(generator, observed, shard_size)
        _check_same_set(folder, manifest, n_mocks)
        shards = [
            _Shard(folder, i, min(shard_size, n_mocks - i * shard_size), shard_size, observed)
            for i in range(-(-n_mocks // shard_size))
        ]
        # Written before the first shard: a set that is killed early is known as what it was to become.
        _write_manifest(folder, manifest, n_mocks, {})
        checksums = {shard.name: checksum for shard in shards if (checksum := shard.kept()) is not None}
        todo = [shard for shard in shards if shard.name not in checksums]
        n_todo, start = sum(shard.n for shard in todo), time.perf_counter()
        with progress(n_mocks, "Mock galaxies", unit="mocks", enabled=progress_bar) as advance:
            advance(n_mocks - n_todo)
            for shard, checksum in _make(todo, generator, n_worker, scheduler):
                checksums[shard.name] = checksum
                _write_manifest(folder, manifest, n_mocks, checksums)
                advance(shard.n)
        _write_manifest(folder, manifest, n_mocks, checksums)
        elapsed = time.perf_counter() - start
        log.info(
            f"{folder}: {n_mocks} mocks in {len(shards)} files; made {n_todo} in {elapsed:.0f} s, "
            f"kept {n_mocks - n_todo}"
        )
    return TrainingSet(folder)


class TrainingSet:
    """Training set on disk.

    Parameters
    ----------
    folder : str or `pathlib.Path`
        Folder made by `generate_training_set`.

    Attributes
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Grids, bands, libraries with their hashes, trained domain and the whole configuration with its seed.
    observed : bool
        Whether the mocks have noise, masks and errors.

    Raises
    ------
    SFHCNNError
        If the folder holds no complete training set.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = _read_manifest(self.folder)
        if manifest is None:
            raise SFHCNNError(
                f"{self.folder} holds no training set; make one with 'sfh-cnn synthesize' or generate_training_set"
            )
        self.contract = ModelContract.from_json(json.dumps(manifest["contract"]))
        self.observed = manifest["observed"]
        self.checksums = manifest["shards"]
        self._n_mocks, self._shard_size = manifest["n_mocks"], manifest["shard_size"]
        if len(self.checksums) * self._shard_size < self._n_mocks:
            raise SFHCNNError(f"{self.folder} is not finished; call generate_training_set again with the same settings")

    def __len__(self):
        return self._n_mocks

    def __iter__(self):
        """Yield one shard after the other as a dict of ndarray, mocks first (see `MockGenerator.chunk`)."""
        for name in self.checksums:
            yield self._read(name)

    def read(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Mocks number ``start`` to ``stop - 1``.

        Parameters
        ----------
        start, stop : int
            Not beyond the end of the set.

        Returns
        -------
        dict of ndarray
            As `MockGenerator.chunk` returns them.

        Raises
        ------
        SFHCNNError
            If a file is missing or cannot be read; it is named.
        """
        size, parts = self._shard_size, []
        for index in range(start // size, -(-stop // size)):
            first = index * size
            parts.append(self._read(_shard_name(index), slice(max(start - first, 0), min(stop - first, size))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def check_made_with(self, config: SynthesisConfig, libraries: Iterable[SSPLibrary]) -> None:
        """Make sure that this set is the one that a configuration describes.

        Parameters
        ----------
        config : SynthesisConfig
        libraries : list of `~sfh_cnn.ssp.SSPLibrary`

        Raises
        ------
        SFHCNNError
            If the set was made with another configuration, seed or stellar library; what differs is named.
        """
        here = {
            "synthesis": self.contract.synthesis,
            "libraries": {library["name"]: library["sha256"] for library in self.contract.libraries},
        }
        there = {
            "synthesis": {"sha256": config.sha256(), **json.loads(json.dumps(config_to_dict(config)))},
            "libraries": {library.name: library.sha256 for library in libraries},
        }
        if here != there:
            name, ours, theirs = _difference(here, there)
            raise SFHCNNError(
                f"{self.folder} was made with another {name} than the configuration has ({ours} and {theirs}); "
                "take the configuration that the set was made with, or make another set"
            )

    def verify(self) -> None:
        """Compare every array on disk with the checksums of the manifest.

        Raises
        ------
        SFHCNNError
            If a file is missing, cannot be read or has changed; it is named.
        """
        for name, checksum in self.checksums.items():
            if _checksum(self._read(name)) != checksum:
                raise SFHCNNError(f"{self.folder / name} has changed since it was made; delete it and make it again")

    def _read(self, name, rows=...):
        try:
            return _read_shard(self.folder / name, rows)
        except OSError as err:
            raise SFHCNNError(f"{self.folder / name} cannot be read: {err}") from err

    def __repr__(self):
        kind = "observed" if self.observed else "noise-free"
        return f"<TrainingSet {self.contract.name!r}: {len(self)} {kind} mocks in {len(self.checksums)} files>"


@dataclasses.dataclass(frozen=True)
class _Shard:
    """One file of a set; it knows how to make itself."""

    folder: Path
    index: int
    n: int
    shard_size: int
    observed: bool

    @property
    def name(self):
        return _shard_name(self.index)

    def make(self, generator):
        """Write the file and return its checksum."""
        h5py = require("h5py", extra="synthesis")
        first = self.index * (self.shard_size // CHUNK_SIZE)
        chunks = [
            generator.chunk(first + i, CHUNK_SIZE, observed=self.observed) for i in range(-(-self.n // CHUNK_SIZE))
        ]
        arrays = {name: np.concatenate([chunk[name] for chunk in chunks])[: self.n] for name in chunks[0]}
        checksum = _checksum(arrays)
        image = io.BytesIO()  # through memory: HDF5 takes the process down when the disk is full
        with h5py.File(image, "w") as file:
            for name, array in arrays.items():
                # Chunks of about 1 MB; noise hardly compresses, truth and masks do.
                rows = min(len(array), max(1, 2**20 // array[:1].nbytes))
                file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), compression="lzf", shuffle=True)
            file.attrs["sha256"] = checksum
            file.attrs["code_version"] = __version__
        with atomic_write(self.folder / self.name, overwrite=True) as temporary:
            temporary.write_bytes(image.getbuffer())
        return checksum

    def kept(self):
        """Checksum of the file if it exists, is whole and has the right number of mocks, else None."""
        path = self.folder / self.name
        if not path.exists():
            return None
        h5py = require("h5py", extra="synthesis")
        try:
            arrays = _read_shard(path)
            with h5py.File(path) as file:
                recorded, version = file.attrs["sha256"], file.attrs["code_version"]
        except (OSError, KeyError):
            return None
        if len(arrays["redshift"]) != self.n:
            return None  # the last shard of a set that is being extended
        if _checksum(arrays) != recorded:
            warnings.warn(f"{path} has changed since it was made; it is made again", SFHCNNWarning, stacklevel=3)
            return None
        if version != __version__:
            warnings.warn(
                f"{path} was made by sfh_cnn {version}, this is {__version__}: the set may not be reproducible",
                SFHCNNWarning,
                stacklevel=3,
            )
        return recorded


def _make(shards, generator, n_worker, scheduler):
    """Yield (shard, checksum) as they are done, here, in processes or on a cluster."""
    if not shards:
        return
    if scheduler is None and n_worker == 1:
        for shard in shards:
            yield shard, shard.make(generator)
        return
    if scheduler is not None:
        yield from zip(shards, map_on_cluster(scheduler, _Shard.make, shards, generator), strict=True)
        return
    # Not forked: threads of other libraries do not survive that.
    context = multiprocessing.get_context("spawn")
    n_worker = min(n_worker, len(shards))
    with concurrent.futures.ProcessPoolExecutor(n_worker, context, _start_worker, (generator,)) as pool:
        futures = {pool.submit(_make_in_worker, shard): shard for shard in shards}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker: dict[str, MockGenerator] = {}


def _start_worker(generator):
    _worker["generator"] = generator
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """A parent that was killed says nothing: without this its workers would wait for the next shard for ever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _make_in_worker(shard):
    return shard.make(_worker["generator"])


def _manifest(generator, observed, shard_size):
    """What defines a set."""
    return {
        "format": _FORMAT,
        "contract": json.loads(generator.contract().to_json()),
        "observed": observed,
        "shard_size": shard_size,
        "code_version": __version__,
    }


def _read_manifest(folder):
    """Manifest of a folder, or None."""
    path = folder / _MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SFHCNNError(f"{path} is not readable: {err}") from err
    if manifest.get("format") != _FORMAT:
        raise SFHCNNError(f"{path} is not a manifest of this version ({_FORMAT})")
    return manifest


def _write_manifest(folder, manifest, n_mocks, checksums):
    manifest = {**manifest, "n_mocks": n_mocks, "shards": dict(sorted(checksums.items()))}
    with atomic_write(folder / _MANIFEST, overwrite=True) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _check_same_set(folder, manifest, n_mocks):
    """Refuse a folder of another configuration or of a larger set, and one with shards that nobody knows."""
    known = _read_manifest(folder)
    if known is None:
        if any(folder.glob("shard-*.h5")):
            raise SFHCNNError(f"{folder} holds shards without a {_MANIFEST}; take another folder")
        return
    before, after = ({key: m[key] for key in ("shard_size", "observed", "contract")} for m in (known, manifest))
    if before != after:
        raise SFHCNNError(f"{folder} holds a set with another {_difference(before, after)[0]}; take another folder")
    if known["n_mocks"] > n_mocks:
        raise SFHCNNError(f"{folder} is a set of {known['n_mocks']} mocks; ask for as many or more, not {n_mocks}")


def _difference(before, after):
    """Name of a setting that differs, and both values."""
    while isinstance(before, dict) and isinstance(after, dict):
        # The last one: a hash comes before what it is the hash of.
        key = [name for name in {**before, **after} if before.get(name) != after.get(name)][-1]
        before, after = before.get(key), after.get(key)
    return key, before, after


def _shard_name(index):
    return f"shard-{index:05d}.h5"


def _read_shard(path, rows=...):
    with require("h5py", extra="synthesis").File(path) as file:
        return {name: dataset[rows] for name, dataset in file.items()}


def _checksum(arrays):
    """SHA-256 over names, shapes, types and contents of arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
        digest.update(array.data)
    return digest.hexdigest()
