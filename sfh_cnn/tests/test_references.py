"""What to cite is valid BibTeX and agrees with CITATION.cff."""

import re
from pathlib import Path

import pytest

import sfh_cnn


def test_entries_are_balanced_and_unique():
    """Each entry closes its braces, has a key of its own and a title."""
    entries = re.split(r"\n(?=@)", sfh_cnn.citation().strip())
    keys = [re.match(r"@\w+\{(\w+),", entry).group(1) for entry in entries]
    assert len(set(keys)) == len(keys) >= 8
    for entry in entries:
        assert entry.count("{") == entry.count("}")
        assert "  title = {" in entry


def test_the_version_is_the_one_installed():
    """The software entry says which version made the numbers."""
    assert f"version = {{{sfh_cnn.__version__}}}".replace("_", r"\_") in sfh_cnn.citation()


def test_the_paper_is_that_of_citation_cff():
    """Same identifier and first author in both places."""
    path = Path(__file__).parents[2] / "CITATION.cff"
    if not path.exists():
        pytest.skip("needs a checkout")
    text = path.read_text(encoding="utf-8")
    number = re.search(r"arXiv:(\d+\.\d+)", text).group(1)
    assert f"eprint = {{{number}}}" in sfh_cnn.citation()
    names = re.findall(r"family-names: (\w+)", text)
    assert f"author = {{{names[0]}," in sfh_cnn.citation()
