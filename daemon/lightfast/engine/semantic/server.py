"""A graph server among the applications: its tools are commands of its mount."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from lightfast.core.errors import Unavailable
from lightfast.engine.apps.records import Progress, Result
from lightfast_link.value import Value


class Apps(Protocol):
    """The part of the registry used here."""

    async def invoke(
        self,
        mount: str,
        command: str,
        arguments: Mapping[str, Value] | None = None,
        timeout: float | None = None,
        origin: str = "",
        group: str = "",
    ) -> AsyncGenerator[Progress | Result, None]:
        """Check a command and return what runs it."""


class MountedServer:
    """Implements `GraphServer` over the application at *mount*."""

    def __init__(self, apps: Apps, mount: str, timeout: float = 30.0) -> None:
        self._apps = apps
        self._mount = mount
        self._timeout = timeout

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Return what the tool answers."""
        steps = await self._apps.invoke(self._mount, tool, dict(arguments), self._timeout, origin="memory")
        async for step in steps:
            if isinstance(step, Result):
                return _json(step.value)
        raise Unavailable(f"{self._mount} ended {tool} without an answer", reason="APP_GONE")


def _json(value: Value | None) -> Any:
    """Return an answer as JSON has it; servers that know no structured answers send JSON as a text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
