"""The life of a network by commands: synthesize, train, release, evaluate, info."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose

import sfh_cnn
from sfh_cnn import SFHPredictor
from sfh_cnn.core.constants import SCALAR_NAMES
from sfh_cnn.network import save_artifact
from sfh_cnn.ssp import toy_ssp_library
from sfh_cnn.synthesis import TrainingSet
from sfh_cnn.tests.small import small_config, small_generator, small_network
from sfh_cnn.training import build_templates, load_run_config

from .conftest import invoke

pytestmark = pytest.mark.filterwarnings("ignore")  # lightning has much to say about small runs

pytest.importorskip("lightning")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, config_file):
    """A run of ten steps, trained by the command."""
    folder = tmp_path_factory.mktemp("run")
    result = invoke("train", "--config", config_file, "--out", folder, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert json.loads(result.stdout) == {"folder": str(folder)}
    return folder


@pytest.fixture(scope="module")
def released_file(run_folder):
    """The run as a file."""
    path = run_folder / "mine.pt"
    failures = ("--known-failure", "It is a toy.", "--known-failure", "It is small.")
    result = invoke("release", run_folder, "--out", path, "--name", "mine", "--n-mocks", 256, *failures, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert json.loads(result.stdout)["name"] == "mine"
    assert json.loads(result.stdout)["accuracy"]["n_mocks"] == 256
    return path


def test_released_file_predicts(run, released_file):
    """What came out of the commands goes into predict."""
    printed = json.loads(run("predict", "example", "--network", released_file, "--json"))
    assert printed["network"] == "mine"
    assert printed["spectra"][0]["quantities"]["mass_weighted_age"]["value"] > 0


def test_card_and_evaluate_agree(run, run_folder, released_file):
    """The accuracy in the card is what evaluate measures, of the run and of the file, on the same mocks."""
    card = json.loads(run("info", released_file, "--json"))
    assert card["training"]["n_steps"] == 10
    assert card["sha256"] == SFHPredictor.from_file(released_file).sha256
    for network in (run_folder, released_file):
        measured = json.loads(run("evaluate", network, "--n-mocks", 256, "--json"))
        assert measured["n_mocks"] == 256
        # Draws are those that users get, which know the light of the bins.
        assert "light_weighted_log_age" in measured["joint_posterior"]
        assert measured["joint_posterior"].keys() == card["accuracy"]["joint_posterior"].keys()
        for name in SCALAR_NAMES:
            mine, theirs = measured["overall"][name], card["accuracy"]["overall"][name]
            # The file has half-precision weights.
            assert_allclose(mine["scatter"], theirs["scatter"], rtol=0.02, err_msg=name)
            assert_allclose(mine["coverage"]["68"], theirs["coverage"]["68"], atol=0.02, err_msg=name)


def test_screens_of_info_and_evaluate(run, released_file):
    """Grids, domain, libraries and numbers are there to read."""
    text = run("info", released_file)
    for part in ("F438W, F814W", "domain: snr", "3 to 200", "toy", "mass_weighted_log_age", "S/N", "Joint draws on"):
        assert part in text
    for part in ("prior: enrichment", "Learning curve", "less true mass fraction", "8.52-13.8", "Trainings, each"):
        assert part in text
    assert "sfh-cnn release run --name mine --n-mocks 256 --out mine.pt" in text
    assert "It is a toy." in text.split("known failures")[1]
    assert "light_weighted_metallicity" in run("evaluate", released_file, "--n-mocks", 200)


def test_configuration_of_a_network(run, refused, tmp_path, config_file, released_file):
    """Printed as TOML, it is what the network was trained with; a card that does not know it says so."""
    file = tmp_path / "again.toml"
    file.write_text(run("info", released_file, "--config"), encoding="utf-8")
    assert load_run_config(file) == load_run_config(config_file)
    card = json.loads(run("info", released_file, "--json"))
    assert card["known_failures"][-2:] == ["It is a toy.", "It is small."]
    assert card["commands"][1] == "sfh-cnn train --config mine.toml --out run"
    save_artifact(
        small_network(),
        build_templates(small_generator().grid),
        small_generator().contract(),
        small_config().network,
        tmp_path / "old.pt",
    )
    assert "does not hold the settings" in refused("info", tmp_path / "old.pt", "--config")[0]
    assert "needs a network" in refused("info", "--config")[0]


def test_another_library_is_noticed(refused, released_file):
    """Mocks of another stellar library would measure something else."""
    line, code = refused("evaluate", released_file, "--n-mocks", 200, "--library", "toy=other-toy")
    assert "SHA-256" in line
    assert code == 1


def test_fine_tuning_on_another_library_starts_from_the_file(run, tmp_path, config_file, released_file):
    """One step from a released network stays near it; the new card knows the library and where it began."""
    short = tmp_path / "short.toml"
    text = config_file.read_text()
    for before, after in (
        ("n_mocks = 320", "n_mocks = 32"),
        ("steps_per_epoch = 5", "steps_per_epoch = 1"),
        ('libraries = ["toy"]', 'libraries = ["other-toy"]'),
    ):
        assert before in text
        text = text.replace(before, after)
    short.write_text(text)
    run("train", "--config", short, "--out", tmp_path / "run", "--init-from", released_file)
    run("train", "--config", short, "--out", tmp_path / "run", "--resume")  # nothing is left to do
    run("release", tmp_path / "run", "--out", tmp_path / "tuned.pt", "--n-mocks", 200)
    card, first = (json.loads(run("info", path, "--json")) for path in (tmp_path / "tuned.pt", released_file))
    assert card["libraries"][0]["sha256"] == toy_ssp_library(step_aa=2.5).sha256 != first["libraries"][0]["sha256"]
    assert card["training"]["started_from"] == f"mine (SHA-256 {first['sha256']})"
    from sfh_cnn.network import load_artifact
    from sfh_cnn.training import load_run

    tuned = load_run(tmp_path / "run", [toy_ssp_library(step_aa=2.5)])[0].state_dict()
    start = load_artifact(released_file).network.state_dict()
    weights = [name for name in start if name.endswith("weight")]
    assert weights
    for name in weights:
        assert_allclose(tuned[name], start[name], atol=5e-3, err_msg=name)


def test_a_teacher_of_other_bands_is_refused(tmp_path, config_file):
    """It has as many, and would teach the answers to others."""
    contract, config = small_generator().contract().replace(bands=("u", "g")), small_config()
    templates, teacher = build_templates(small_generator().grid), tmp_path / "ug.pt"
    save_artifact(small_network(), templates, contract, config.network, teacher)
    result = invoke("train", "--config", config_file, "--out", tmp_path / "run", "--teacher", teacher)
    assert "differs from the configuration in bands (('u', 'g') and ('F438W', 'F814W'))" in result.stderr
    assert result.exit_code == 1
    assert not (tmp_path / "run" / "config.json").exists()


def test_mocks_on_disk_are_trained_on(run, refused, tmp_path, config_file):
    """A training set of the size asked for; a configuration that it was not made with is refused."""
    folder = tmp_path / "set"
    run("synthesize", "--config", config_file, "--out", folder, "--n-mocks", 300, "--noise-free")
    assert len(TrainingSet(folder)) == 300
    assert not TrainingSet(folder).observed
    run("train", "--config", config_file, "--data", folder, "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["n_distinct"] == 300
    other = tmp_path / "other.toml"
    other.write_text(config_file.read_text().replace("mixed_library_share = 0.4", "mixed_library_share = 0.1"))
    line, code = refused("train", "--config", other, "--data", folder, "--out", tmp_path / "refused")
    assert "another" in line
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["train", "--out", "x"], "--config, --preset or both", 2),
        (["train", "--config", "missing.toml", "--out", "x"], "no configuration file missing.toml", 1),
        (["train", "--preset", "fast", "--out", "x"], "no preset 'fast'", 1),
        (["train", "--preset", "quick", "--out", "x", "--library", "b=c"], "no library b", 2),
        (["train", "--preset", "quick", "--out", "x", "--devices", "all"], "all is neither auto nor a number", 2),
        (["release", ".", "--out", "x.pt"], "no training run", 1),
        (["evaluate", "nothing.pt"], "nothing.pt", 1),
        (["train", "--config", "phangs-muse-hst", "--out", "x"], "--library e-miles=PATH", 1),
        (["info", "nothing.pt"], "nothing.pt", 1),
        (["synthesize", "--config", "quick"], "give --out with --n-mocks", 2),
    ],
)
def test_bad_input_is_refused(refused, tmp_path, monkeypatch, arguments, message, code):
    """In one line, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    line, status = refused(*arguments)
    assert message in line
    assert status == code
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_trained_over(refused, config_file, run_folder):
    """Resume it, or take another folder."""
    line, code = refused("train", "--config", config_file, "--out", run_folder)
    assert "--resume" in line
    assert code == 1


#: ``sfh-cnn`` in processes of their own, which know the made-up library, too.
_COMMAND = """
import sys
from sfh_cnn.cli.main import main
from sfh_cnn.ssp import register_reader
from sfh_cnn.tests.small import small_library
register_reader("toy", small_library)
sys.exit(main())
"""


def _slurm(rank):
    """What srun tells one of two tasks on two nodes, both of which are this machine."""
    tasks = {"NTASKS": 2, "NTASKS_PER_NODE": 1, "PROCID": rank, "LOCALID": 0}
    job = {"JOB_NAME": "train", "JOB_ID": 1, "JOB_NODELIST": "127.0.0.1", "NNODES": 2, "NODEID": rank}
    return {f"SLURM_{name}": str(value) for name, value in (tasks | job).items()}


@pytest.mark.parametrize("option", ["--devices", "--nodes"])
def test_two_processes_share_the_mocks_of_the_configuration(tmp_path, config_file, option):
    """Started by the command or by slurm; the first one speaks; a loss without the posterior keeps nobody waiting."""
    script, config, folder = (tmp_path / name for name in ("sfh-cnn.py", "two.toml", "run"))
    script.write_text(_COMMAND)
    config.write_text(config_file.read_text().replace("posterior = 0.3", "posterior = 0.0"))
    command = [sys.executable, script, "train", "--config", config, "--out", folder, option, "2", "--json"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    environment = {**os.environ, "PYTHONPATH": str(Path(sfh_cnn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    tasks = [{}] if option == "--devices" else [{**_slurm(rank), **address} for rank in (0, 1)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env={**environment, **task}, **settings) for task in tasks]
    try:
        printed = ["".join(parts) for parts in zip(*(task.communicate(timeout=300) for task in started), strict=True)]
    finally:
        for task in started:
            task.kill()
    out, err = printed
    assert [task.returncode for task in started] == [0] * len(tasks), err
    assert json.loads(out) == {"folder": str(folder)}
    warned, trained = err.splitlines()
    assert "less sharp" in warned
    assert trained.startswith("Trained; next: sfh-cnn release")
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    assert (saved["global_step"], saved["n_mocks_per_step"]) == (5, 64)  # 320 mocks
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "config.json",
        "earlier.json",
        "last.ckpt",
        "libraries.json",
        "log",
    ]
