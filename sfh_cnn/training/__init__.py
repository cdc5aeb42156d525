"""Floor 3: from mocks to a trained network. Importing this room loads torch; `train` also loads lightning."""

from .config import LossConfig, RunConfig, TrainingConfig
from .dataset import HELD_OUT, MockStream
from .losses import joint_loss
from .run import build_network, train

__all__ = [
    "HELD_OUT",
    "LossConfig",
    "MockStream",
    "RunConfig",
    "TrainingConfig",
    "build_network",
    "joint_loss",
    "train",
]
