"""The architecture, read from the source: rooms import downward only, and heavy packages stay where they belong."""

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sfh_cnn

ROOT = Path(sfh_cnn.__file__).parent

#: The floor of each room, see docs/development/architecture.rst.
FLOORS = {
    "core": 0,
    "ssp": 1,
    "photometry": 1,
    "spectra": 1,
    "results": 1,
    "synthesis": 2,
    "network": 2,
    "training": 3,
    "prediction": 3,
    "diagnostics": 4,
    "plotting": 4,
    "examples": 4,
    "references": 4,
    "formats": 4,
    "glue_plugin": 4,
    "cli": 5,
}
#: Modules that a front door lists as public themselves.
PUBLIC_MODULES = {"sfh_cnn.core.constants", "sfh_cnn.core.history"}
#: The only rooms that may import a package when they are imported themselves; elsewhere it waits for its function.
AT_MODULE_LEVEL = {
    "torch": {"network", "training", "prediction"},
    "lightning": set(),
    "matplotlib": set(),
    "dask": set(),
    "h5py": set(),
    "specutils": set(),
    "spectral_cube": set(),
    "photutils": set(),
    "bagpipes": set(),
    "glue": set(),
}

#: Rooms that cannot be imported without torch: those above, and those made of them.
LOADS_TORCH = {*AT_MODULE_LEVEL["torch"], "diagnostics"}


def sources():
    """Room and path of every module of the package, tests left out (they may look at anything)."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if "tests" not in parts and parts[-1] not in ("conftest.py", "_version.py") and parts != ("__init__.py",):
            yield parts[0].removesuffix(".py"), path


SOURCES = [pytest.param(room, path, id=path.relative_to(ROOT).as_posix()) for room, path in sources()]


def imported_names(nodes, package):
    """Dotted names that import statements ask for; of relative ones, where they lead."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def package_of(path):
    """Dotted parts of the package that a module lives in, e.g. ("sfh_cnn", "core")."""
    return ("sfh_cnn", *path.relative_to(ROOT).parent.parts)


def at_import(tree):
    """Statements that run when the module is imported: everything outside of functions and of TYPE_CHECKING."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for_types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not for_types_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))


def in_fresh_process(code):
    """Run code in a new interpreter and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_room_has_a_floor():
    """A new room must be given its place here and in the documentation."""
    assert {room for room, _ in sources()} <= set(FLOORS)


@pytest.mark.parametrize(("room", "path"), SOURCES)
def test_rooms_import_from_lower_floors_only(room, path):
    """Neither upward nor sideways, inside functions neither."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in imported_names(ast.walk(tree), package_of(path)):
        parts = name.split(".")
        if parts[0] != "sfh_cnn" or len(parts) < 2 or parts[1] not in FLOORS or parts[1] == room:
            continue
        assert FLOORS[parts[1]] < FLOORS[room], f"{room} (floor {FLOORS[room]}) imports {name}"


@pytest.mark.parametrize(("room", "path"), SOURCES)
def test_rooms_are_entered_by_the_front_door(room, path):
    """``from sfh_cnn.core import AgeGrid``, not from the module inside; relative imports stay inside a room."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("sfh_cnn."):
            inside = node.module.count(".") > 1 and node.module not in PUBLIC_MODULES
            assert not inside, f"line {node.lineno} reaches into {node.module}"
        if isinstance(node, ast.ImportFrom) and node.level:
            assert len(package_of(path)) > node.level, f"line {node.lineno} leaves its room by a relative import"


@pytest.mark.parametrize(("room", "path"), SOURCES)
def test_heavy_packages_are_imported_where_they_are_used(room, path):
    """Only torch has rooms of its own; the others are imported inside the functions that need them."""
    if path.name == "lightning_module.py":
        return  # the one module made for lightning; that ``import sfh_cnn.training`` leaves it alone is tested below
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in imported_names(at_import(tree), package_of(path)):
        package = name.split(".")[0]
        assert room in AT_MODULE_LEVEL.get(package, {room}), f"{room} imports {name} when it is imported"


def test_torchscript_lives_in_one_module():
    """PyTorch calls torch.jit deprecated: a move away from it must touch one file."""
    users = set()
    for _, path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "jit")
        uses = any(isinstance(node.value, ast.Name) and node.value.id == "torch" for node in attributes)
        if uses or any(name.startswith("torch.jit") for name in imported_names(ast.walk(tree), package_of(path))):
            users.add(path.relative_to(ROOT).as_posix())
    assert users <= {"network/artifact.py"}


def test_importing_the_package_is_light():
    """No heavy package, no file but source code, no network."""
    seen = in_fresh_process("""
        import json, sys
        opened, network = [], []
        def audit(event, arguments):
            if event == "open":
                opened.append(str(arguments[0]))
            if event.startswith("socket."):
                network.append(event)
        sys.addaudithook(audit)
        import sfh_cnn
        print(json.dumps({"modules": sorted(sys.modules), "opened": opened, "network": network}))
    """)
    loaded = {name.split(".")[0] for name in seen["modules"]}
    assert "sfh_cnn" in loaded
    assert not loaded & {*AT_MODULE_LEVEL, "astropy", "numpy", "scipy", "rich"}
    assert seen["network"] == []
    assert [name for name in seen["opened"] if not name.endswith((".py", ".pyc"))] == []


@pytest.mark.parametrize("room", sorted({room for room, _ in sources()}))
def test_importing_a_room_is_light_and_changes_nothing(room):
    """No optional package, torch only where it belongs, and the settings of the process stay as they were."""
    seen = in_fresh_process(f"""
        import json, sys
        import numpy as np
        if {room in LOADS_TORCH}:
            import torch  # what torch itself does to the settings is not ours
        def settings():
            return [str(np.get_printoptions()), np.geterr(), str(np.random.get_state()[1])]
        before = settings()
        import sfh_cnn.{room}
        print(json.dumps({{"modules": sorted(sys.modules), "changed": settings() != before}}))
    """)
    loaded = {name.split(".")[0] for name in seen["modules"]}
    assert loaded & set(AT_MODULE_LEVEL) <= ({"torch"} if room in LOADS_TORCH else set())
    assert not seen["changed"]
