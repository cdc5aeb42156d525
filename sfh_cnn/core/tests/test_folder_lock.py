"""A folder belongs to one process, as long as that lives and not longer."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from sfh_cnn.core import SFHCNNError, folder_lock
from sfh_cnn.core import folder_lock as lock_function

lock_module = sys.modules[lock_function.__module__]

#: Takes the lock, says so and waits for its end; with a worker if told to.
HOLDER = """
    import os, sys, time
    from pathlib import Path
    from sfh_cnn.core import folder_lock
    with folder_lock(Path(sys.argv[1])):
        if sys.argv[2] == "alone":
            print(0, flush=True)
        elif os.fork() == 0:
            print(os.getpid(), flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["alone", "worker"])
def test_the_lock_dies_with_its_process(tmp_path, kind):
    """Refused while another process lives; free once that is killed, also if a forked worker outlives it."""
    if kind == "worker" and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(SFHCNNError, match="another process is writing"), folder_lock(tmp_path):
                pytest.fail("two at once")
            holder.kill()
            holder.wait()
            with folder_lock(tmp_path):
                pass
        finally:
            holder.kill()
            if worker:
                os.kill(worker, signal.SIGKILL)


def test_a_thread_of_the_same_process_is_refused_too(tmp_path):
    """Two calls at once in one program are as bad as two programs."""
    with folder_lock(tmp_path):
        with pytest.raises(SFHCNNError, match="another process is writing"), folder_lock(tmp_path):
            pytest.fail("two at once")
    with folder_lock(tmp_path):
        pass


def test_a_folder_that_was_taken_away_is_not_held(tmp_path, monkeypatch):
    """The holder removed it with its lock file in the moment between opening and locking."""

    def vanish(handle):
        (tmp_path / ".lock").unlink()

    monkeypatch.setattr(lock_module, "_lock", vanish)
    with pytest.raises(SFHCNNError, match="another process"), folder_lock(tmp_path):
        pytest.fail("held nothing")


def test_where_there_are_no_locks_work_goes_on(tmp_path, monkeypatch, caplog):
    """Parallel file systems of clusters are often mounted without: said in the log, not refused."""

    def unsupported(handle):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(lock_module, "_lock", unsupported)
    with folder_lock(tmp_path):
        assert "no locks on this file system" in caplog.text
