"""Layers as configurations and records say them."""

import json

from sfh_cnn.core import build_config, config_to_dict
from sfh_cnn.network import NetworkConfig, as_recorded
from sfh_cnn.tests.small import small_config
from sfh_cnn.training import read_run_config


def test_records_of_today_say_everything():
    """Nothing is put in their mouth."""
    layers = config_to_dict(NetworkConfig(n_token_hidden=7))
    assert as_recorded(layers) == layers


def test_earlier_records_mean_the_layers_of_then(tmp_path):
    """Hidden layers were as wide as what is around them, or twice that; a run of then is read like that."""
    record = config_to_dict(small_config())
    for name in ("projection_px", "n_token_hidden", "n_residual_hidden", "means_first"):
        del record["network"][name]
    (tmp_path / "config.json").write_text(json.dumps(record))
    layers = read_run_config(tmp_path).network
    assert layers == build_config(as_recorded(record["network"]), NetworkConfig, where="here")
    width = small_config().network
    assert (layers.projection_px, layers.means_first) == (1, False)
    assert (layers.n_token_hidden, layers.n_residual_hidden) == (2 * width.n_token_channel, width.n_latent)
