"""What the pages show and no doctest runs: commands, scripts, configurations and Python that needs data of others."""

import ast
import importlib
import inspect
import re
import shlex
import tomllib

import click
import pytest

import sfh_cnn
from sfh_cnn.cli.main import main
from sfh_cnn.training import load_run_config

from .pages import HAS_PAGES, PAGES, ROOT, blocks

if not HAS_PAGES:
    pytest.skip("the pages are in the checkout only", allow_module_level=True)


def command_lines(program):
    """The words of every command, in a block or in a sentence, that calls a program."""
    found = []
    for page, number, text in blocks("bash", "sh", ""):
        commands = (part for line in text.replace("\\\n", " ").splitlines() for part in line.split("&&"))
        found += [(f"{page}:{number}", command) for command in commands]
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        # a sentence may name an option without its value
        found += [(page, command.replace("\n", " ") + " VALUE") for command in re.findall(r"``([^`]+)``", text)]
    for where, command in found:
        if re.match(rf"\s*(\w+=\S+ )*{program} ", command):
            words = shlex.split(command, comments=True)
            yield pytest.param(words[words.index(program) + 1 :], id=where)


def parse(command, words):
    """Options and arguments as click understands them, which refuses unknown ones and counts their values."""
    with click.Context(command) as context:
        return command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("words", [*command_lines("sfh-cnn")])
def test_commands_exist_with_their_options(words):
    """Every ``sfh-cnn`` line of the pages is one that the command line takes."""
    _, rest, _ = parse(main, words)
    if rest[0] != "VALUE":  # as after sfh-cnn --help
        assert rest[0] in main.commands
        parse(main.commands[rest[0]], rest[1:])


@pytest.mark.parametrize("words", [*command_lines("python")])
def test_scripts_exist_with_their_options(words):
    """``python benchmarks/x.py --option``: the script is there, and knows the option."""
    script = words[0]
    if script == "-c":
        compile(words[1], "page", "exec")
    if not script.endswith(".py"):
        return  # a module that others wrote, such as pytest
    path = next(path for path in (ROOT / script, ROOT / "benchmarks" / script) if path.exists())
    text = path.read_text(encoding="utf-8")
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert f'"{option}"' in text, option


@pytest.mark.parametrize("block", [pytest.param(text, id=f"{page}:{n}") for page, n, text in blocks("python")])
def test_python_compiles_and_its_names_exist(block):
    """Blocks that need data of others: they parse, what they import exists, and so do the arguments they give."""
    known = {"predictor": sfh_cnn.SFHPredictor, "maps": sfh_cnn.SFHMaps, "result": sfh_cnn.SFHResult}
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            ours = node.module.split(".")[0] == "sfh_cnn"
            module = importlib.import_module(node.module) if ours else pytest.importorskip(node.module)
            known |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    for call in (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)):
        function = eval_name(call.func, known)
        if getattr(function, "__module__", "").startswith("sfh_cnn"):
            assert {word.arg for word in call.keywords if word.arg} <= {*inspect.signature(function).parameters}


def eval_name(node, known):
    """The function that ``name`` or ``name.attribute`` stands for, None if the page made it itself."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
        return getattr(known[node.value.id], node.attr)
    return None


@pytest.mark.parametrize("block", [pytest.param(text, id=f"{page}:{n}") for page, n, text in blocks("toml")])
def test_configurations_are_read(block, tmp_path):
    """What a page shows is a configuration for ``sfh-cnn train``, or one of the options of commands."""
    tables = tomllib.loads(block)
    for name in tables.keys() & main.commands.keys():
        known = {option.lstrip("-") for parameter in main.commands[name].params for option in parameter.opts}
        assert tables[name].keys() <= known
    if not tables.keys() & main.commands.keys():
        (tmp_path / "page.toml").write_text(block, encoding="utf-8")
        load_run_config(tmp_path / "page.toml")
