"""Floor 3: from an observed spectrum to a history. Importing this room loads torch; it never sees training."""

from .engine import Engine
from .predictor import SFHPredictor
from .pretrained import available, released_network

__all__ = ["Engine", "SFHPredictor", "available", "released_network"]
