"""What the project's files say about its dependencies is one thing."""

import configparser
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import sfh_cnn

ROOT = Path(sfh_cnn.__file__).parents[1]


@pytest.mark.skipif(not (ROOT / "tox.ini").is_file(), reason="needs a checkout of the repository")
def test_the_oldest_versions_allowed_are_those_tested():
    """The lower bounds of pyproject.toml, extras included, are the versions that tox installs for oldestdeps."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tested = [lines for name, lines in extras.items() if name not in ("docs", "benchmark")]
    bounds = [Requirement(line) for lines in (project["dependencies"], *tested) for line in lines]
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    pins = [line.removeprefix("oldestdeps:") for line in tox["testenv"]["deps"].splitlines() if "oldestdeps:" in line]
    assert _versions(bounds, ">=") == _versions(map(Requirement, pins), "==")


def _versions(requirements, operator):
    """Version of each package; each requirement has one clause, with this operator."""
    versions = {}
    for requirement in requirements:
        if requirement.name != "sfh_cnn":
            (clause,) = requirement.specifier
            assert clause.operator == operator, requirement
            versions[requirement.name] = Version(clause.version)
    return versions
