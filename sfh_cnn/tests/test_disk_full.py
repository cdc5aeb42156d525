"""A disk that is full: an error of the system, the earlier output as it was, and nothing left lying about.

A limit on the size of files (RLIMIT_FSIZE) in a child process stands for the full disk; it works without privileges.
"""

import json
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("resource", reason="no limits on this system")
pytest.importorskip("h5py")

#: Each writer is asked to replace a file that is there, with more than the 20 kB that fit.
CODE = """
    import json, resource, sys, warnings
    from pathlib import Path
    warnings.simplefilter("ignore")
    import astropy.units as u
    import numpy as np
    import torch
    from astropy.table import QTable
    from sfh_cnn import SFHMaps, SFHPredictor
    from sfh_cnn.cli.figures import save_figures, _pyplot
    from sfh_cnn.examples import load_example_spectrum
    from sfh_cnn.network import load_artifact, save_artifact
    from sfh_cnn.prediction.cube_parts import parts_in_folder
    from sfh_cnn.synthesis import generate_training_set
    from sfh_cnn.tests.small import small_config, small_library, write_small_artifact
    from sfh_cnn.training.checkpoint import whole_checkpoints

    folder = Path(sys.argv[1])
    network = write_small_artifact(folder / "network.pt")
    artifact = load_artifact(network)
    result = SFHPredictor(artifact).predict(load_example_spectrum())
    many = type(result)(result.contract, result.arrays, engine=result.engine)
    maps = SFHMaps(many, np.zeros((60, 60), int), None)
    figure = _pyplot().figure()
    figure.figimage(np.random.default_rng(0).random((400, 400)))
    plugin = whole_checkpoints()

    def parts():
        with parts_in_folder(folder / "parts", {"job": 1}, overwrite=False) as blocks:
            blocks.add({"number": np.random.default_rng(0).integers(10**9, size=10**5)})

    writers = {
        "result.fits": lambda path: result.write(path, overwrite=True),
        "result.ecsv": lambda path: result.write(path, overwrite=True),
        "maps.fits": lambda path: maps.write(path, overwrite=True),
        "picture.png": lambda path: save_figures([figure], path, overwrite=True),
        "network.pt": lambda path: save_artifact(
            artifact.network, artifact.templates, artifact.contract, artifact.config, path, overwrite=True
        ),
        "last.ckpt": lambda path: plugin.save_checkpoint({"state": torch.randn(10**5)}, path),
        "parts/block-00000.npz": lambda path: parts(),
        "set/shard-00000.h5": lambda path: generate_training_set(
            small_config().synthesis, folder / "set", 2048, libraries=[small_library()], progress_bar=False
        ),
    }
    for name in ("result.fits", "result.ecsv", "maps.fits", "picture.png", "last.ckpt"):
        (folder / name).write_bytes(b"precious")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    report = {}
    for name, write in writers.items():
        try:
            write(folder / name)
            report[name] = "written"
        except OSError as err:
            report[name] = "OSError"
        except Exception as err:
            report[name] = repr(err)
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    kept = {name: (folder / name).read_bytes() == content for name, content in before.items()}
    sys.stdout.write(json.dumps({"report": report, "left": left, "kept": kept}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What became of each writer."""
    command = [sys.executable, "-c", textwrap.dedent(CODE), str(tmp_path_factory.mktemp("full"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_writer_says_that_the_disk_is_full(outcome):
    """As OSError, which the command line prints in one line."""
    assert set(outcome["report"].values()) == {"OSError"}, outcome["report"]


def test_earlier_output_is_intact(outcome):
    """To the last byte."""
    assert all(outcome["kept"].values()), outcome["kept"]


def test_nothing_half_written_is_left(outcome):
    """Neither under a final name nor under another."""
    assert not [name for name in outcome["left"] if ".tmp-" in name or name.endswith((".h5", ".npz"))]
