"""The one door to AI services: finds the model, checks the request, runs it under a deadline."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from lightfast.context.entry import Set
from lightfast.core.clock import Clock
from lightfast.core.errors import (
    Cancelled,
    Exhausted,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import (
    DEFAULT_TIMEOUT,
    MAX_TIMEOUT,
    GenerateCall,
    ModelRecord,
    OperationStep,
    ProviderRecord,
)
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.generation import Generation, Rooms
from lightfast.gateway.operations import Operation, Operations, OperationState
from lightfast.gateway.pool import MediaPool
from lightfast.gateway.settings import complete
from lightfast.host.guard import guarded_await
from lightfast.host.records import PluginRecord
from lightfast.sdk import GenerationRequest, Model, Provider
from lightfast_link.path import check_path
from lightfast_link.value import Asset

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.gateway")

MAX_PROMPT = 128 * 1024
"""The longest prompt, in characters."""
MAX_SOURCE_BYTES = 256 * 1024 * 1024
"""The most that the sources of one request may hold together, in bytes."""


class Gateway:
    """Routes generations to providers.

    At most *most* generations run at once, one more is refused with `Exhausted`. Plugins load after
    the doors are open: while *settled* is not done, an unknown model waits for it before it is refused.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        db: Database,
        clock: Clock,
        tasks: TaskGroup,
        *,
        most: int = 64,
        pool: MediaPool | None = None,
    ) -> None:
        self.settled: Callable[[], Awaitable[None]] | None = None
        """Set by the composition: waits until the plugins are loaded."""
        self.plugins: Callable[[], Sequence[PluginRecord]] = tuple
        """Set by the composition: the records of all plugins, to name providers that are not available."""
        self.may_write: Callable[[], None] = _always
        """Set by the composition: raises while nothing may be generated or placed."""
        self._store, self._blobs, self._clock, self._tasks = store, blobs, clock, tasks
        self._operations = Operations(db)
        self._pool = pool or MediaPool()
        self._most = most
        self._catalog = Catalog()
        self._running: dict[str, Generation] = {}
        self._leaving: list[Provider] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Mark the operations that a stopped daemon left running as failed."""
        failed = await self._operations.start(self._clock.now_ns())
        if failed:
            log.warning("operations had been left running", count=failed)

    async def close(self, budget: float = 5.0) -> None:
        """Stop what runs, as failed; close the providers and the pool."""
        error = Unavailable("the daemon stopped", reason="STOPPING")
        running = list(self._running.values())
        stops = {self._tasks.start(one.stop(error), f"stop {one.operation.operation_id}") for one in running}
        if stops:
            await asyncio.wait(stops, timeout=budget)
        for provider in self._catalog.all():
            self.unregister(provider)
        if self._closing:
            await asyncio.wait(self._closing, timeout=budget)
        self._pool.close()

    @property
    def running(self) -> int:
        """How many generations are under way."""
        return len(self._running)

    def register(self, provider: Provider, plugin_name: str, models: Sequence[Model] | None = None) -> None:
        """Take a provider; raise `AlreadyExists` where another plugin has one of that name."""
        self._catalog.add(provider, plugin_name, provider.models() if models is None else models)

    def unregister(self, provider: Provider) -> None:
        """Send nothing new to *provider*; it is closed when what runs on it is over."""
        if not self._catalog.remove(provider):
            return
        self._leaving.append(provider)
        self._close_idle()

    def _close_idle(self) -> None:
        busy = {id(generation.provider) for generation in self._running.values()}
        for provider in [provider for provider in self._leaving if id(provider) not in busy]:
            self._leaving.remove(provider)
            task = self._tasks.start(_close(provider), f"close {provider.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def providers(self) -> list[ProviderRecord]:
        """Return the providers by name, and those whose plugin could not be loaded with the reason."""
        return self._catalog.records(self.plugins())

    def models(self, output: str = "") -> list[ModelRecord]:
        """Return the models that make *output* (empty: all), ordered by name."""
        return self._catalog.models(output)

    async def generate(self, call: GenerateCall, origin: str) -> AsyncIterator[OperationStep]:
        """Run one generation and yield its steps; it is cancelled when the iterator is closed.

        Raises what a request can be wrong in before anything is started, `DeadlineExceeded`,
        `Cancelled`, and `Unavailable` or `FailedPrecondition` when the provider failed.
        """
        generation = await self._prepare(call, origin)
        operation_id = generation.operation.operation_id
        self._running[operation_id] = generation
        try:
            await self._operations.save(generation.operation)
            generation.start()
            try:
                while (step := await generation.channel.get()) is not None:
                    yield step
            finally:
                await generation.stop(Cancelled("the caller went away", metadata={"operation_id": operation_id}))
        finally:
            del self._running[operation_id]
            self._close_idle()

    async def operation(self, operation_id: str) -> Operation:
        """Return an operation; raise `NotFound`."""
        running = self._running.get(operation_id)
        return running.operation if running is not None else await self._operations.get(operation_id)

    async def cancel(self, operation_id: str) -> Operation:
        """Cancel an operation and return it; one that is over stays as it is. Raises `NotFound`."""
        running = self._running.get(operation_id)
        if running is not None:
            message = f"operation {operation_id} was cancelled"
            await running.stop(Cancelled(message, metadata={"operation_id": operation_id}))
            return running.operation
        return await self._operations.get(operation_id)

    def cancel_all(self, reason: str) -> int:
        """Tell everything under way to end, without waiting for it; return how much there is."""
        for operation_id, running in self._running.items():
            message = f"operation {operation_id} was cancelled: {reason}"
            error = Cancelled(message, metadata={"operation_id": operation_id})
            self._tasks.start(running.stop(error), f"cancel {operation_id}")
        return len(self._running)

    async def _prepare(self, call: GenerateCall, origin: str) -> Generation:
        self.may_write()
        if len(self._running) >= self._most:
            raise Exhausted(
                f"{self._most} generations run already: try again when one is done",
                reason="TOO_MANY_GENERATIONS",
                retry_after=5.0,
            )
        record = await self._find(call)
        output = call.output or record.model.outputs[0]
        timeout = _check_timeout(call.timeout)
        _check_prompt(call.prompt)
        settings = complete(record.model.settings, call.settings, record.name)
        sources = await self._sources(call.sources, record)
        operation = Operation(
            operation_id=new_id("op"),
            state=OperationState.RUNNING,
            model=record.name,
            output=output,
            prompt=call.prompt,
            seed=secrets.randbits(31) if call.seed is None else call.seed,
            origin=origin,
            create_time=self._clock.now_ns(),
            group=call.group,
            target_path=call.target_path,
        )
        if call.target_path:
            await self._check_target(call.target_path, output, origin)
        provider = self._catalog.provider(record.provider)
        request = GenerationRequest(record.model.name, output, call.prompt, settings, operation.seed, sources)
        rooms = Rooms(self._store, self._blobs, self._operations, self._clock, self._tasks, self.may_write)
        return Generation(operation, provider, request, self._pool, rooms, timeout=timeout, sources=tuple(call.sources))

    async def _find(self, call: GenerateCall) -> ModelRecord:
        try:
            return self._catalog.match(call)
        except NotFound:
            if self.settled is None:
                raise
            await self.settled()
            return self._catalog.match(call)

    async def _sources(self, wanted: Sequence[str], record: ModelRecord) -> tuple[bytes, ...]:
        if wanted and not set(record.model.inputs) - {"text"}:
            raise InvalidArgument(f"{record.name} takes no sources, only a prompt", field="sources")
        assets = [await self._blobs.get(sha256) for sha256 in wanted]
        total = sum(asset.size for asset in assets)
        if total > MAX_SOURCE_BYTES:
            raise InvalidArgument(
                f"the sources hold {total} bytes, the most is {MAX_SOURCE_BYTES}: use fewer or smaller ones",
                field="sources",
            )
        return tuple([await self._content(asset.sha256, asset.size) for asset in assets])

    async def _content(self, sha256: str, size: int) -> bytes:
        return b"".join([chunk async for chunk in self._blobs.read(sha256, 0, size)])

    async def _check_target(self, path: str, output: str, origin: str) -> None:
        """Refuse a target where the result could not be placed before the work is done, not after."""
        try:
            check_path(path)
        except ValueError as error:
            raise InvalidArgument(str(error), field="target_path") from None
        sample = "" if output == "text" else Asset("", f"{output}/*", "0" * 64, 0)
        await self._store.apply([Set(path, sample)], origin=origin, validate_only=True)


def _always() -> None:
    """Let everything be generated."""


async def _close(provider: Provider) -> None:
    outcome = await guarded_await(_bounded_close(provider))
    if outcome.error is not None:
        log.warning("a provider failed to close", provider=provider.name, reason=repr(outcome.error))


async def _bounded_close(provider: Provider) -> None:
    async with asyncio.timeout(5.0):
        await provider.close()


def _check_prompt(prompt: str) -> None:
    if len(prompt) > MAX_PROMPT:
        raise InvalidArgument(f"the prompt has {len(prompt)} characters, the most is {MAX_PROMPT}", field="prompt")


def _check_timeout(timeout: float) -> float:
    if timeout == 0:
        return DEFAULT_TIMEOUT
    if not 0 < timeout <= MAX_TIMEOUT:
        raise InvalidArgument(f"the timeout is {timeout:g} s: use more than 0 and at most 86400", field="timeout")
    return timeout
