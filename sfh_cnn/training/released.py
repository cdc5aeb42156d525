"""The mocks that a released network was trained on, made anew from its card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfh_cnn.core import SFHCNNError, build_config
from sfh_cnn.ssp import SSPLibrary
from sfh_cnn.synthesis import MockGenerator, SynthesisConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sfh_cnn.core import ModelContract

__all__ = ["released_mocks"]


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
    settings = {key: value for key, value in contract.synthesis.items() if key != "sha256"}
    config = build_config(settings, SynthesisConfig, where=f"model card of {contract.name}")
    if libraries is None:
        libraries = [SSPLibrary.read(name) for name in config.libraries]
    for library, record in zip(libraries, contract.libraries, strict=True):
        if library.sha256 != record["sha256"]:
            raise SFHCNNError(
                f"stellar library {library.name!r} is not the {record['name']!r} that {contract.name!r} was trained "
                f"with: its SHA-256 is {library.sha256}, the card says {record['sha256']}"
            )
    return MockGenerator(config, libraries)
