"""Floor 4: how far to trust a network."""

from .coverage import joint_coverage, sbc_ranks, tarp_coverage
from .recovery import evaluate, measure, predict_mocks, score

__all__ = ["evaluate", "joint_coverage", "measure", "predict_mocks", "sbc_ranks", "score", "tarp_coverage"]
