"""Tests of the package's exceptions."""

import pytest

from sfh_cnn.core import ContractError, CoverageError, NetworkFileError, SFHCNNError, SFHCNNWarning


@pytest.mark.parametrize("error", [ContractError, CoverageError, NetworkFileError])
def test_one_except_clause_catches_all_bad_input(error):
    """Scripts catch SFHCNNError, or ValueError if they do not know the package."""
    assert issubclass(error, SFHCNNError)
    assert issubclass(error, ValueError)


def test_too_little_coverage_is_a_breach_of_contract():
    """Whoever handles ContractError handles coverage."""
    assert issubclass(CoverageError, ContractError)


def test_the_package_warns_with_a_class_of_its_own():
    """It can be filtered without hiding others."""
    assert issubclass(SFHCNNWarning, UserWarning)
