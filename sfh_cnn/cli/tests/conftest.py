"""A network in miniature, made by the commands themselves, and a way to run commands."""

import inspect

import pytest
from click.testing import CliRunner

from sfh_cnn.cli.main import main
from sfh_cnn.core import config_to_dict, config_to_toml
from sfh_cnn.ssp import readers, register_reader, toy_ssp_library
from sfh_cnn.tests.small import small_config, small_library, write_small_artifact


def invoke(*arguments):
    """Run ``sfh-cnn`` with these arguments; the result has exit_code, stdout and stderr."""
    # Before click 8.2 the two streams had to be kept apart by hand.
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**apart).invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def run():
    """Run a command that must succeed and return what it prints."""

    def succeed(*arguments):
        result = invoke(*arguments)
        assert result.exit_code == 0, (result.stderr, result.exception)
        return result.stdout

    return succeed


@pytest.fixture
def refused():
    """Run a command that must be refused in one line; return the line and the exit code."""

    def fail(*arguments):
        result = invoke(*arguments)
        lines = result.stderr.strip().splitlines()
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.stdout == ""
        assert lines[-1].startswith("Error: ")
        assert len(lines) == 1 or lines[0].startswith("Usage: ")
        return lines[-1], result.exit_code

    return fail


@pytest.fixture(scope="module")
def toy_reader():
    """The made-up library under the name that the configuration has, and one with other pixels."""
    register_reader("toy", small_library)
    register_reader("other-toy", lambda: toy_ssp_library(step_aa=2.5))
    yield
    for name in ("toy", "other-toy"):
        del readers._READERS[name]


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, toy_reader):
    """Configuration of a run of ten steps."""
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(config_to_toml(config_to_dict(small_config())), encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def network_file(tmp_path_factory):
    """A released network, not trained."""
    return write_small_artifact(tmp_path_factory.mktemp("network") / "small.pt")
