"""Floor 2: the network. Importing this room loads torch."""

from .artifact import Artifact, load_artifact, save_artifact
from .config import LAYERS_BEFORE, NetworkConfig
from .model import SFHNet
from .packed import PackedNetwork
from .posterior import from_variables, to_variables
from .templates import Templates

__all__ = [
    "LAYERS_BEFORE",
    "Artifact",
    "NetworkConfig",
    "PackedNetwork",
    "SFHNet",
    "Templates",
    "from_variables",
    "load_artifact",
    "save_artifact",
    "to_variables",
]
