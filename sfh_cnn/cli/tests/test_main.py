"""All commands: they are light, explain themselves, and say what is wrong in one line."""

import json
import os
import subprocess
import sys

import pytest
from click import shell_completion as completion

from sfh_cnn.cli.main import main

from .conftest import invoke


@pytest.mark.parametrize("command", main.commands)
def test_help_has_an_example_of_the_command(run, command):
    """The example is one that the command's own parser accepts as far as option names go."""
    text = run(command, "--help")
    example = next(line for line in text.splitlines() if f"sfh-cnn {command}" in line and "Usage" not in line)
    options = [word for word in example.split() if word.startswith("--")]
    known = [option for parameter in main.commands[command].params for option in parameter.opts]
    assert "Example:" in text
    assert set(options) <= set(known)


@pytest.mark.parametrize("command", main.commands)
def test_every_command_can_answer_a_script(command):
    """With --json the answer of each command is one for programs."""
    assert "--json" in [option for parameter in main.commands[command].params for option in parameter.opts]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_of_each_shell(shell):
    """What the documentation has users evaluate is a script that asks sfh-cnn for completions."""
    source = completion.get_completion_class(shell)(main, {}, "sfh-cnn", "_SFH_CNN_COMPLETE")
    assert "_SFH_CNN_COMPLETE" in source.source_template % source.source_vars()
    assert source.source_vars()["complete_func"] == "_sfh_cnn_completion"


@pytest.mark.parametrize(
    ("arguments", "incomplete", "wanted"),
    [
        ([], "p", {"predict", "photometry", "plot"}),
        (["predict"], "--cal", {"--calibration-error"}),
        (["plot", "x.fits", "--kind"], "s", {"summary", "sfh"}),
    ],
)
def test_completion_of_commands_options_and_choices(arguments, incomplete, wanted):
    """The tabulator key offers what there is."""
    offered = completion.ShellComplete(main, {}, "sfh-cnn", "_SFH_CNN_COMPLETE").get_completions(arguments, incomplete)
    assert {one.value for one in offered} == wanted


def test_completion_runs_as_the_shell_runs_it():
    """The program itself answers, by an environment variable, without loading anything heavy."""
    code = (
        "import sys; sys.argv = ['sfh-cnn']; from sfh_cnn.cli.main import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    words = {"_SFH_CNN_COMPLETE": "bash_complete", "COMP_WORDS": "sfh-cnn rel", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **words}
    )
    assert done.stdout.split() == ["plain,release"]


def test_help_loads_nothing_heavy():
    """Neither torch nor astropy is needed to say which commands there are."""
    code = (
        "import sys, sfh_cnn.cli.main; print([name for name in ('torch', 'astropy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_garbage_is_sought_while_the_network_is_loaded():
    """A quarter of the time of the import; afterwards the search goes on, and not among what was imported."""
    code = (
        "import gc\nfrom sfh_cnn.cli.spectra import load_predictor\nsought = []\n"
        "gc.callbacks.append(lambda *_: sought.append(1))\nload_predictor()\n"
        "print(len(sought), gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
        "load_predictor()\nprint(bool(sought))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "True", "True"]


def test_unknown_command_is_a_usage_error(refused):
    """Click's own errors end with status 2."""
    assert refused("frobnicate") == ("Error: No such command 'frobnicate'.", 2)


def test_debug_shows_where_it_went_wrong():
    """With --debug the exception itself comes out."""
    assert isinstance(invoke("--debug", "plot", "nothing.fits", "-o", "x.png").exception, FileNotFoundError)


def test_defaults_from_a_file_of_options(run, tmp_path, network_file):
    """Options of the file hold unless the command line has them; the file names them as the command line does."""
    options = tmp_path / "options.toml"
    options.write_text(
        f'[predict]\nnetwork = "{network_file}"\ncalibration-error = 0.03\nredshift = 0.08\njson = true\n'
    )
    first = json.loads(run("--options", options, "predict", "example"))
    second = json.loads(run("--options", options, "predict", "example", "--calibration-error", "0"))
    assert first["spectra"][0]["calibration_error"] == 0.03
    assert first["spectra"][0]["redshift"] == 0.08
    assert second["spectra"][0]["calibration_error"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("[predict]\nnetwrok = 'x'", "no option netwrok"), ("[predcit]\n", "no command"), ("=", "not a valid TOML")],
)
def test_a_mistake_in_the_file_of_options_is_named(refused, tmp_path, text, message):
    """A misspelt key must not be lost in silence."""
    options = tmp_path / "options.toml"
    options.write_text(text)
    line, code = refused("--options", options, "predict", "example")
    assert message in line
    assert code == 2
