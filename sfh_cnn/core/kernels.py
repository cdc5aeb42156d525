"""The compiled kernels, and whether there are any.

``_kernels.c`` holds compiled twins of the few functions that look at every pixel of every spectrum. Where it could
not be compiled when the package was installed, or with ``SFH_CNN_COMPILED=0`` in the environment, ``compiled`` is None
and the functions in Python, which are the reference, do their work: the same numbers to rounding, in more time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

__all__ = ["compiled"]

#: Module of compiled functions, or None.
compiled: Any = None
if os.environ.get("SFH_CNN_COMPILED", "1") != "0":
    with contextlib.suppress(ImportError):
        compiled = importlib.import_module("sfh_cnn.core._kernels")
