"""Tests of writing files safely."""

import hashlib
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from sfh_cnn.core import atomic_write, remove_temporaries, sha256_of


def test_the_file_appears_under_its_name_when_done(tmp_path):
    """While writing, the final name does not exist and the temporary file has its suffix and folder."""
    path = tmp_path / "result.fits"
    with atomic_write(path) as temporary:
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".fits")
        temporary.write_text("done")
    assert path.read_text() == "done"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_leaves_nothing_behind(tmp_path, error):
    """An exception or Ctrl-C in the middle: no half file, under no name."""
    with pytest.raises(error), atomic_write(tmp_path / "result.fits") as temporary:
        temporary.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_replacing_keeps_the_old_file(tmp_path):
    """The old result is good until the new one is complete."""
    path = tmp_path / "result.fits"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_nothing_under_the_final_name(tmp_path):
    """A process that dies without a chance to clean up."""
    path = tmp_path / "result.fits"
    code = f"""
        import os
        from sfh_cnn.core import atomic_write
        with atomic_write({str(path)!r}) as temporary:
            temporary.write_text("half")
            os._exit(9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == 9
    assert not path.exists()


def test_an_existing_file_is_refused_before_any_work(tmp_path):
    """Without overwrite the body does not even run, and nothing is touched."""
    path = tmp_path / "result.fits"
    path.write_text("old")
    with pytest.raises(FileExistsError, match=r"result\.fits exists; pass overwrite=True"), atomic_write(path):
        pytest.fail("the body ran")
    assert path.read_text() == "old"


def test_overwrite_replaces(tmp_path):
    """Asked for, it is done."""
    path = tmp_path / "result.fits"
    path.write_text("old")
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_missing_folder_is_named(tmp_path):
    """The folder is the user's to make."""
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere of the output x\.fits does not exist"):
        with atomic_write(tmp_path / "nowhere" / "x.fits"):
            pass


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path):
    """Colleagues can read a result like any other file, although temporary files are private."""
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "x") as temporary:
            temporary.write_text("x")
        assert os.umask(0o027) == 0o027  # the process's umask is as it was
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_paths_may_be_strings(tmp_path):
    """As everywhere in Python."""
    with atomic_write(str(tmp_path / "x.txt")) as temporary:
        temporary.write_text("x")
    assert (tmp_path / "x.txt").exists()


def test_two_writers_of_one_name(tmp_path):
    """The first that is done has the name; the other is told, unless it may overwrite."""
    path = tmp_path / "x"
    with pytest.raises(FileExistsError, match="x exists"), atomic_write(path) as slow:
        slow.write_text("slow")
        with atomic_write(path) as fast:
            fast.write_text("fast")
    assert path.read_text() == "fast"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    """As on FAT."""

    def no_links(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "x").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 1


def test_devices_and_folders_are_not_replaced(tmp_path):
    """Not even with overwrite: as root, ``-o /dev/null --overwrite`` would take the device away."""
    for path in (tmp_path, os.devnull):
        with pytest.raises(FileExistsError, match="folder or a device"), atomic_write(path, overwrite=True):
            pytest.fail("the body ran")


def test_a_link_stays_a_link(tmp_path):
    """What it points at is written, as an editor would do."""
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "x.fits", tmp_path / "link.fits"
    link.symlink_to(target)
    for text in ("first", "second"):
        with atomic_write(link, overwrite=True) as temporary:
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text


def test_names_of_any_length_and_alphabet(tmp_path):
    """A name that the file system takes is not made too long on the way."""
    path = tmp_path / ("\N{GREEK SMALL LETTER ALPHA}" * 120 + " [a]*.fits")
    with atomic_write(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_what_killed_writers_left_can_be_removed(tmp_path):
    """Temporary files, and nothing else."""
    abandoned = []  # a generator that is collected would clean up
    kept = [tmp_path / "x.h5", tmp_path / ".lock", tmp_path / ".hidden.h5"]
    for path in kept:
        path.write_text("x")
    for name in ("x.h5", "manifest"):
        context = atomic_write(tmp_path / name, overwrite=True)
        context.__enter__().write_text("half")
        abandoned.append(context)
    assert len(list(tmp_path.iterdir())) == 5
    remove_temporaries(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_sha256_of_any_size(tmp_path, size):
    """Empty, small, and larger than the block that is read at once."""
    content = bytes(i % 251 for i in range(size))
    path = tmp_path / "x"
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
