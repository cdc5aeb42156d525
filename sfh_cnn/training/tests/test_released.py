"""The released networks are those of the configurations beside them."""

import dataclasses

import pytest

from sfh_cnn.core import build_config
from sfh_cnn.network import load_artifact
from sfh_cnn.prediction import available, released_network
from sfh_cnn.synthesis import SynthesisConfig
from sfh_cnn.training import load_run_config


@pytest.mark.parametrize("name", list(available()))
def test_network_and_configuration_agree(name):
    """Priors, pixels and layers: who trains with the file gets a network like the released one, but for the seed."""
    artifact, config = load_artifact(released_network(name)[0]), load_run_config(name)
    card = {key: value for key, value in artifact.contract.synthesis.items() if key != "sha256"}
    made_with = build_config(card, SynthesisConfig, where="card")
    assert dataclasses.replace(made_with, seed=config.synthesis.seed) == config.synthesis
    assert artifact.config == config.network
