"""Tests of optional dependencies."""

import json

import pytest

from sfh_cnn.core import require


def test_an_installed_module_is_returned():
    """Submodules by their dotted name."""
    assert require("json.decoder", extra="plot") is json.decoder


def test_a_missing_module_names_the_extra():
    """The message is the command to type."""
    with pytest.raises(ImportError, match=r'no_such_package is needed.*pip install "sfh_cnn\[plot\]"') as caught:
        require("no_such_package.part", extra="plot")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
