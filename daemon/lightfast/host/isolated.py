"""Stands in for the providers of an isolated plugin, and keeps its process running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import structlog

from lightfast.core.tasks import TaskGroup
from lightfast.host.discover import Candidate
from lightfast.host.pipe import unpack_model
from lightfast.host.process import ChildFailed, ChildProcess
from lightfast.sdk import GenerationRequest, Model, Provider, ProviderError, Step, Workbench

log = structlog.get_logger("lightfast.host")

BACKOFF = (0.5, 30.0)
"""The first and the longest wait before a restart, in seconds; it doubles."""
HEALTHY = 60.0
"""After this long without a crash the wait begins anew, in seconds."""


class IsolatedPlugin:
    """Keeps a child running: restarts it with back-off, and offers its providers.

    *troubled* is called with the reason when it is down, and with an empty text when it is up again.
    """

    def __init__(self, candidate: Candidate, config: Mapping[str, Any], troubled: Callable[[str], None]) -> None:
        self._candidate = candidate
        self._config = config
        self._troubled = troubled
        self._tasks = TaskGroup(f"isolated.{candidate.name}")
        self._child = ChildProcess(candidate, config)
        self._users = 0
        self.trouble = ""

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    async def start(self) -> list[tuple[Provider, Sequence[Model]]]:
        """Start the child; return stand-ins for its providers with their models. Raises `ChildFailed`."""
        try:
            await self._child.start(self._tasks)
            found: list[tuple[Provider, Sequence[Model]]] = []
            for fields in self._child.loaded:
                models = tuple(unpack_model(model) for model in fields["models"])
                found.append((IsolatedProvider(self, fields, models), models))
        except BaseException:
            await self.close()
            raise
        self._users = len(found)
        self._tasks.start(self._keep(), "keep")
        return found

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop()
        pause, longest = BACKOFF
        since = clock.time()
        while True:
            await self._child.ended.wait()
            if clock.time() - since > HEALTHY:
                pause = BACKOFF[0]
            self._say(f"{self._child.reason}: it is restarted in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)
            since = clock.time()
            child = ChildProcess(self._candidate, self._config)
            try:
                await child.start(self._tasks)
            except ChildFailed as error:
                child.reason = str(error)
                child.ended.set()
            else:
                self._say("")
            self._child = child

    def _say(self, trouble: str) -> None:
        self.trouble = trouble
        log.log(30 if trouble else 20, "isolated plugin", plugin=self._candidate.name, trouble=trouble)
        self._troubled(trouble)

    async def generate(self, provider: str, request: GenerationRequest) -> AsyncGenerator[Step, None]:
        """Run one generation in the child; raise a retryable `ProviderError` while it is down."""
        if self.trouble or self._child.ended.is_set():
            raise ProviderError(self.trouble or self._child.reason, retryable=True, reason="PLUGIN_CRASHED")
        steps = self._child.generate(provider, request, self._tasks)
        async with contextlib.aclosing(steps):
            async for step in steps:
                yield step

    async def release(self) -> None:
        """One of its providers was closed; the last one ends the child."""
        self._users -= 1
        if self._users <= 0:
            await self.close()

    async def close(self) -> None:
        """End the child, and all that runs in it."""
        await self._tasks.close(2.0)
        await self._child.kill()


class IsolatedProvider(Provider):
    """Stands in for a provider that runs in a child process."""

    def __init__(self, plugin: IsolatedPlugin, fields: Mapping[str, Any], models: Sequence[Model]) -> None:
        self.name = str(fields["name"])
        self.description = str(fields["description"])
        self.local = bool(fields["local"])
        self._models = models
        self._plugin = plugin

    @property
    def trouble(self) -> str:
        """Why it cannot be used now; empty when it can."""
        return self._plugin.trouble

    def models(self) -> Sequence[Model]:
        """Return the models the child told."""
        return self._models

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncGenerator[Step, None]:
        """Run it in the child, which has a workbench of its own."""
        steps = self._plugin.generate(self.name, request)
        async with contextlib.aclosing(steps):
            async for step in steps:
                yield step

    async def close(self) -> None:
        """End the child with its last provider."""
        await self._plugin.release()
