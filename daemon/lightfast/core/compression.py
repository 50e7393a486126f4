"""Zstandard: the standard library's module from Python 3.14 on, its backport before; loaded on first use."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any


@cache
def zstd() -> Any:
    """Return the module `compression.zstd`, or `backports.zstd`, which has the same names."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module
