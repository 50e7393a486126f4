"""Stands in for the providers of an isolated plugin, and keeps its process running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import structlog

from lightfast.core.tasks import TaskGroup
from lightfast.host.discover import Candidate
from lightfast.host.pipe import pack_embedding, pack_request, pack_session, unpack_model
from lightfast.host.process import ChildFailed, ChildProcess
from lightfast.sdk import (
    Condition,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Model,
    Provider,
    ProviderError,
    Session,
    Step,
    Workbench,
)

log = structlog.get_logger("lightfast.host")

BACKOFF = (0.5, 30.0)
"""The first and the longest wait before a restart, in seconds; it doubles."""
CALL_TIMEOUT = 30.0
"""How long a call may take that has no deadline of its own, in seconds."""
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

    async def call(self, provider: str, method: str, timeout: float = CALL_TIMEOUT, **args: Any) -> Any:
        """Call a method of a provider in the child; raise `ProviderError`."""
        if self.trouble or self._child.ended.is_set():
            raise ProviderError(self.trouble or self._child.reason, retryable=True, reason="PLUGIN_CRASHED")
        return await self._child.call(provider, method, args, timeout, self._tasks)

    async def release(self) -> None:
        """One of its providers was closed; the last one ends the child."""
        self._users -= 1
        if self._users <= 0:
            await self.close()

    async def close(self) -> None:
        """End the child, and all that runs in it."""
        try:
            await self._tasks.close(2.0)
        finally:  # also where that is cut short
            await self._child.kill()


class IsolatedProvider(Provider):
    """Stands in for a provider that runs in a child process.

    Models that are not listed, and batches, are not offered from there.
    """

    def __init__(self, plugin: IsolatedPlugin, fields: Mapping[str, Any], models: Sequence[Model]) -> None:
        self.name = str(fields["name"])
        self.description = str(fields["description"])
        self.local = bool(fields["local"])
        self.needs_key = bool(fields.get("needs_key"))
        self.key_names = tuple(map(str, fields.get("key_names", ())))
        self.price_provider = str(fields.get("price_provider", ""))
        self.tiers = {
            str(name): tuple((str(kind), float(window), float(limit)) for kind, window, limit in limits)
            for name, limits in fields.get("tiers", {}).items()
        }
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

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Have the child make vectors."""
        found: Embeddings = await self._plugin.call(
            self.name, "embed", request.timeout, request=pack_embedding(request)
        )
        return found

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Have the child count."""
        found: int = await self._plugin.call(self.name, "count_tokens", request=pack_request(request))
        return found

    async def probe(self, session: Session) -> Condition:
        """Have the child look."""
        found: Condition = await self._plugin.call(self.name, "probe", session=pack_session(session))
        return found

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Have the child ask for the models."""
        found: Sequence[Model] | None = await self._plugin.call(self.name, "discover", session=pack_session(session))
        return found

    async def cancel(self, session: Session, job: str) -> None:
        """Have the child end a job."""
        await self._plugin.call(self.name, "cancel", session=pack_session(session), job=job)

    async def close(self) -> None:
        """End the child with its last provider."""
        await self._plugin.release()
