"""One small network and one batch of mocks for all tests of this room; do not change them."""

import pytest

from sfh_cnn.tests.small import small_generator, small_network, write_small_artifact
from sfh_cnn.training import INPUT_NAMES, held_out_mocks


@pytest.fixture(scope="session")
def network():
    """Initialised and calibrated, not trained."""
    return small_network()


@pytest.fixture(scope="session")
def mocks():
    """Observed mocks with their truth."""
    return held_out_mocks(small_generator(), "test", 64)


@pytest.fixture(scope="session")
def inputs(mocks):
    """Arguments of `SFHNet.forward`."""
    return [mocks[name] for name in INPUT_NAMES]


@pytest.fixture(scope="session")
def artifact_path(tmp_path_factory):
    """The network in a released file."""
    return write_small_artifact(tmp_path_factory.mktemp("artifact") / "small.pt")
