"""What a released network was trained with, from its card: the configuration, and the mocks made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfh_cnn.core import SFHCNNError, build_config
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator, SynthesisConfig

from .config import RunConfig, TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sfh_cnn.core import ModelContract
    from sfh_cnn.network import Artifact

__all__ = ["released_config", "released_mocks"]


def released_config(artifact: Artifact) -> RunConfig:
    """The configuration that a released network was trained with.

    Parameters
    ----------
    artifact : `~sfh_cnn.network.Artifact`

    Returns
    -------
    RunConfig

    Raises
    ------
    SFHCNNError
        If its card does not hold the settings of the training.
    """
    contract = artifact.contract
    settings = contract.training.get("settings")
    if not settings:
        raise SFHCNNError(f"the card of {contract.name!r} does not hold the settings of its training")
    where = f"model card of {contract.name}"
    training = build_config(settings, TrainingConfig, where=where)
    return RunConfig(_synthesis(contract), artifact.config, training)


def released_mocks(contract: ModelContract, libraries: Iterable[SSPLibrary] | None = None) -> MockGenerator:
    """A generator of the mocks of a released network, to measure it anew.

    Parameters
    ----------
    contract : `~sfh_cnn.core.ModelContract`
        Card of the network.
    libraries : list of SSPLibrary, optional
        Instead of reading those that the card names.

    Returns
    -------
    MockGenerator

    Raises
    ------
    SFHCNNError
        If a stellar library is not the one that the network was trained with.
    """
    config = _synthesis(contract)
    if libraries is None:
        libraries = [SSPLibrary.read(name) for name in config.libraries]
    for library, record in zip(libraries, contract.libraries, strict=True):
        if library.sha256 != record["sha256"]:
            raise SFHCNNError(
                f"stellar library {library.name!r} is not the {record['name']!r} that {contract.name!r} was trained "
                f"with: its SHA-256 is {library.sha256}, the card says {record['sha256']}"
            )
    return MockGenerator(config, libraries)


def _synthesis(contract):
    settings = {key: value for key, value in contract.synthesis.items() if key != "sha256"}
    return build_config(settings, SynthesisConfig, where=f"model card of {contract.name}")
