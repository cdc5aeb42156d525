"""Processes that make mocks end soon after the one that started them was killed; none stays behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sfh_cnn

pytest.importorskip("h5py")
pytest.importorskip("lightning")
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes as Linux lists them")

_SYNTHESISE = """
import sys
from sfh_cnn.synthesis import generate_training_set
from sfh_cnn.tests.small import small_config, small_library

if __name__ == "__main__":
    config = small_config().synthesis
    options = {"n_worker": 2, "libraries": [small_library()], "shard_size": 2048, "progress_bar": False}
    generate_training_set(config, sys.argv[1], 1_000_000, **options)
"""
_TRAIN = """
import sys
from sfh_cnn.tests.small import small_config, small_library
from sfh_cnn.training import train

if __name__ == "__main__":
    config = small_config(n_worker=1, n_mocks=32_000_000, warmup_steps=0)
    train(config, sys.argv[1], libraries=[small_library()], progress_bar=False, accelerator="cpu")
"""
#: What a worker runs, in its command line, or that of its parent if it is a fork.
_WORKER = {"synthesise": b"spawn_main", "train": b"job.py"}


def children(pid):
    """Processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def is_running(pid):
    """Zombies, whom nobody in a container may collect, are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(condition, seconds):
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not (outcome := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return outcome


@pytest.mark.parametrize(("kind", "code", "n_worker"), [("synthesise", _SYNTHESISE, 2), ("train", _TRAIN, 1)])
def test_workers_do_not_outlive_a_killed_parent(tmp_path, kind, code, n_worker):
    """SIGKILL leaves the parent no time to say good-bye."""
    script, folder = tmp_path / "job.py", tmp_path / "out"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(sfh_cnn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("w") as log:
        parent = subprocess.Popen([sys.executable, script, folder], env=environment, stdout=log, stderr=log)

    def workers():
        return [pid for pid in children(parent.pid) if _WORKER[kind] in Path(f"/proc/{pid}/cmdline").read_bytes()]

    begun = {"synthesise": "shard-*.h5", "train": "last.ckpt"}[kind]
    try:
        assert wait(lambda: any(folder.glob(begun)), 300), (tmp_path / "log").read_text()
        pids = workers()
        assert len(pids) == n_worker
    finally:
        parent.kill()
        parent.wait()
    assert wait(lambda: not any(map(is_running, pids)), 30)
