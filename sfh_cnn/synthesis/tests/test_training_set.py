"""Training sets on disk: the same bytes by any road, resumable, verified."""

import dataclasses
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sfh_cnn.core import SFHCNNError, SFHCNNWarning, folder_lock
from sfh_cnn.ssp import toy_ssp_library
from sfh_cnn.synthesis import MockGenerator, TrainingSet, generate_training_set

h5py = pytest.importorskip("h5py", reason="h5py is not installed")

N_MOCKS = 4096 + 100


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_config, toy):
    """A set of three shards, the last one short; tests that write take another folder."""
    folder = tmp_path_factory.mktemp("set")
    return generate_training_set(small_config, folder, N_MOCKS, observed=False, libraries=[toy], shard_size=2048)


def test_a_set_holds_the_chunks_of_the_generator(made, small_config, toy):
    """Nothing is added to or lost from what `MockGenerator` makes, and plain h5py reads it."""
    expected = MockGenerator(small_config, [toy]).chunk(1, 2048, observed=False)
    with h5py.File(made.folder / "shard-00001.h5") as file:
        assert set(file) == set(expected)
        for name, array in expected.items():
            assert_array_equal(file[name], array)
            assert file[name].dtype == array.dtype
    assert len(made) == N_MOCKS
    assert sum(len(shard["flux"]) for shard in made) == N_MOCKS


def test_the_manifest_says_how_the_set_was_made(made, small_config, toy):
    """Configuration, seed, library hash and version are on record."""
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["contract"]["synthesis"]["sha256"] == small_config.sha256()
    assert manifest["contract"]["synthesis"]["seed"] == small_config.seed
    assert manifest["contract"]["libraries"][0]["sha256"] == toy.sha256
    assert manifest["code_version"]
    assert made.contract.n_wave == small_config.instrument.n_wave


def test_any_number_of_processes_makes_the_same_set(made, tmp_path, small_config, toy):
    """Two processes, other shard size or not: the checksums are those of one process."""
    other = generate_training_set(
        small_config, tmp_path, N_MOCKS, n_worker=2, observed=False, libraries=[toy], shard_size=2048
    )
    assert other.checksums == made.checksums


def test_other_shards_hold_the_same_mocks(made, tmp_path, small_config, toy):
    """The size of a file does not change what is in the set."""
    other = generate_training_set(small_config, tmp_path, N_MOCKS, observed=False, libraries=[toy], shard_size=4096)
    for name in ("flux", "scalars", "family"):
        ours, theirs = (np.concatenate([shard[name] for shard in s]) for s in (made, other))
        assert_array_equal(ours, theirs)


def test_a_dask_cluster_makes_the_same_set(made, tmp_path, small_config, toy):
    """A scheduler's address is all it takes."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        other = generate_training_set(
            small_config,
            tmp_path,
            N_MOCKS,
            observed=False,
            libraries=[toy],
            shard_size=2048,
            scheduler=cluster.scheduler_address,
        )
    assert other.checksums == made.checksums


def test_a_killed_run_goes_on(made, tmp_path, small_config, toy):
    """After a kill in the middle of the second shard the first is kept and the set ends the same."""
    code = f"""
        import os, sys
        from sfh_cnn.core import build_config
        from sfh_cnn.ssp import toy_ssp_library
        from sfh_cnn.synthesis import MockGenerator, SynthesisConfig, generate_training_set
        chunk = MockGenerator.chunk
        def dying(self, index, n, observed=True):
            if index == 1:
                os.kill(os.getpid(), 9)
            return chunk(self, index, n, observed)
        MockGenerator.chunk = dying
        config = build_config({dataclasses.asdict(small_config)!r}, SynthesisConfig)
        settings = dict(observed=False, libraries=[toy_ssp_library(step_aa=2.0)], shard_size=2048)
        generate_training_set(config, {str(tmp_path)!r}, {N_MOCKS}, **settings)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    with pytest.raises(SFHCNNError, match="is not finished"):
        TrainingSet(tmp_path)
    first = tmp_path / "shard-00000.h5"
    made_at = first.stat().st_mtime_ns
    resumed = generate_training_set(small_config, tmp_path, N_MOCKS, observed=False, libraries=[toy], shard_size=2048)
    assert resumed.checksums == made.checksums
    assert first.stat().st_mtime_ns == made_at


def test_a_set_grows(tmp_path, small_config, toy):
    """More mocks are added behind those that are there; fewer are refused."""
    settings = {"observed": False, "libraries": [toy], "shard_size": 2048}
    generate_training_set(small_config, tmp_path, 2100, **settings)
    before = (tmp_path / "shard-00000.h5").stat().st_mtime_ns
    grown = generate_training_set(small_config, tmp_path, 2200, **settings)
    grown.verify()
    assert len(grown) == 2200
    assert (tmp_path / "shard-00000.h5").stat().st_mtime_ns == before
    with pytest.raises(SFHCNNError, match="ask for as many or more, not 100"):
        generate_training_set(small_config, tmp_path, 100, **settings)


def test_damage_is_found_and_repaired(tmp_path, small_config, toy):
    """A changed number and a cut file are found by verify and made again by the next run."""
    settings = {"observed": False, "libraries": [toy], "shard_size": 2048}
    made = generate_training_set(small_config, tmp_path, 50, **settings)
    path = tmp_path / "shard-00000.h5"
    made.verify()
    with h5py.File(path, "r+") as file:
        file["flux"][7, 7] += 1e-6
    with pytest.raises(SFHCNNError, match=r"shard-00000.h5 has changed"):
        made.verify()
    with pytest.warns(SFHCNNWarning, match="made again"):
        generate_training_set(small_config, tmp_path, 50, **settings).verify()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SFHCNNError, match=r"shard-00000.h5 cannot be read"):
        made.verify()
    assert generate_training_set(small_config, tmp_path, 50, **settings).checksums == made.checksums


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": 2}, "another seed"),
        ({"mixed_library_share": 0.1}, "another mixed_library_share"),
    ],
)
def test_a_folder_keeps_to_its_configuration(made, small_config, toy, changes, match):
    """Another configuration is refused before anything is touched, and told apart by name."""
    other = dataclasses.replace(small_config, **changes)
    with pytest.raises(SFHCNNError, match=match):
        generate_training_set(other, made.folder, N_MOCKS, observed=False, libraries=[toy], shard_size=2048)
    made.verify()


def test_one_folder_one_process(tmp_path, small_config, toy):
    """A second writer is refused while the first is at work, and not afterwards."""
    with folder_lock(tmp_path):
        with pytest.raises(SFHCNNError, match="another process is writing"):
            generate_training_set(small_config, tmp_path, 10, libraries=[toy])
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (2000, 2100), (2048, 4096), (1, N_MOCKS)])
def test_any_mocks_are_read(made, start, stop):
    """Also across files."""
    whole = np.concatenate([shard["flux"] for shard in made])
    assert_array_equal(made.read(start, stop)["flux"], whole[start:stop])


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"seed": 2}, r"another seed than the configuration has \(1 and 2\)"), ({"name": "other"}, "small and other")],
)
def test_a_set_knows_its_configuration(made, small_config, toy, changes, match):
    """And its stellar libraries."""
    made.check_made_with(small_config, [toy])
    with pytest.raises(SFHCNNError, match=match):
        made.check_made_with(dataclasses.replace(small_config, **changes), [toy])
    with pytest.raises(SFHCNNError, match="another toy than the configuration has"):
        made.check_made_with(small_config, [toy_ssp_library(step_aa=4.0)])


def test_bad_requests_are_refused(tmp_path, small_config, toy):
    """Numbers that make no set, and folders that hold none."""
    with pytest.raises(SFHCNNError, match="must be positive"):
        generate_training_set(small_config, tmp_path, 0)
    with pytest.raises(SFHCNNError, match="multiple of 2048"):
        generate_training_set(small_config, tmp_path, 10, shard_size=1000)
    with pytest.raises(SFHCNNError, match="holds no training set"):
        TrainingSet(tmp_path)
    (tmp_path / "shard-00000.h5").touch()
    with pytest.raises(SFHCNNError, match=r"shards without a manifest\.json"):
        generate_training_set(small_config, tmp_path, 10, libraries=[toy])
