"""A released file gives the numbers that went in; anything else is refused and nothing in it is run."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sfh_cnn.core import NetworkFileError
from sfh_cnn.network import artifact as artifact_module
from sfh_cnn.network import load_artifact, save_artifact
from sfh_cnn.tests.small import NETWORK, small_generator
from sfh_cnn.training import build_templates


def rewrite(source, target, change):
    """Copy an archive; ``change`` maps (name inside, bytes) to the same or to None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            root, name = info.filename.split("/", 1)
            if (changed := change(name, old.read(info))) is not None:
                new.writestr(f"{root}/{changed[0]}", changed[1])
    return target


def with_json(member, edit):
    """A change for `rewrite` that edits one JSON member."""

    def change(name, data):
        if name != f"extra/{member}":
            return name, data
        values = json.loads(data)
        edit(values)
        return name, json.dumps(values)

    return change


class Evil:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@torch.no_grad()
def test_round_trip_in_numbers(network, inputs, artifact_path):
    """Float16 on disk moves medians by less than a hundredth of sigma, and fractions by less than 1e-3."""
    loaded = load_artifact(artifact_path)
    before, after = network(*inputs), loaded.network(*inputs)
    quantiles = before["scalar_quantiles"]
    sigma = (quantiles[..., 5] - quantiles[..., 1]) / 2
    assert ((after["scalar_quantiles"] - quantiles).abs() / sigma[..., None]).max() < 0.01
    assert_close(after["mass_fraction"], before["mass_fraction"], atol=1e-3, rtol=0)
    assert_close(after["unusualness"], before["unusualness"], atol=0.0, rtol=0.02)
    assert (
        loaded.contract.to_json()
        == small_generator().contract().replace(accuracy={"reduced_chi2_limit": 1e9}).to_json()
    )
    assert loaded.config == NETWORK


def test_templates_keep_the_light_of_old_stars(artifact_path):
    """Stored spectra of all bins, the oldest a thousand times fainter, are good to a thousandth."""
    stored, exact = load_artifact(artifact_path).templates, build_templates(small_generator().grid)
    for coefficients, basis in (("coefficients", "basis"), ("coarse_coefficients", "coarse_basis")):
        spectra = [getattr(part, coefficients) @ getattr(part, basis) for part in (stored, exact)]
        error = (spectra[0] - spectra[1]).square().mean(-1).sqrt() / spectra[1].square().mean(-1).sqrt()
        assert error.max() < 1e-3
    assert_close(stored.v_light, exact.v_light, rtol=1e-3, atol=0)


@torch.no_grad()
def test_eager_and_scripted_agree(inputs, artifact_path):
    """The program in the file is the network in the code."""
    loaded = load_artifact(artifact_path, scripted=True)
    eager, scripted = loaded.network(*inputs), loaded.scripted(*inputs)
    for name, value in eager.items():
        assert_close(scripted[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")
def test_it_is_a_torchscript_archive(artifact_path):
    """``torch.jit.load`` alone reads it, card included."""
    extra = {"card.json": "", "format.json": ""}
    torch.jit.load(str(artifact_path), _extra_files=extra)
    assert json.loads(extra["card.json"])["name"] == "small"


def test_loading_unpickles_nothing(artifact_path, monkeypatch):
    """Neither torch.load nor torch.jit.load nor pickle is called for the eager network."""

    def forbidden(*args, **kwargs):
        raise AssertionError("code from the file")

    for module, names in ((torch, ["load"]), (torch.jit, ["load"]), (pickle, ["load", "loads", "Unpickler"])):
        for name in names:
            monkeypatch.setattr(module, name, forbidden)
    assert load_artifact(artifact_path).contract.name == "small"


def test_without_torch_jit_the_eager_network_serves(artifact_path, monkeypatch):
    """As on Python 3.14 and later."""
    monkeypatch.delattr(torch.jit, "load")
    loaded = load_artifact(artifact_path, scripted=True)
    assert loaded.scripted is None
    assert loaded.network is not None


def test_pickles_planted_in_the_file_are_not_run(artifact_path, tmp_path, network, inputs):
    """The numbers are read all the same: they do not pass through the pickles."""
    marker = tmp_path / "executed"
    payload = pickle.dumps(Evil(marker))
    planted = rewrite(
        artifact_path, tmp_path / "evil.pt", lambda name, data: (name, payload if name.endswith(".pkl") else data)
    )
    loaded = load_artifact(planted)
    assert not marker.exists()
    assert_close(loaded.network(*inputs)["mass_fraction"], network(*inputs)["mass_fraction"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_foreign_pickle_is_refused_and_not_run(tmp_path, writer):
    """What torch.save or pickle wrote is no released network."""
    marker, path = tmp_path / "executed", tmp_path / "foreign.pt"
    if writer == "torch":
        torch.save({"model": Evil(marker)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(NetworkFileError, match=r"foreign\.pt"):
        load_artifact(path)
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_file_is_refused(artifact_path, tmp_path, share):
    """Wherever the download stopped."""
    data = artifact_path.read_bytes()
    path = tmp_path / "short.pt"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(NetworkFileError, match="damaged"):
        load_artifact(path)


def test_a_flipped_bit_is_refused_or_harmless(artifact_path, tmp_path):
    """It changes no number silently: the CRC of every member that is read is checked."""
    data = bytearray(artifact_path.read_bytes())
    expected = load_artifact(artifact_path).network.state_dict()
    path, refused, rng = tmp_path / "flipped.pt", 0, np.random.default_rng(0)
    for position in rng.integers(len(data), size=25):
        data[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            loaded = load_artifact(path).network.state_dict()
        except NetworkFileError:
            refused += 1
        else:  # it lay in the program, in padding or in a time stamp
            assert all(torch.equal(loaded[name], expected[name]) for name in expected)
        data = bytearray(artifact_path.read_bytes())
    assert refused > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_json("format.json", lambda form: form.update(version=99)), "reads version 1"),
        (with_json("format.json", lambda form: form.update(format="other")), "reads version 1"),
        (with_json("card.json", lambda card: card.pop("n_wave")), "n_wave"),
        (with_json("card.json", lambda card: card.update(n_wave=480)), "do not fit the card"),
        (
            with_json("card.json", lambda card: card.update(bands=["F438W"], band_pivots_aa=[4e3])),
            "do not fit the card",
        ),
        (with_json("network.json", lambda layers: layers["network"].update(n_latent=10**6)), "do not fit the card"),
        (with_json("network.json", lambda layers: layers["network"].update(n_latent="12")), "expected int"),
        (with_json("network.json", lambda layers: layers["network"].update(extra=1)), "unknown key extra"),
        (with_json("network.json", lambda layers: layers.pop("templates")), "templates"),
        (with_json("weights.json", lambda index: index.pop("network.position")), "do not fit the card"),
        (
            with_json("weights.json", lambda index: index["network.position"].update(dtype="object")),
            "has type object",
        ),
        (
            with_json("weights.json", lambda index: index["network.position"].update(member="../../etc/passwd")),
            "no item named",
        ),
        (lambda name, data: None if name == "extra/card.json" else (name, data), "card.json"),
        (lambda name, data: (name.replace("extra/card", "extra/kard"), data), "card.json"),
        (lambda name, data: (name, b"[" * 100_000 if name == "extra/card.json" else data), "damaged|not readable"),
    ],
)
def test_a_changed_archive_is_refused(artifact_path, tmp_path, change, message):
    """Wrong version, wrong card, missing, renamed and hostile members: one exception, which names the file."""
    path = rewrite(artifact_path, tmp_path / "changed.pt", change)
    with pytest.raises(NetworkFileError, match=message) as caught:
        load_artifact(path)
    assert "changed.pt" in str(caught.value)


def test_weights_that_are_not_finite_are_refused(artifact_path, tmp_path):
    """They would give NaN for every spectrum."""
    with zipfile.ZipFile(artifact_path) as archive:
        root = archive.namelist()[0].split("/")[0]
        victim = json.loads(archive.read(f"{root}/extra/weights.json"))["network.position"]["member"]
    path = rewrite(
        artifact_path,
        tmp_path / "nan.pt",
        lambda name, data: (name, b"\xff" * len(data)) if name == victim else (name, data),
    )
    with pytest.raises(NetworkFileError, match=r"network\.position is not finite"):
        load_artifact(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(artifact_path, monkeypatch):
    """Before anything is unpacked."""
    monkeypatch.setattr(artifact_module, "_MAX_BYTES", 10_000)
    with pytest.raises(NetworkFileError, match="larger than"):
        load_artifact(artifact_path)


def test_missing_and_existing_files(network, artifact_path, tmp_path):
    """A path that leads nowhere, and one that would be overwritten."""
    with pytest.raises(FileNotFoundError, match="no network file"):
        load_artifact(tmp_path / "none.pt")
    before = artifact_path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite"):
        save_artifact(
            network, build_templates(small_generator().grid), small_generator().contract(), NETWORK, artifact_path
        )
    assert artifact_path.read_bytes() == before


def test_the_hash_is_that_of_the_file(artifact_path):
    """As ``sha256sum`` gives it."""
    import hashlib

    digest = hashlib.sha256(artifact_path.read_bytes()).hexdigest()
    assert load_artifact(artifact_path).sha256 == digest
