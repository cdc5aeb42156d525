"""Tests of configuration files."""

import json
from dataclasses import dataclass, field

import pytest

from sfh_cnn.core import SFHCNNError, build_config, config_to_dict, load_config


@dataclass(frozen=True)
class Noise:
    """A nested table."""

    snr_range: tuple[float, float] = (5.0, 100.0)


@dataclass(frozen=True)
class Config:
    """One field of each kind that the package uses."""

    n_mock: int = 10
    rate: float = 1e-3
    name: str = "a"
    resume: bool = False
    seed: int | None = None
    bands: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self):
        if self.n_mock < 1:
            raise SFHCNNError(f"n_mock needs at least 1, got {self.n_mock}")


FULL = """
n_mock = 5
rate = 1
name = "b"
resume = true
seed = 7
bands = ["F275W", "F814W"]
weights = {burst = 0.5, constant = 1}

[noise]
snr_range = [3, 200.0]
"""


def write(folder, text):
    """A configuration file."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_file_gives_every_field_its_type(tmp_path):
    """Integers become floats where floats are due, lists become tuples, tables become dataclasses."""
    config = load_config(write(tmp_path, FULL), Config)
    assert config == Config(
        5, 1.0, "b", True, 7, ("F275W", "F814W"), {"burst": 0.5, "constant": 1.0}, Noise((3.0, 200.0))
    )
    assert isinstance(config.rate, float)
    assert isinstance(config.weights["constant"], float)
    assert isinstance(config.noise.snr_range[0], float)


def test_an_empty_file_gives_the_defaults(tmp_path):
    """Nothing has to be said twice."""
    assert load_config(write(tmp_path, ""), Config) == Config()


def test_one_table_of_a_file(tmp_path):
    """A file may hold the configuration of several tasks; a missing table means defaults."""
    path = write(tmp_path, "[synthesis]\nn_mock = 3\n[training]\nrate = 2.0\n")
    assert load_config(path, Config, table="synthesis").n_mock == 3
    assert load_config(path, Config, table="elsewhere") == Config()


def test_round_trip_through_json():
    """The contract stores configurations as JSON; they come back equal."""
    config = Config(bands=("F555W",), seed=3, noise=Noise((1.0, 2.0)))
    assert build_config(json.loads(json.dumps(config_to_dict(config))), Config) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_mok = 3", r"unknown key n_mok; known keys: bands, n_mock, name"),
        ("[noise]\nsnr = 3", r"noise: unknown key snr; known keys: snr_range"),
        ("n_mock = 2.5", "n_mock: expected int, got 2.5"),
        ("n_mock = true", "n_mock: expected int, got True"),
        ("rate = false", "rate: expected float, got False"),
        ("rate = 'fast'", "rate: expected float, got 'fast'"),
        ("name = 3", "name: expected str, got 3"),
        ("seed = 'x'", "seed: expected int, got 'x'"),
        ("bands = 'F275W'", "bands: expected a list, got 'F275W'"),
        ("bands = [1]", "bands: expected str, got 1"),
        ("weights = 3", "weights: expected a table, got 3"),
        ("weights = {burst = 'much'}", "weights.burst: expected float, got 'much'"),
        ("noise = 3", "noise: expected a table, got 3"),
        ("[noise]\nsnr_range = [1, 2, 3]", r"snr_range: expected 2 values, got \[1, 2, 3\]"),
        ("n_mock = 0", "n_mock needs at least 1, got 0"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    """The message says which key, what came and what was due."""
    with pytest.raises(SFHCNNError, match=message):
        load_config(write(tmp_path, text), Config)


def test_a_message_names_file_and_table(tmp_path):
    """With several files at hand one must know which."""
    path = write(tmp_path, "[training]\nx = 1")
    with pytest.raises(SFHCNNError, match=r"config\.toml \[training\]: unknown key x"):
        load_config(path, Config, table="training")


@pytest.mark.parametrize("content", [b"n_mock = ", b"\xff\xfe\x00", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    """Broken syntax, binary files and repeated keys."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(SFHCNNError, match=r"config\.toml is not a valid TOML file"):
        load_config(path, Config)


def test_a_missing_file_says_so(tmp_path):
    """Python's own error already names the file."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml", Config)
