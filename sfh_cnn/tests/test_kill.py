"""kill -9 at random moments: after a restart the outcome is that of an undisturbed run, and nothing is ever half there.

``pytest sfh_cnn/tests/test_kill.py --kills 50`` kills fifty times (ten to twenty minutes of one core).
"""

import contextlib
import json
import multiprocessing
import os
import random
import sys
import time

import numpy as np
import pytest
import torch

from sfh_cnn import SFHMaps, SFHPredictor
from sfh_cnn.network import load_artifact
from sfh_cnn.prediction.tests.mock_cube import REDSHIFT, make_mock_cube
from sfh_cnn.synthesis import TrainingSet, generate_training_set
from sfh_cnn.training import load_run, release, train

from .small import small_card, small_config, small_generator, small_library, small_network, write_small_artifact

# ruff: noqa: D102 (the four tasks have the same methods: run, check what lies there, what is done, how far it is)

pytest.importorskip("lightning")
pytest.importorskip("h5py")
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.filterwarnings("ignore"),
]
#: Kills of one task before it is left to finish.
MAX_IN_A_ROW = 4
SHARD = 2048


class Synthesise:
    """Three shards."""

    def __init__(self, folder):
        self.folder = folder

    def run(self):
        config = small_config().synthesis
        generate_training_set(config, self.folder, 3 * SHARD, libraries=[small_library()], shard_size=SHARD)

    def check(self):
        """Shards under their names are whole; the manifest knows no other."""
        with contextlib.suppress(FileNotFoundError):
            manifest = json.loads((self.folder / "manifest.json").read_text())
            assert set(manifest["shards"]) <= {path.name for path in self.folder.glob("shard-*.h5")}

    def done(self):
        """Names and contents."""
        made = TrainingSet(self.folder)
        made.verify()
        return made.checksums, [path.name for path in self.folder.iterdir() if ".tmp-" in path.name]

    def progress(self):
        return len(list(self.folder.glob("shard-*.h5")))


class Train:
    """Five epochs of two steps, resumed from the last checkpoint."""

    def __init__(self, folder):
        self.folder = folder

    def run(self):
        config = small_config(steps_per_epoch=2)
        options = {"libraries": [small_library()], "progress_bar": False, "accelerator": "cpu"}
        train(config, self.folder, resume=(self.folder / "last.ckpt").exists(), **options)

    def check(self):
        if (self.folder / "last.ckpt").exists():
            torch.load(self.folder / "last.ckpt", weights_only=True)
            load_run(self.folder, [small_library()])  # a learning curve with half a line is no obstacle

    def done(self):
        saved = torch.load(self.folder / "last.ckpt", weights_only=True)
        return {name: value.numpy() for name, value in saved["state_dict"].items()}

    def progress(self):
        path = self.folder / "last.ckpt"
        return torch.load(path, weights_only=True)["global_step"] if path.exists() else 0


class PredictCube:
    """Nine blocks."""

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "maps.fits"

    def run(self):
        sys.modules["sfh_cnn.prediction.cube"]._STRIPE_BYTES = 1  # in the forked child only
        if not self.output.exists():
            predictor = SFHPredictor.from_file(self.folder.parent / "small.pt")
            predictor.predict_cube(
                self.folder.parent / "cube.fits", redshift=REDSHIFT, snr_cut=0, output=self.output, progress_bar=False
            )

    def check(self):
        if self.output.exists():
            SFHMaps.read(self.output)
        for path in self.folder.glob("*.parts/block-*.npz"):
            with np.load(path) as block:
                assert len(block["number"]) == len(block["a_v" if "a_v" in block.files else "q_a_v"])

    def done(self):
        return SFHMaps.read(self.output).result.arrays

    def progress(self):
        return 99 if self.output.exists() else len(list(self.folder.glob("*.parts/block-*.npz")))


class Release:
    """One file."""

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "network.pt"

    def run(self):
        if not self.output.exists():
            release(small_network(), small_generator(), small_config(), self.output, **small_card())

    def check(self):
        if self.output.exists():
            load_artifact(self.output)

    def done(self):
        return {name: value.numpy() for name, value in load_artifact(self.output).network.state_dict().items()}

    def progress(self):
        return int(self.output.exists())


def start(task):
    """The task in a child of this process, in which everything is imported."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(task,))
    process.start()
    return process


def _child(task):
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        torch.set_num_threads(1)
        task.run()


def assert_same(here, there):
    """To the last bit."""
    if isinstance(here, dict):
        assert here.keys() == there.keys()
        for name in here:
            np.testing.assert_array_equal(here[name], there[name], err_msg=name)
    else:
        assert here == there


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With what the tasks need."""
    path = tmp_path_factory.mktemp("kill")
    write_small_artifact(path / "small.pt")
    make_mock_cube().write(path / "cube.fits")
    return path


@pytest.mark.parametrize("kind", [Synthesise, Train, PredictCube, Release])
def test_killed_at_random_moments(folder, kind, request):
    """As often as --kills says, a quarter of it for each task."""
    n_kill = -(-request.config.getoption("--kills") // 4)
    rng = random.Random(kind.__name__)
    if kind is Train:
        import lightning.pytorch  # noqa: F401 (before the fork, for the time of a run is to be that of its work)
    (folder / kind.__name__).mkdir()
    task = kind(folder / kind.__name__)
    begin = time.perf_counter()
    process = start(task)
    process.join()
    assert process.exitcode == 0
    duration = time.perf_counter() - begin
    expected, killed, attempt = task.done(), 0, 0
    while killed < n_kill:
        attempt += 1
        place = folder / f"{kind.__name__}-{attempt}"
        place.mkdir()
        task = kind(place)
        for _ in range(rng.randint(1, MAX_IN_A_ROW)):
            before = task.progress()
            process = start(task)
            process.join(rng.uniform(0, duration))
            if process.is_alive():
                process.kill()
                killed += 1
            process.join()
            assert process.exitcode in (0, -9)
            task.check()
            assert task.progress() >= before  # no finished block is lost
        process = start(task)
        process.join()
        assert process.exitcode == 0
        assert_same(task.done(), expected)
