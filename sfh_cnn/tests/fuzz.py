"""Settings that the fuzz tests share."""

import os

from hypothesis import HealthCheck, settings

__all__ = ["bounded"]

_EXAMPLES = int(os.environ.get("SFH_CNN_FUZZ", "0"))

#: A few cases, the same in every run; with ``SFH_CNN_FUZZ=10000`` so many, and others each time.
bounded = settings(
    max_examples=_EXAMPLES or 40,
    derandomize=not _EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
