"""Training: repeatable, resumable to the last bit, fine-tunable, distributed; wrong folders are refused."""

import copy
import csv
import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import sfh_cnn
from sfh_cnn.core import AgeGrid, SFHCNNError, folder_lock
from sfh_cnn.network import load_artifact
from sfh_cnn.ssp import toy_ssp_library
from sfh_cnn.synthesis import MockGenerator, generate_training_set
from sfh_cnn.tests.small import killed_at, small_card, small_config, small_generator, small_library, small_network
from sfh_cnn.training import build_network, load_run, read_run_config, release, train
from sfh_cnn.training.metrics import MEANS
from sfh_cnn.training.run import _Endless

pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")  # lightning's advice on workers and loggers


def run(folder, config=None, **settings):
    """A short training."""
    settings = {"libraries": [small_library()], "progress_bar": False, "accelerator": "cpu", **settings}
    return train(config or small_config(), folder, **settings)


def assert_equal_weights(here, there):
    """To the last bit."""
    here, there = here.state_dict(), there.state_dict()
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and network of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("run")
    return folder, run(folder)


def test_a_run_killed_and_resumed_is_the_uninterrupted_one(finished, tmp_path):
    """Killed in the second epoch, resumed from the end of the first: the same weights and the same average."""
    with killed_at(7):
        run(tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5
    torch.manual_seed(99)  # what happened in between in this process does not matter
    assert_equal_weights(run(tmp_path, resume=True), finished[1])
    states = [torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (tmp_path, finished[0])]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_training_repeats(finished, tmp_path):
    """The same configuration in another folder, with the mocks made in a worker: the same weights."""
    from_worker = run(tmp_path, small_config(n_worker=1))
    assert_equal_weights(from_worker, finished[1])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A training set on disk of the configuration of `run`; do not change."""
    folder = tmp_path_factory.mktemp("set")
    return generate_training_set(small_config().synthesis, folder, 2048, libraries=[small_library()])


def test_training_from_disk_is_training_on_the_fly(stored, tmp_path):
    """On the same mocks: the same weights. The record says where they came from, and the set is not needed again."""
    whole = {"chunk_size": 2048, "n_mocks": 64}
    from_disk = run(tmp_path / "disk", small_config(**whole), data=stored.folder)
    assert_equal_weights(from_disk, run(tmp_path / "fly", small_config(**whole)))
    _, _, config, record = load_run(tmp_path / "disk", [small_library()])
    assert config.training.data == str(stored.folder)
    assert record["n_distinct"] == 2048


def test_training_from_disk_is_resumable(stored, tmp_path):
    """Killed in the third epoch of a part of a set, which is named in the configuration or handed over."""
    config = small_config(n_distinct=100, data=str(stored.folder))
    uninterrupted = run(tmp_path / "whole", config)
    with killed_at(7):
        run(tmp_path / "killed", config)
    assert_equal_weights(run(tmp_path / "killed", config, resume=True, data=stored), uninterrupted)


def test_a_set_of_another_configuration_is_refused(stored, tmp_path):
    """Before anything is written; it says what differs."""
    synthesis = dataclasses.replace(small_config().synthesis, seed=5)
    other = dataclasses.replace(small_config(), synthesis=synthesis)
    with pytest.raises(SFHCNNError, match=r"another seed than the configuration has \(1 and 5\)"):
        run(tmp_path / "run", other, data=stored)
    with pytest.raises(SFHCNNError, match=r"n_distinct is 3000, .* has only 2048 mocks"):
        run(tmp_path / "run", small_config(n_distinct=3000), data=stored)
    with pytest.raises(SFHCNNError, match="holds no training set"):
        run(tmp_path / "run", data=tmp_path)
    assert not list(tmp_path.glob("run/*.json"))


def test_training_lowers_the_loss(finished):
    """Ten steps are few, but they help; the log says so."""
    from sfh_cnn.network import SFHNet
    from sfh_cnn.training import LossConfig, build_network, held_out_mocks, joint_loss

    network, generator, config, _ = load_run(finished[0], [small_library()])
    mocks = held_out_mocks(generator, "test", 256)
    start = build_network(config, generator)
    assert isinstance(start, SFHNet)
    with torch.no_grad():
        before, after = (joint_loss(part, mocks, LossConfig())[0] for part in (start, network))
    assert after < before - 0.1


def test_a_run_of_before_has_the_layers_of_before(finished, tmp_path):
    """Its record does not know those that came later."""
    record = json.loads((finished[0] / "config.json").read_text())
    for name in ("tokens_together", "cumulative", "n_residual_hidden"):
        del record["network"][name]
    (tmp_path / "config.json").write_text(json.dumps(record))
    network = read_run_config(tmp_path).network
    assert (network.tokens_together, network.cumulative, network.n_residual_hidden) == (1, False, 0)
    assert network.n_projection == small_config().network.n_projection


def test_a_stored_run_is_the_average_that_train_returned(finished):
    """With a record for the card: mocks seen and the learning curve."""
    network, _, config, record = load_run(finished[0], [small_library()])
    assert_equal_weights(network, finished[1])
    assert config == small_config()
    assert record["n_steps"] == 10
    assert record["n_mocks_seen"] == 320
    assert record["learning_curve"]["step"] == [4, 9]
    assert len(record["learning_curve"]["mass_weighted_log_age"]) == 2


def test_the_record_tells_where_the_training_was(finished, tmp_path):
    """Not where the release is written; checkpoints of before did not say."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    here = saved["machine"]
    assert torch.__version__ in here
    assert "cores" in here
    saved["machine"] = "a GPU far away"
    torch.save(saved, folder / "last.ckpt")
    assert load_run(folder, [small_library()])[3]["machine"] == "a GPU far away"
    del saved["machine"]
    torch.save(saved, folder / "last.ckpt")
    assert load_run(folder, [small_library()])[3]["machine"] == here


def test_the_record_tells_how_long_it_took(tmp_path, monkeypatch):
    """All stretches of a run together, without the time between them; nothing where a checkpoint of before has none."""
    from sfh_cnn.training import lightning_module

    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr(lightning_module.time, "monotonic", lambda: next(clock))
    with killed_at(7):
        run(tmp_path)
    before = torch.load(tmp_path / "last.ckpt", weights_only=True)["seconds"]
    assert before >= 10
    for _ in range(500):
        next(clock)
    run(tmp_path, resume=True)
    after = load_run(tmp_path, [small_library()])[3]["seconds"]
    assert before + 10 <= after < 1000
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    del saved["seconds"]
    torch.save(saved, tmp_path / "last.ckpt")
    assert load_run(tmp_path, [small_library()])[3]["seconds"] is None


def test_the_record_goes_back_to_the_start(finished, tmp_path):
    """Fine-tuned twice: the card knows both trainings before, with their curves, and what each of them became."""
    folder, sources = finished[0], []
    for name in ("first", "second", "third"):
        network, generator, config, record = load_run(folder, [small_library()])
        network.interval_factor.fill_(0.9)
        path = tmp_path / f"{name}.pt"
        accuracy = small_card()["accuracy"]
        contract = release(network, generator, config, path, accuracy=accuracy, record=record, name=name)
        sources.append(load_artifact(path))
        folder = tmp_path / name
        if name != "third":
            run(folder, init_from=sources[-1])
            run(folder, init_from=sources[-1], resume=True)  # does not forget
    first, second = contract.training["earlier"]
    assert (first["name"], second["name"]) == ("first", "second")
    assert (first["sha256"], second["sha256"]) == tuple(source.sha256 for source in sources[:2])
    assert first["learning_curve"]["step"] == [4, 9]
    assert second["started_from"] == f"first (SHA-256 {sources[0].sha256})"
    assert "earlier" not in first | second


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        ("record", "learning_curve", "training.learning_curve"),
        ("record", "seconds", "training.seconds"),
        ("record", "settings", "training.settings"),
        ("accuracy", "overall", "accuracy.overall"),
        ("accuracy", "groups", "accuracy.groups"),
        ("accuracy", "joint_posterior", "accuracy.joint_posterior"),
    ],
)
def test_an_incomplete_card_is_not_released(tmp_path, part, key, message):
    """What is missing is named, and no file is written."""
    parts = copy.deepcopy(small_card())
    del parts[part][key]
    with pytest.raises(SFHCNNError, match=f"the card is incomplete, it lacks {message}"):
        release(small_network(), small_generator(), small_config(), tmp_path / "a.pt", **parts)
    assert not (tmp_path / "a.pt").exists()


def test_a_network_that_is_not_calibrated_is_not_released(tmp_path):
    """Its intervals would be those of the training."""
    network = copy.deepcopy(small_network())
    network.interval_factor.fill_(1.0)
    with pytest.raises(SFHCNNError, match="not calibrated"):
        release(network, small_generator(), small_config(), tmp_path / "a.pt", **small_card())
    assert not (tmp_path / "a.pt").exists()


def test_the_average_follows_the_weights(tmp_path, monkeypatch):
    """Step by step: average += (weights - average) / min(average_steps, 1 + step / 4)."""
    from sfh_cnn.training.lightning_module import LitSFHNet

    seen, end = [], LitSFHNet.on_train_batch_end

    def watching(self, *args):
        seen.append(self.network.join.bias.detach().clone())
        end(self, *args)

    monkeypatch.setattr(LitSFHNet, "on_train_batch_end", watching)
    average = run(tmp_path, small_config(average_steps=3, learning_rate=0.01))
    expected = None
    for number, weights in enumerate(seen, start=1):
        share = 1 / min(3, 1 + number / 4)
        expected = (1 - share) * _start(expected) + share * weights
    assert torch.allclose(average.join.bias, expected, atol=1e-6)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Of each of ten steps learning rates, norm of the gradients, number format of the products; and the network."""
    from sfh_cnn.training.lightning_module import LitSFHNet

    rates, norms, formats = [], [], []
    step, end = LitSFHNet.training_step, LitSFHNet.on_train_batch_end

    def training_step(self, *args):
        formats.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return step(self, *args)

    def on_before_optimizer_step(self, optimizer):
        rates.append([group["lr"] for group in optimizer.param_groups])

    def on_train_batch_end(self, *args):
        gradients = [weights.grad.flatten() for weights in self.network.parameters() if weights.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        end(self, *args)

    config = small_config(
        learning_rate=0.01,
        projection_learning_rate=0.2,
        warmup_steps=2,
        decay_share=0.5,
        gradient_clip=0.02,
        precision="bf16-mixed",
    )
    with pytest.MonkeyPatch.context() as patch:
        for hook in (training_step, on_before_optimizer_step, on_train_batch_end):
            patch.setattr(LitSFHNet, hook.__name__, hook)
        network = run(tmp_path_factory.mktemp("watched"), config)
    return rates, norms, formats, network


def test_the_learning_rate_warms_up_stays_and_falls(watched):
    """Two steps up, flat to the middle, then a cosine: 36, 72, 108, 144 degrees; a thousandth is never lost."""
    cosine = (0.90451, 0.65451, 0.34549, 0.09549)
    expected = np.array([0.5 * 1.001, 1.001, 1.001, 1.001, 1.001, 1.001, *(0.001 + share for share in cosine)])
    rates = np.array(watched[0])
    np.testing.assert_allclose(rates[:, 0], 0.01 * expected, rtol=1e-4)
    np.testing.assert_allclose(rates[:, 1], 0.002 * expected, rtol=1e-4)


def test_gradients_are_clipped(watched):
    """All of them are longer than that."""
    np.testing.assert_allclose(watched[1], 0.02, rtol=1e-3)


def test_precision_is_that_of_the_configuration(watched):
    """Products in half precision; weights stay as they are."""
    assert watched[2] == [torch.bfloat16] * 10
    assert watched[3].join.bias.dtype == torch.float32


def test_tensorboard_shows_what_the_table_has(finished):
    """The scores of both epochs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "log" / "from_step_0"))
    events.Reload()
    for name in ("train/loss", "val/loss", *SCATTERS):
        shown = events.Scalars(name)
        assert [event.step for event in shown] == [4, 9]
        np.testing.assert_allclose([event.value for event in shown], curves(finished[0], name)[:, 0], rtol=1e-6)


def _start(expected=None):
    """The average before the first step: the initial weights, here those of the seed."""
    if expected is not None:
        return expected
    from sfh_cnn.tests.small import small_generator
    from sfh_cnn.training import build_network

    return build_network(small_config(), small_generator()).join.bias.detach()


def test_early_stopping(tmp_path):
    """Without progress it stops after ``patience`` more epochs of five steps."""
    run(tmp_path, small_config(n_mocks=32 * 50, learning_rate=1e-30, patience=2))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 15


def test_a_run_shorter_than_an_epoch_is_kept(tmp_path, capfd):
    """The last steps count, though they do not fill an epoch; and lightning has nothing to say on the terminal."""
    run(tmp_path, small_config(n_mocks=32 * 7))
    said = "".join(capfd.readouterr())
    assert not any(word in said for word in ("litlogger", "TPU", "Trainer.fit"))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 7


def curves(folder, *names):
    """Columns of the logs of all stretches, a row for each epoch."""
    rows = []
    for path in sorted(folder.glob("log/from_step_*/metrics.csv")):
        with path.open(encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    return np.array([[float(row[name]) for row in rows if row[name]] for name in names]).T


SCATTERS = tuple(f"val/scatter_{name}" for name in MEANS)


def test_the_bar_shows_the_whole_run_and_each_score_once(tmp_path, capsys):
    """Under short names that differ, with the numbers of the log; a run that goes on begins where it was."""
    with killed_at(7):
        run(tmp_path, progress_bar=True)
    first = capsys.readouterr()
    run(tmp_path, progress_bar=True, resume=True)
    second = capsys.readouterr()
    assert first.out == second.out == ""
    scores = curves(tmp_path, "val/loss", *SCATTERS)
    for n_mocks, end, row, text in ((160, 224, scores[0], first.err), (320, 320, scores[1], second.err)):
        lines = [line.rstrip() for line in text[text.index("On held-out") :].splitlines()]  # after warnings
        note, header, line, bar = lines
        assert "scatter in dex" in note
        titles = ["mocks", "loss", "log age_mw", "log age_lw", "[M/H]_mw", "[M/H]_lw"]
        assert re.split("  +", header.strip()) == titles
        assert line.split() == [str(n_mocks), *(f"{value:.3f}" for value in row)]
        assert bar.startswith("training")
        assert f"{end}/320 mocks" in bar
        assert max(map(len, lines)) <= 80


def test_fine_tuning_starts_from_the_given_weights(finished, tmp_path):
    """With a vanishing learning rate they come back; the calibration does not, for it is of another training."""
    state = {name: value.clone() for name, value in finished[1].state_dict().items()}
    state["interval_factor"] *= 1.3
    tuned = run(tmp_path, small_config(learning_rate=1e-30), init_from=state)
    assert torch.equal(tuned.interval_factor, torch.ones_like(tuned.interval_factor))
    for name, value in tuned.state_dict().items():
        if name != "interval_factor":
            assert torch.equal(value, state[name])


@pytest.mark.parametrize(
    ("setting", "accelerator"), [({}, {"accelerator": "cuda", "devices": 99}), ({"precision": "3-bit"}, {})]
)
def test_devices_or_precision_that_are_not_there_are_refused(tmp_path, setting, accelerator):
    """With what lightning says of them; the run can be begun in the same folder with others."""
    with pytest.raises(SFHCNNError, match=r"lightning refuses devices or precision: .*(CUDA|GPU|3-bit)"):
        run(tmp_path, small_config(**setting), **accelerator)
    assert not (tmp_path / "last.ckpt").exists()


def test_weights_of_another_network_are_refused(finished, tmp_path):
    """With other layers they do not fit."""
    other = dataclasses.replace(small_config(), network=dataclasses.replace(small_config().network, n_latent=16))
    with pytest.raises(SFHCNNError, match="has other pixels, bands, age bins or layers"):
        run(tmp_path, other, init_from=finished[1].state_dict())


def test_another_number_of_processes_is_not_resumed(finished, tmp_path):
    """A checkpoint whose steps had twice as many mocks, as of two processes, goes on with two only."""
    folder = shutil.copytree(finished[0], tmp_path / "run")
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    torch.save(saved | {"n_mocks_per_step": 2 * saved["n_mocks_per_step"]}, folder / "last.ckpt")
    with pytest.raises(SFHCNNError, match="64 mocks and would have 32 now; resume with as many devices or processes"):
        run(folder, resume=True)


def test_wrong_folders_are_refused(finished, tmp_path):
    """A finished run is not overwritten, another configuration is not resumed, nothing cannot be resumed."""
    folder, _ = finished
    with pytest.raises(SFHCNNError, match="holds a run already; pass resume=True"):
        run(folder)
    with pytest.raises(SFHCNNError, match="differs from the configuration"):
        run(folder, small_config(learning_rate=1e-4), resume=True)
    with pytest.raises(SFHCNNError, match="nothing to resume"):
        run(tmp_path, resume=True)
    with pytest.raises(SFHCNNError, match="holds no checkpoint"):
        load_run(tmp_path)


def test_lists_and_tuples_are_the_same_to_a_run_that_goes_on(tmp_path):
    """A configuration made in Python is resumed; of another one it is said where and what differs."""
    edges = [float(edge) for edge in AgeGrid.default().edges_yr]
    config = small_config(n_mocks=32)
    listed = dataclasses.replace(config, synthesis=dataclasses.replace(config.synthesis, age_edges_yr=edges))
    done = run(tmp_path, listed)
    assert_equal_weights(run(tmp_path, listed, resume=True), done)  # nothing is left to do
    other = dataclasses.replace(config, synthesis=dataclasses.replace(listed.synthesis, seed=5))
    with pytest.raises(SFHCNNError, match=r"differs from the configuration in synthesis\.seed \(1 and 5\)"):
        run(tmp_path, other, resume=True)


def test_another_stellar_library_is_noticed(finished, tmp_path):
    """By resume and by release, before anything is written; a run of before, whose folder does not say, goes on."""
    folder, other = tmp_path / "run", [toy_ssp_library(step_aa=2.5)]
    shutil.copytree(finished[0], folder)
    before = (folder / "config.json").stat().st_mtime_ns
    for read in (lambda: run(folder, resume=True, libraries=other), lambda: load_run(folder, other)):
        with pytest.raises(SFHCNNError, match=f"begun with other stellar libraries.*{small_library().sha256}.*given"):
            read()
    assert (folder / "config.json").stat().st_mtime_ns == before
    assert_equal_weights(run(folder, resume=True), finished[1])
    (folder / "libraries.json").write_text("{")
    with pytest.raises(SFHCNNError, match=r"libraries\.json is not readable"):
        load_run(folder, [small_library()])
    (folder / "libraries.json").unlink()
    run(folder, resume=True)
    load_run(folder, [small_library()])


@pytest.mark.parametrize(
    ("layers", "n_initial", "message"),
    [
        ({"block_px": 14}, 768, r"n_wave is 240 .* and block_px 14 .* must be a multiple of block_px"),
        ({"projection_px": 7}, 768, r"n_wave is 240 .* and projection_px 7 .* must be a multiple"),
        ({"projection_px": 8, "n_projection": 31}, 768, "n_projection is 31, more than the pixels .* 30"),
        ({}, 11, r"n_initial is 11, too few mocks for 12 principal components \(n_projection\)"),
    ],
)
def test_layers_that_do_not_fit_are_refused(tmp_path, layers, n_initial, message):
    """Before anything is written."""
    config = small_config(n_initial=n_initial)
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, **layers))
    with pytest.raises(SFHCNNError, match=message):
        run(tmp_path / "run", config)
    assert not any(tmp_path.iterdir())


def test_mocks_that_are_not_finite_are_refused(monkeypatch):
    """At the start, before they make all weights NaN."""
    generator, chunk = small_generator(), MockGenerator.chunk

    def with_nan(self, *args, **settings):
        mocks = chunk(self, *args, **settings)
        mocks["metallicity"][3, 2] = float("nan")
        return mocks

    monkeypatch.setattr(MockGenerator, "chunk", with_nan)
    with pytest.raises(SFHCNNError, match="metallicity of 1 of 768 mocks is not finite, first of number 3"):
        build_network(small_config(), generator)


def test_weights_that_are_not_finite_are_not_released(finished, tmp_path):
    """Neither from the folder of a run nor from memory; the layer is named."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    saved["state_dict"]["average.join.weight"][0, 0] = float("nan")
    torch.save(saved, folder / "last.ckpt")
    with pytest.raises(SFHCNNError, match=r"last\.ckpt has weights that are not finite \(join\.weight\)"):
        load_run(folder, [small_library()])
    network = copy.deepcopy(small_network())
    network.join.bias[2] = float("inf")
    with pytest.raises(SFHCNNError, match=r"the network has weights that are not finite \(join\.bias\)"):
        release(network, small_generator(), small_config(), tmp_path / "a.pt", **small_card())
    assert not (tmp_path / "a.pt").exists()


def test_one_folder_one_run(tmp_path):
    """A second process is refused before it touches anything."""
    with folder_lock(tmp_path), pytest.raises(SFHCNNError, match="another process is writing"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("content", [b"", b"PK half a file", pickle.dumps(Path("not a tensor"))])
def test_a_damaged_checkpoint_is_named(finished, tmp_path, content):
    """By resume and by release; a pickle in it is not run."""
    (tmp_path / "config.json").write_bytes((finished[0] / "config.json").read_bytes())
    (tmp_path / "last.ckpt").write_bytes(content)
    for read in (lambda: run(tmp_path, resume=True), lambda: load_run(tmp_path, [small_library()])):
        with pytest.raises(SFHCNNError, match=r"last\.ckpt is no checkpoint, or it is damaged"):
            read()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SFHCNNError, match=r"config\.json is not readable"):
        load_run(tmp_path, [small_library()])


def test_checkpoints_do_not_pass_through_the_temporary_folder(tmp_path, monkeypatch):
    """A kill while it is copied from another file system would leave half of one; also nothing is left there."""
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    opened = []
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    monkeypatch.setattr(tempfile, "mkstemp", lambda *args, **settings: opened.append(args))
    run(tmp_path / "run", small_config(n_mocks=32))
    assert not opened
    assert not any(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"chunk_size": 100}, r"chunk_size \(100\) must be a multiple of batch_size \(32\)"),
        ({"n_mocks": 0}, "n_mocks must be positive, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"batch_size": 0}, "batch_size must be positive, got 0"),
        ({"chunk_size": 0}, "chunk_size must be positive, got 0"),
        ({"average_steps": 0}, "average_steps must be positive, got 0"),
        ({"n_worker": -1}, "n_worker must be 0 or positive, got -1"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    """With the name and the value."""
    with pytest.raises(SFHCNNError, match=message):
        small_config(**setting)


def test_the_stream_is_made_when_the_first_batch_is_asked_for():
    """Not before: a launched process knows its rank only then; and only once, not in each epoch anew."""
    made = []

    def make():
        made.append(1)
        return [1, 2, 3, 4]

    stream = _Endless(make)
    assert not made
    assert next(iter(stream)) == 1
    assert next(iter(stream)) == 2
    assert len(made) == 1


#: 384 mocks, 64 of them in each step: of two processes, or twice 32 of one.
_SHARED = {"n_mocks": 384, "batch_size": 32, "chunk_size": 32, "learning_rate": 0.01}
_TWO_PROCESSES = """
import sys, warnings
warnings.simplefilter("ignore")
from sfh_cnn.tests.small import small_config, small_library
from sfh_cnn.training import train

config = small_config(steps_per_epoch=3, **eval(sys.argv[2]))
train(config, sys.argv[1], libraries=[small_library()], progress_bar=False, accelerator="cpu", devices=2)
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """A run of one process that collects the gradients of two batches in each step.

    On one thread, as each of two processes: rounding errors grow where the gradient is zero, as of the keys' bias.
    """
    folder, n_thread = tmp_path_factory.mktemp("collected"), torch.get_num_threads()
    run(folder, small_config(steps_per_epoch=6, **_SHARED), accumulate_grad_batches=2, n_thread=1)
    torch.set_num_threads(n_thread)
    return folder


def test_two_processes_train_as_one(collected, tmp_path):
    """Over gloo, on the same mocks: the same curves and the same weights as one that collects gradients."""
    script = tmp_path / "script.py"
    script.write_text(_TWO_PROCESSES)
    environment = {**os.environ, "PYTHONPATH": str(Path(sfh_cnn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, tmp_path, repr(_SHARED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    saved = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (collected, tmp_path)]
    assert [checkpoint["global_step"] for checkpoint in saved] == [6, 6]
    assert [checkpoint["n_mocks_per_step"] for checkpoint in saved] == [64, 64]
    names = ("train/loss", "train/scalars", "val/loss", *SCATTERS)
    for name in names:
        mine, theirs = (curves(folder, name) for folder in (collected, tmp_path))
        assert len(mine) == 2
        np.testing.assert_allclose(theirs, mine, rtol=1e-4, err_msg=name)
    for name, value in saved[0]["state_dict"].items():
        assert torch.allclose(saved[1]["state_dict"][name], value, atol=2e-4), name
    start = _start()
    assert (saved[1]["state_dict"]["network.join.bias"] - start).abs().max() > 1e-3  # it did move


def test_a_run_that_collects_gradients_goes_on_with_the_next_mocks(collected, tmp_path):
    """Killed in the second epoch, resumed: as the uninterrupted one."""
    config, n_thread = small_config(steps_per_epoch=6, **_SHARED), torch.get_num_threads()
    with killed_at(4):
        run(tmp_path, config, accumulate_grad_batches=2, n_thread=1)
    run(tmp_path, config, accumulate_grad_batches=2, n_thread=1, resume=True)
    torch.set_num_threads(n_thread)
    states = [torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (tmp_path, collected)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
