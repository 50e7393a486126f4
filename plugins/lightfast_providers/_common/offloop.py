"""What takes long before the first request: loading an SDK, encoding large sources. Both are done off the loop."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from lightfast.sdk import GenerationRequest, Workbench

T = TypeVar("T")

LARGE = 1 << 20
"""Bytes of sources from which on a thread is worth its while."""


async def loaded(*names: str) -> None:
    """Import modules in a thread, where they are not imported yet: an SDK takes up to a second and a half.

    One that cannot be imported is left alone; who needs it says so.
    """
    if not is_loaded(*names):
        await asyncio.to_thread(_load, names)


def is_loaded(*names: str) -> bool:
    """Say whether modules are imported to their end.

    One that another thread imports at the moment is in `sys.modules` already, and importing it here would wait for
    that thread: on the loop, with everybody.
    """
    parts = [name.split(".") for name in names]
    return all(_whole(".".join(part[: count + 1])) for part in parts for count in range(len(part)))


def _whole(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _load(names: tuple[str, ...]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            return


async def prepared(bench: Workbench, make: Callable[..., T], request: GenerationRequest, *more: Any) -> T:
    """Return `make(request, *more)`; on the bench where the request has large sources."""
    if sum(map(len, request.sources)) < LARGE:
        return make(request, *more)
    return await bench.run(make, request, *more)
