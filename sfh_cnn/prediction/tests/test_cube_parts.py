"""Blocks of a cube in a folder: held by one process, whole or not there, whatever a kill leaves."""

import numpy as np
import pytest

from sfh_cnn.core import SFHCNNError
from sfh_cnn.prediction.cube_parts import parts_in_folder

JOB = {"data": "abc"}


def block(i):
    """Two spectra."""
    return {"number": np.array([2 * i, 2 * i + 1]), "value": np.full((2, 3), float(i))}


@pytest.fixture
def folder(tmp_path):
    """With two blocks done."""
    path = tmp_path / "maps.fits.parts"
    with parts_in_folder(path, JOB, overwrite=False) as parts:
        parts.add(block(0))
        parts.add(block(1))
    return path


def test_work_goes_on_after_the_last_block(folder):
    """All blocks, in their order; nothing is left once they are used."""
    with parts_in_folder(folder, JOB, overwrite=False) as parts:
        assert parts.n_done == 2
        parts.add(block(2))
        columns = parts.columns()
        np.testing.assert_array_equal(columns["number"], np.arange(6))
        np.testing.assert_array_equal(columns["value"][:, 0], [0, 0, 1, 1, 2, 2])
        parts.remove()
    assert not folder.exists()


def test_two_processes_at_one_output(folder):
    """The second is refused, also if it may overwrite, and the blocks of the first stay."""
    with parts_in_folder(folder, JOB, overwrite=False):
        for overwrite in (False, True):
            with pytest.raises(SFHCNNError, match="another process is writing"):
                with parts_in_folder(folder, JOB, overwrite):
                    pytest.fail("two at once")
    with parts_in_folder(folder, JOB, overwrite=False) as parts:
        assert parts.n_done == 2


def test_blocks_of_another_job(folder):
    """Refused, or removed if that is asked for."""
    with pytest.raises(SFHCNNError, match="other data or settings"):
        with parts_in_folder(folder, {"data": "xyz"}, overwrite=False):
            pytest.fail("taken for ours")
    with parts_in_folder(folder, {"data": "xyz"}, overwrite=True) as parts:
        assert parts.n_done == 0


def test_a_kill_at_any_moment_does_no_harm(folder):
    """Before the record was written; while a block was; while the folder was being removed."""
    empty = folder.with_name("empty")
    empty.mkdir()
    with parts_in_folder(empty, JOB, overwrite=False) as parts:
        assert parts.n_done == 0
    (folder / ".block-00002.tmp-0123abcd.npz").write_bytes(b"half")
    (folder / "block-00000.npz").unlink()
    with parts_in_folder(folder, JOB, overwrite=False) as parts:
        assert parts.n_done == 0
        assert not list(folder.glob(".block*"))
        for i in range(3):
            parts.add(block(i))
        np.testing.assert_array_equal(parts.columns()["number"], np.arange(6))
