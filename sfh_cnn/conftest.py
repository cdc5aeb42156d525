"""Settings of the tests; they hold for an installed package too (``pytest --pyargs sfh_cnn``)."""

import importlib.util
import os

import pytest

# Figures are drawn without a screen; this must be set before anything imports matplotlib.
os.environ.setdefault("MPLBACKEND", "agg")

if importlib.util.find_spec("pytest_astropy_header"):
    from pytest_astropy_header.display import PYTEST_HEADER_MODULES, TESTED_VERSIONS

    from sfh_cnn import __version__

    PYTEST_HEADER_MODULES.clear()
    PYTEST_HEADER_MODULES.update(
        {name: name for name in ("numpy", "scipy", "astropy", "torch", "specutils", "dust_extinction", "photutils")}
    )
    from sfh_cnn.core import kernels

    TESTED_VERSIONS["sfh_cnn"] = f"{__version__}, {'without' if kernels.compiled is None else 'with'} compiled kernels"


def pytest_addoption(parser):
    """Add the option that lets slow tests run, and one for the patient."""
    parser.addoption("--run-slow", action="store_true", default=False, help="run the tests marked slow")
    parser.addoption("--kills", type=int, default=4, help="how often test_kill.py kills a process")


def pytest_configure(config):
    """Register the markers."""
    config.addinivalue_line("markers", "slow: takes more than ten seconds; runs with --run-slow only")
    config.addinivalue_line("markers", "gpu: needs a CUDA device; left out where there is none")


def pytest_collection_modifyitems(config, items):
    """Leave out what this machine cannot do or nobody asked for."""
    for item in items:
        if "slow" in item.keywords and not config.getoption("--run-slow"):
            item.add_marker(pytest.mark.skip(reason="slow: needs --run-slow"))
        if "gpu" in item.keywords and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu():
    import torch

    return torch.cuda.is_available()
