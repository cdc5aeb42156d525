"""Floor 2: the network. Importing this room loads torch."""

from .config import NetworkConfig
from .model import SFHNet
from .posterior import from_variables, to_variables

__all__ = ["NetworkConfig", "SFHNet", "from_variables", "to_variables"]
