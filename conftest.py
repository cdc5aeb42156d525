"""Settings of the doctests, those of the docstrings and those of README.rst and docs/."""

import doctest

import pytest

# what a build of the documentation leaves behind, and scripts that it runs
collect_ignore = ["docs/_build", "docs/reference/api", "docs/tutorials", "docs/figures"]


@pytest.fixture(autouse=True)
def _doctest_in_its_own_folder(request):
    """Examples write and read files; each page does so in an empty folder of its own."""
    if isinstance(getattr(request.node, "dtest", None), doctest.DocTest):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
