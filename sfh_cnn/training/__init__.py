"""Floor 3: from mocks to a trained network. Importing this room loads torch; `train` also loads lightning."""

from .calibrate import calibrate
from .config import LossConfig, RunConfig, TrainingConfig
from .dataset import HELD_OUT, MockStream, to_tensors
from .losses import INPUT_NAMES, joint_loss
from .metrics import MEANS, mad_std, mean_scores
from .release import build_templates, held_out_mocks, load_run, release
from .run import build_network, train

__all__ = [
    "HELD_OUT",
    "INPUT_NAMES",
    "MEANS",
    "LossConfig",
    "MockStream",
    "RunConfig",
    "TrainingConfig",
    "build_network",
    "build_templates",
    "calibrate",
    "held_out_mocks",
    "joint_loss",
    "load_run",
    "mad_std",
    "mean_scores",
    "release",
    "to_tensors",
    "train",
]
