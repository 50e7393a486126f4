"""Runs the generations of heavy providers in processes of their own, one in each, that come and go by need.

The provider itself stays loaded in the daemon: what it says of itself costs nothing there. Only what it makes is made
in a process, at a low priority; when that dies, it is the one generation in it that has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import structlog

from lightfast.core.errors import Exhausted
from lightfast.core.tasks import TaskGroup
from lightfast.host.discover import Candidate, drop_in
from lightfast.host.loader import Brought
from lightfast.host.process import ChildFailed, ChildProcess
from lightfast.sdk import (
    BatchStep,
    Condition,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Model,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    Workbench,
)

log = structlog.get_logger("lightfast.host")

MOST = 4
"""So many generations of one plugin run at a time; the next ones wait for a place, in their order."""
MOST_WAITING = 32
"""One more is refused."""
IDLE_S = 30.0
"""A process that has had nothing to do for so long is ended, in seconds."""


class Workshop:
    """The processes of one plugin. None is there before the first generation."""

    def __init__(self, candidate: Candidate, config: Mapping[str, Any]) -> None:
        self._candidate = candidate
        self._config = config
        self._places = asyncio.Semaphore(MOST)
        self._waiting = 0
        self._users = 0
        self._closed = False
        self._idle: dict[ChildProcess, asyncio.TimerHandle] = {}
        self._all: set[ChildProcess] = set()
        self._tasks = TaskGroup(f"apart.{candidate.name}")

    @property
    def pids(self) -> list[int]:
        """The process ids of those that are there."""
        return sorted(child.pid for child in self._all if child.pid and not child.ended.is_set())

    def enter(self) -> None:
        """One more provider uses it."""
        self._users += 1

    async def leave(self) -> None:
        """One of its providers was closed; the last one ends all processes."""
        self._users -= 1
        if self._users <= 0:
            self._closed = True
            for handle in self._idle.values():
                handle.cancel()
            self._idle.clear()
            try:
                await self._tasks.close(2.0)
            finally:  # also where that is cut short
                await asyncio.gather(*(child.kill() for child in self._all))
                self._all.clear()

    async def generate(
        self, provider: Provider, request: GenerationRequest, bench: Workbench
    ) -> AsyncGenerator[Step, None]:
        """Run one generation in a process; where none can be had, in the daemon."""
        if self._places.locked():
            if self._waiting >= MOST_WAITING:
                raise Exhausted(
                    f"{MOST_WAITING} generations of {provider.name} are waiting: try again when some are done",
                    reason="MEDIA_POOL_FULL",
                    retry_after=5.0,
                )
            yield Progress(-1.0, f"waiting until one of {MOST} generations is done")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        child = None
        try:
            child = await self._child()
            steps = provider.generate(request, bench) if child is None else self._made(child, provider.name, request)
            try:
                async for step in steps:
                    yield step
            finally:
                close = getattr(steps, "aclose", None)  # what a plugin has made may have none
                if close is not None:
                    await close()
        finally:
            self._put_back(child)

    async def _made(self, child: ChildProcess, provider: str, request: GenerationRequest) -> AsyncGenerator[Step, None]:
        steps = child.generate(provider, request, self._tasks)
        try:
            async with contextlib.aclosing(steps):
                async for step in steps:
                    yield step
        except ProviderError as error:
            if not child.ended.is_set():
                raise
            # What killed one process would kill the next one, too: it is not tried again by itself.
            raise ProviderError(
                f"{child.reason}; nothing else was harmed: where memory ran out, ask for something smaller",
                reason="PLUGIN_CRASHED",
            ) from error

    async def _child(self) -> ChildProcess | None:
        while self._idle:
            child, handle = self._idle.popitem()
            handle.cancel()
            if not child.ended.is_set():
                return child
            self._all.discard(child)
        child = ChildProcess(self._candidate, self._config, heavy=True)
        self._all.add(child)  # before it is there: `leave` ends also what is starting
        try:
            await self._check_unchanged()
            await child.start(self._tasks)
        except BaseException as error:
            self._all.discard(child)
            if self._closed and isinstance(error, Exception):
                raise ProviderError(
                    f"the plugin {self._candidate.name} was unloaded: try again",
                    retryable=True,
                    reason="PLUGIN_UNAVAILABLE",
                ) from None
            if not isinstance(error, ChildFailed):
                raise
            if error.died:  # such as for want of memory: what killed it is kept away from the daemon
                raise ProviderError(f"{error}; nothing else was harmed", reason="PLUGIN_CRASHED") from None
            log.warning("no process for heavy work: the daemon does it", plugin=self._candidate.name, why=str(error))
            return None
        return child

    async def _check_unchanged(self) -> None:
        # A file that changed may be broken, or be kept back while a show runs: what was loaded makes it, no other.
        path = self._candidate.path
        if path is not None:
            found = await asyncio.to_thread(drop_in, path)
            if found is None or found.digest != self._candidate.digest:
                raise ChildFailed(f"{path.name} is no longer what was loaded")

    def _put_back(self, child: ChildProcess | None) -> None:
        """Keep *child* for the next one; one that was left at work, or has ended, goes, and then its place is free."""
        if child is None or self._closed:  # `leave` ends all processes
            self._places.release()
        elif child.free:
            self._idle[child] = asyncio.get_running_loop().call_later(IDLE_S, self._expire, child)
            self._places.release()
        else:  # not in the task itself: one that is cancelled before its first step does nothing at all
            self._tasks.start(self._end(child), "end").add_done_callback(lambda _: self._places.release())

    def _expire(self, child: ChildProcess) -> None:
        if self._idle.pop(child, None) is not None:
            self._tasks.start(self._gone(child), "end an idle one")

    async def _end(self, child: ChildProcess) -> None:
        await child.settled()
        await self._gone(child)

    async def _gone(self, child: ChildProcess) -> None:
        await child.kill()
        self._all.discard(child)


class ApartProvider(Provider):
    """A heavy provider whose generations run in a workshop; all else it is asked is answered by itself."""

    def __init__(self, provider: Provider, workshop: Workshop) -> None:
        self.name = provider.name
        self.description = provider.description
        self.local = provider.local
        self.needs_key = provider.needs_key
        self.key_names = provider.key_names
        self.tiers = provider.tiers
        self.price_provider = provider.price_provider
        self.heavy = True
        self.itself = provider
        self._workshop = workshop
        workshop.enter()

    def models(self) -> Sequence[Model]:
        """Return its models."""
        return self.itself.models()

    def model(self, name: str) -> Model | None:
        """Have it look for one that is not listed."""
        return self.itself.model(name)

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Have it ask."""
        return await self.itself.discover(session)

    def lists_all(self, session: Session) -> bool:
        """Have it say."""
        return self.itself.lists_all(session)

    def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Make it in a process of its own."""
        return self._workshop.generate(self.itself, request, bench)

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Have it make vectors."""
        return await self.itself.embed(request, bench)

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Have it count."""
        return await self.itself.count_tokens(request)

    async def probe(self, session: Session) -> Condition:
        """Have it look."""
        return await self.itself.probe(session)

    async def cancel(self, session: Session, job: str) -> None:
        """Have it end a job."""
        await self.itself.cancel(session, job)

    def batch(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        """Have it make a batch."""
        return self.itself.batch(requests, session, job, bench)

    async def close(self) -> None:
        """Close it, and its processes with the last one of its plugin."""
        try:
            await self.itself.close()
        finally:
            await self._workshop.leave()


def itself(provider: Provider) -> Provider:
    """Return the provider that a stand-in has behind it: what it has of its own is seen there; others as they are."""
    return provider.itself if isinstance(provider, ApartProvider) else provider


def set_apart(brought: Brought, candidate: Candidate, config: Mapping[str, Any]) -> None:
    """Put stand-ins in the place of the heavy providers among what *candidate* has brought."""
    if not any(provider.heavy for provider, _ in brought.providers):
        return
    workshop = Workshop(candidate, config)
    brought.providers = [
        (ApartProvider(provider, workshop) if provider.heavy else provider, models)
        for provider, models in brought.providers
    ]
