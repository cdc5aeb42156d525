"""Results of the blocks of a cube, kept in memory or in a folder, where work can be taken up again."""

import contextlib
import json
import shutil

import numpy as np

from sfh_cnn.core import SFHCNNError, atomic_write, folder_lock, remove_temporaries

__all__ = ["MemoryParts", "parts_in_folder"]

_JOB = "job.json"
_BLOCKS = "block-*.npz"
_RECORD = "record.json"


class MemoryParts:
    """Blocks in memory."""

    #: Whether they outlive the process.
    lasting = False

    def __init__(self):
        self._blocks = []
        #: What was kept beside the blocks.
        self.record = {}

    def keep(self, record):
        """Keep a dict beside the blocks, instead of the last one."""
        self.record = record

    @property
    def n_done(self):
        """Number of blocks that are done; they are the first ones."""
        return len(self._blocks)

    def add(self, arrays):
        """Keep the arrays of the next block, one row per spectrum."""
        self._blocks.append(arrays)

    def columns(self):
        """All rows of each array, in the order of the blocks; empty if no block has a row."""
        blocks = [block for block in self._blocks if len(block["number"])]
        keys = list(blocks[0]) if blocks else []
        return {key: np.concatenate([block.pop(key) for block in blocks]) for key in keys}

    def remove(self):
        """Forget the blocks."""
        self._blocks = []


@contextlib.contextmanager
def parts_in_folder(folder, job, overwrite):
    """Blocks in a folder: one file each, complete or not there. The folder is held for this process.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Made if need be.
    job : dict
        What is being done. Blocks of another job are refused.
    overwrite : bool
        Remove those of another job instead.

    Yields
    ------
    FolderParts

    Raises
    ------
    SFHCNNError
        If the folder holds blocks of another job, or another process is at work in it.
    """
    folder.mkdir(exist_ok=True)
    with folder_lock(folder):
        remove_temporaries(folder)
        yield FolderParts(folder, job, overwrite)


class FolderParts:
    """Blocks in a folder that this process holds; see `parts_in_folder`."""

    lasting = True

    def __init__(self, folder, job, overwrite):
        self.folder = folder
        record = folder / _JOB
        text = json.dumps(job, sort_keys=True, indent=1)
        if not record.is_file() or record.read_text(encoding="utf-8") != text:
            if not overwrite and (record.is_file() or any(folder.glob(_BLOCKS))):
                raise SFHCNNError(
                    f"{folder} holds the blocks of a run with other data or settings; repeat that run to end it, "
                    "or pass overwrite=True (--overwrite) to start anew"
                )
            for path in (*folder.glob(_BLOCKS), *folder.glob(_RECORD)):
                path.unlink()
            with atomic_write(record, overwrite=True) as temporary:
                temporary.write_text(text, encoding="utf-8")
        self.n_done = 0
        while self._block(self.n_done).is_file():
            self.n_done += 1
        kept = folder / _RECORD
        self.record = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}

    def keep(self, record):
        """As `MemoryParts.keep`; the dict must survive JSON."""
        self.record = record
        with atomic_write(self.folder / _RECORD, overwrite=True) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def _block(self, i):
        return self.folder / f"block-{i:05d}.npz"

    def add(self, arrays):
        """Write the arrays of the next block, one row per spectrum."""
        with atomic_write(self._block(self.n_done), overwrite=True) as temporary:
            np.savez(temporary, **arrays)
        self.n_done += 1

    def columns(self):
        """As `MemoryParts.columns`, as files that are mapped: they take no memory until they are looked at."""
        counts, shapes = [], {}
        for i in range(self.n_done):
            with np.load(self._block(i)) as block:
                counts.append(len(block["number"]))
                if counts[-1] and not shapes:
                    shapes = {key: (block[key].dtype, block[key].shape[1:]) for key in block.files}
        columns = {}
        for key, (dtype, shape) in shapes.items():
            if not np.prod(shape):  # bands of a network that has none; an empty file cannot be mapped
                columns[key] = np.zeros((sum(counts), *shape), dtype)
                continue
            path = self.folder / f"column-{key}.npy"
            with open(path, "wb") as stream:
                layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(stream, {**layout, "shape": (sum(counts), *shape)})
                for i in np.flatnonzero(counts):
                    with np.load(self._block(i)) as block:
                        stream.write(np.ascontiguousarray(block[key]).data)
            columns[key] = np.load(path, mmap_mode="r")
        return columns

    def remove(self):
        """Remove the folder. What is mapped from it stays readable where the system allows that."""
        shutil.rmtree(self.folder, ignore_errors=True)
