"""Floor 3: from mocks to a trained network. Importing this room loads torch; `train` also loads lightning."""

from .calibrate import FALSE_ALARM_RATE, calibrate
from .config import LossConfig, RunConfig, TrainingConfig
from .config_files import load_run_config, load_synthesis_config, read_run_config
from .dataset import HELD_OUT, MockStream, held_out_mocks, to_tensors
from .losses import INPUT_NAMES, joint_loss
from .metrics import MEANS, mad_std, mean_scores
from .release import as_artifact, build_templates, load_run, release
from .released import released_config, released_mocks
from .run import build_network, train
from .shrink import shrink
from .teacher import lesson
from .widen import widen

__all__ = [
    "FALSE_ALARM_RATE",
    "HELD_OUT",
    "INPUT_NAMES",
    "MEANS",
    "LossConfig",
    "MockStream",
    "RunConfig",
    "TrainingConfig",
    "as_artifact",
    "build_network",
    "build_templates",
    "calibrate",
    "held_out_mocks",
    "joint_loss",
    "lesson",
    "load_run",
    "load_run_config",
    "load_synthesis_config",
    "mad_std",
    "mean_scores",
    "read_run_config",
    "release",
    "released_config",
    "released_mocks",
    "shrink",
    "to_tensors",
    "train",
    "widen",
]
