"""Network files that someone made to do harm, or that a disk spoilt: NetworkFileError or the right network."""

import json
import random
import resource
import subprocess
import sys
import textwrap
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfh_cnn.core import NetworkFileError
from sfh_cnn.network import load_artifact
from sfh_cnn.tests.fuzz import bounded

from .test_artifact import rewrite, with_json

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ("format.json", "card.json", "network.json", "weights.json")


@pytest.fixture(scope="module")
def members(artifact_path):
    """JSON members of the good file."""
    with zipfile.ZipFile(artifact_path) as archive:
        root = archive.namelist()[0].split("/")[0]
        return {name: json.loads(archive.read(f"{root}/extra/{name}")) for name in MEMBERS}


def load_or_refuse(path):
    """The network, or None if it is refused by the documented exception, which names the file."""
    try:
        return load_artifact(path)
    except NetworkFileError as err:
        if path.name not in str(err):
            raise
        return None


@bounded
@given(data=st.data())
def test_any_value_anywhere_in_the_texts(data, artifact_path, members, tmp_path_factory):
    """A value of the card, the layers or the index is replaced: refused, or a network whose card makes sense."""
    name = data.draw(st.sampled_from(MEMBERS))
    changed = json.loads(json.dumps(members[name]))
    place = changed
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(anything)
    path = tmp_path_factory.mktemp("fuzz") / "fuzzed.pt"
    text = json.dumps(changed)
    rewrite(artifact_path, path, lambda n, old: (n, text if n == f"extra/{name}" else old))
    if (loaded := load_or_refuse(path)) is not None:
        assert loaded.contract.wavelength_grid.wave_aa.shape == (240,)


@bounded
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["cut", "flip", "zero", "insert", "swap"]))
def test_any_damage_to_the_bytes(seed, kind, artifact_path, tmp_path_factory):
    """Truncated, bits flipped, blocks lost, moved or added: refused, or every weight is as it was."""
    rng = random.Random(seed)
    good = artifact_path.read_bytes()
    data, where, length = bytearray(good), rng.randrange(len(good)), rng.choice([1, 7, 512, 4096])
    if kind == "cut":
        del data[where:]
    elif kind == "flip":
        for _ in range(length):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        data[where : where + length] = bytes(len(data[where : where + length]))
    elif kind == "insert":
        data[where:where] = rng.randbytes(length)
    else:
        other = rng.randrange(len(good))
        data[where : where + length] = good[other : other + length]
    path = tmp_path_factory.mktemp("fuzz") / "damaged.pt"
    path.write_bytes(data)
    if (loaded := load_or_refuse(path)) is not None:
        expected, state = load_artifact(artifact_path).network.state_dict(), loaded.network.state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def huge(index):
    """A weight of 10^14 numbers."""
    index["network.position"]["shape"] = [10**7, 10**7]


def hollow(index):
    """No numbers at all, and yet a size of 10^12."""
    index["network.position"]["shape"] = [10**12, 0]


@pytest.mark.parametrize(
    "change",
    [
        with_json("card.json", lambda card: card.update(n_wave=10**12)),
        with_json("card.json", lambda card: card.update(bands=["b"] * 10**5, band_pivots_aa=[5e3] * 10**5)),
        with_json("network.json", lambda layers: layers["network"].update(n_residual=10**9)),
        with_json("network.json", lambda layers: layers.update(templates=[10**9] * 6)),
        with_json("network.json", lambda layers: layers["network"].update(n_mixture=10**12)),
        with_json("weights.json", huge),
        with_json("weights.json", hollow),
    ],
)
def test_huge_claims_cost_nothing(artifact_path, tmp_path, change):
    """Refused with less than 300 MB more than before, before anything of the size is made."""
    path = rewrite(artifact_path, tmp_path / "huge.pt", change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NetworkFileError):
        load_artifact(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_zip_bomb_is_refused_unopened(artifact_path, tmp_path):
    """Ten gigabytes of zeros in ten megabytes; also as a text, which would be parsed."""
    for name, size in (("data/bomb", 600 * 2**20), ("extra/card.json", 20 * 2**20)):
        path = tmp_path / "bomb.pt"
        with zipfile.ZipFile(artifact_path) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            root = old.namelist()[0].split("/")[0]
            for info in old.infolist():
                if not info.filename.endswith(name):
                    new.writestr(info.filename, old.read(info))
            with new.open(f"{root}/{name}", "w", force_zip64=True) as stream:
                for _ in range(size // 2**20):
                    stream.write(bytes(2**20))
        with pytest.raises(NetworkFileError, match="larger than"):
            load_artifact(path)


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", "..\\outside", "C:\\outside"])
def test_paths_in_an_archive_lead_nowhere(artifact_path, tmp_path, name):
    """Members are read by name into memory; nothing is unpacked anywhere."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = rewrite(artifact_path, folder / "traversal.pt", lambda n, data: (n, data))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"gotcha")
    load_artifact(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "traversal.pt"]


def test_an_archive_that_begins_with_a_foreign_member(artifact_path, tmp_path):
    """The root of the archive is taken from its first member."""
    path = tmp_path / "first.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../x", b"")
    with pytest.raises(NetworkFileError):
        load_artifact(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(NetworkFileError):
        load_artifact(path)


def test_nothing_is_executed_opened_or_looked_up(artifact_path, tmp_path):
    """Watched from inside a fresh process: loading opens the file alone, starts nothing, asks no network."""
    code = """
        import json, sys
        from sfh_cnn.network import load_artifact
        load_artifact(sys.argv[2])  # imports that wait for their first use are not what is looked at
        seen = []
        def audit(event, arguments):
            if event.startswith(("socket.", "subprocess.", "os.", "exec", "pickle.", "ctypes.dlopen", "shutil.")):
                seen.append(event)
            if event == "open" and str(arguments[0]) != sys.argv[1]:
                seen.append(str(arguments[0]))
        sys.addaudithook(audit)
        load_artifact(sys.argv[1])
        print(json.dumps(sorted(set(seen) - {"os.fstat", "os.stat"})))
    """
    path = rewrite(artifact_path, tmp_path / "watched.pt", lambda n, data: (n, data))
    command = [sys.executable, "-c", textwrap.dedent(code), str(path), str(artifact_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
