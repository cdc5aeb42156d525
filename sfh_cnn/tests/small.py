"""A network in miniature, on the made-up stellar library, for the tests of network, training and prediction."""

import contextlib
import dataclasses
import functools

from sfh_cnn.core import config_to_dict
from sfh_cnn.network import NetworkConfig, save_artifact
from sfh_cnn.ssp import toy_ssp_library
from sfh_cnn.synthesis import InstrumentConfig, MockGenerator, SynthesisConfig
from sfh_cnn.training import (
    RunConfig,
    TrainingConfig,
    as_artifact,
    build_network,
    build_templates,
    calibrate,
    held_out_mocks,
)

__all__ = [
    "killed_at",
    "small_card",
    "small_config",
    "small_generator",
    "small_library",
    "small_network",
    "write_small_artifact",
]

#: 4800-6000 Angstrom with the V window, two bands, 16 age bins.
INSTRUMENT = dataclasses.replace(
    InstrumentConfig(), wave_start_aa=4802.5, wave_step_aa=5.0, n_wave=240, bands=("F438W", "F814W")
)
NETWORK = NetworkConfig(
    n_projection=12,
    n_channel=4,
    n_token_channel=4,
    token_stride=4,
    tokens_together=2,
    n_head=2,
    n_token_hidden=8,
    n_branch=12,
    n_photometry=8,
    n_latent=24,
    n_residual=1,
    n_residual_hidden=12,
    n_hidden_per_variable=4,
    n_mixture=3,
    cumulative=True,
)


@contextlib.contextmanager
def killed_at(step):
    """Training inside dies in a step, and must."""
    import pytest

    from sfh_cnn.training.lightning_module import LitSFHNet

    class KilledError(Exception):
        """Stands for a kill."""

    def dying(self, batch, index):
        if self.global_step == step:
            raise KilledError
        return whole(self, batch, index)

    whole = LitSFHNet.training_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(LitSFHNet, "training_step", dying)
        yield


@functools.cache
def small_library():
    """Toy library; do not change."""
    return toy_ssp_library(step_aa=2.0)


def small_config(**training):
    """A run of ten steps in two epochs, unless told otherwise."""
    settings = {
        "n_mocks": 320,
        "batch_size": 32,
        "chunk_size": 64,
        "steps_per_epoch": 5,
        "n_validation": 64,
        "n_initial": 768,  # three groups of kinematics
        "warmup_steps": 2,
        "n_worker": 0,
        **training,
    }
    synthesis = SynthesisConfig(name="small", libraries=("toy",), instrument=INSTRUMENT)
    return RunConfig(synthesis=synthesis, network=NETWORK, training=TrainingConfig(**settings))


@functools.cache
def small_generator():
    """Mocks of `small_config`."""
    return MockGenerator(small_config().synthesis, [small_library()])


@functools.cache
def small_network():
    """An untrained but initialised and calibrated network; do not change."""
    network = build_network(small_config(), small_generator())
    calibrate(network, held_out_mocks(small_generator(), "calibration", 512))
    return network.eval().requires_grad_(False)


@functools.cache
def small_card():
    """What a release of `small_network` needs beside it, ``accuracy`` and ``record``; do not change."""
    from sfh_cnn.diagnostics import measure

    generator, config = small_generator(), small_config()
    curve = {"step": [4, 9], "light_weighted_log_age": [0.4, 0.3], "mass_weighted_log_age": [0.5, 0.4]}
    return {
        "accuracy": measure(as_artifact(small_network(), generator, config), generator, 256),
        "record": {
            "seed": config.training.seed,
            "n_steps": 10,
            "n_mocks_seen": 320,
            "seconds": 600.0,
            "machine": "CPU, 2 cores",
            "settings": config_to_dict(config)["training"],
            "learning_curve": curve | {"light_weighted_metallicity": [0.3, 0.2]},
        },
    }


def write_small_artifact(path):
    """Release `small_network` to a file."""
    contract = small_generator().contract().replace(accuracy={"reduced_chi2_limit": 1e9})
    save_artifact(small_network(), build_templates(small_generator().grid), contract, NETWORK, path)
    return path
