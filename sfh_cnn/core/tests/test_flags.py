"""Tests of the quality flags."""

import numpy as np
import pytest

from sfh_cnn.core import Flag, flag_names, flag_table


def test_each_flag_is_one_bit_of_its_own():
    """Flags can be combined without loss and fit the 32-bit integers of result files."""
    values = [int(flag) for flag in Flag]
    assert values == [1 << i for i in range(len(values))]
    assert values[-1] < 2**31


def test_the_meaning_of_a_bit_does_not_change():
    """Result files written years ago keep their meaning: new flags are added at the end."""
    assert [flag.name for flag in Flag][:15] == [
        "NO_DATA",
        "FEW_PIXELS",
        "NO_UNCERTAINTY",
        "SNR_OUTSIDE",
        "REDSHIFT_OUTSIDE",
        "PARTIAL_COVERAGE",
        "BAD_BAND",
        "UNUSUAL_SPECTRUM",
        "POOR_RECONSTRUCTION",
        "NEGATIVE_FLUX",
        "CALIBRATION_OUTSIDE",
        "LOW_SAMPLE_SIZE",
        "REDSHIFT_DOUBTFUL",
        "BANDS_DISAGREE",
        "NETWORK_OFF",
    ]


@pytest.mark.parametrize("integer", [int, np.int32, np.int64])
def test_names_of_a_mask(integer):
    """In bit order, for Python's and numpy's integers."""
    assert flag_names(integer(0)) == []
    assert flag_names(integer(Flag.PARTIAL_COVERAGE | Flag.NO_DATA)) == ["NO_DATA", "PARTIAL_COVERAGE"]


def test_the_table_explains_every_flag():
    """Bit, name and a sentence for each."""
    table = flag_table()
    assert [(bit, name) for bit, name, _ in table] == [(int(flag), flag.name) for flag in Flag]
    assert all(len(meaning) > 20 for *_, meaning in table)
