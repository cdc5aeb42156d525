"""Floor 4: how far to trust a network."""

from .recovery import evaluate, predict_mocks, score

__all__ = ["evaluate", "predict_mocks", "score"]
