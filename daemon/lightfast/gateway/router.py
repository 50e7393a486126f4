"""The one door to AI services: checks a request, finds who could answer, and runs it under a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import AlreadyExists, Cancelled, Exhausted, LightfastError, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import GenerateCall, ModelRecord, OperationStep, ProviderRecord
from lightfast.gateway.generation import STOPPING, Generation
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.order import Order
from lightfast.gateway.pool import MediaPool
from lightfast.gateway.preparing import prepare
from lightfast.gateway.resuming import Leftovers
from lightfast.gateway.rooms import Rooms
from lightfast.host.guard import guarded_await
from lightfast.host.records import PluginRecord
from lightfast.sdk import Model, Provider

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.gateway")


class Gateway(Rooms):
    """Routes generations to providers.

    At most *most* generations run at once, one more is refused with `Exhausted`. Plugins load after
    the doors are open: while *settled* is not done, an unknown model waits for it before it is refused.
    The rooms of `Rooms` that may be `None` are set by the composition before `start`.
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
        super().__init__(store, blobs, db, clock, tasks, pool)
        self.settled: Callable[[], Awaitable[None]] | None = None
        """Set by the composition: waits until the plugins are loaded."""
        self.plugins: Callable[[], Sequence[PluginRecord]] = tuple
        """Set by the composition: the records of all plugins, to name providers that are not available."""
        self.stopping = False
        """Set when the daemon stops: whoever chose the identity of an operation comes back to its job."""
        self._most = most
        self._running: dict[str, Generation] = {}
        self._leftovers = Leftovers(self, self._take_up)
        self._leaving: list[Provider] = []
        self._closing: set[asyncio.Task[None]] = set()

    def forget(self, operation_ids: Sequence[str]) -> None:
        """Let go of operations that are kept in memory: their rows were changed."""
        self.operations.forget(operation_ids)

    async def start(self) -> None:
        """Look at what a stopped daemon left: operations with a job wait for their provider, others have failed."""
        waiting, failed = await self._leftovers.start()
        if waiting or failed:
            log.warning("operations had been left running", waiting=waiting, failed=failed)
        for provider in self.catalog.all():
            self._leftovers.arrived(provider)
        if self.batches is not None:
            await self.batches.start()

    async def close(self, budget: float = 5.0) -> None:
        """Stop what runs, as failed (a job is left to the next daemon); close the providers and the pool."""
        self._leftovers.close()
        if self.batches is not None:
            await self.batches.close()
        error = Unavailable("the daemon stopped", reason=STOPPING)
        running = list(self._running.values())
        stops = {self.tasks.start(one.stop(error), f"stop {one.operation.operation_id}") for one in running}
        if stops:
            await asyncio.wait(stops, timeout=budget)
        for provider in self.catalog.all():
            self.unregister(provider)
        if self._closing:
            await asyncio.wait(self._closing, timeout=budget)
        self.pool.close()

    @property
    def running(self) -> int:
        """How many generations are under way."""
        return len(self._running)

    def register(self, provider: Provider, plugin_name: str, models: Sequence[Model] | None = None) -> None:
        """Take a provider; raise `AlreadyExists` where another plugin has one of that name."""
        self.catalog.add(provider, plugin_name, provider.models() if models is None else models)
        self._leftovers.arrived(provider)
        if self.batches is not None:
            self.batches.arrived(provider)

    def unregister(self, provider: Provider) -> None:
        """Send nothing new to *provider*; it is closed when what runs on it is over."""
        if not self.catalog.remove(provider):
            return
        if self.batches is not None:
            self.batches.left(provider)
        self._leaving.append(provider)
        self._close_idle()

    def _close_idle(self) -> None:
        if not self._leaving:
            return
        busy = {id(generation.provider) for generation in self._running.values()}
        for provider in [provider for provider in self._leaving if id(provider) not in busy]:
            self._leaving.remove(provider)
            task = self.tasks.start(_close(provider), f"close {provider.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def providers(self) -> list[ProviderRecord]:
        """Return the providers by name, and those whose plugin could not be loaded with the reason."""
        return self.catalog.records(self.plugins())

    def models(self, output: str = "") -> list[ModelRecord]:
        """Return the models that make *output* (empty: all), ordered by name."""
        return self.catalog.models(output)

    async def generate(self, call: GenerateCall, origin: str) -> AsyncIterator[OperationStep]:
        """Run one generation and yield its steps; it is cancelled when the iterator is closed.

        Raises what a request can be wrong in before anything is started, `DeadlineExceeded`,
        `Cancelled`, and what the models have failed with.
        """
        self.may_write()
        self._check_room()
        order = await prepare(self, call, origin, self.settled)
        self._check_room()
        generation = Generation(self, order, self._operation(order))
        operation_id = order.operation_id
        if operation_id in self._running:
            raise AlreadyExists(f"operation {operation_id} is under way already", reason="OPERATION_EXISTS")
        self._running[operation_id] = generation
        try:
            if call.operation_id:
                await self.operations.save(generation.operation)
            generation.start()
            get = generation.channel.get
            try:
                while (step := await get()) is not None:
                    yield step
            finally:
                await generation.stop(self._left(call, operation_id))
        finally:
            del self._running[operation_id]
            self._close_idle()

    def _left(self, call: GenerateCall, operation_id: str) -> LightfastError:
        """Return why a generation ends that nobody reads any more."""
        if self.stopping and call.operation_id:
            return Unavailable("the daemon stopped", reason=STOPPING)
        return Cancelled("the caller went away", metadata={"operation_id": operation_id})

    def _check_room(self) -> None:
        if len(self._running) >= self._most:
            raise Exhausted(
                f"{self._most} generations run already: try again when one is done",
                reason="TOO_MANY_GENERATIONS",
                retry_after=5.0,
            )

    def _operation(self, order: Order) -> Operation:
        call, now = order.call, self.clock.now_ns()
        return Operation(
            operation_id=order.operation_id,
            state=OperationState.RUNNING,
            model=order.candidates[0].record.name,
            output=order.output,
            prompt=call.prompt if call.keep_prompt else "",
            seed=order.seed,
            origin=order.origin,
            create_time=now,
            group=call.group,
            target_path=call.target_path,
            project=call.project,
            run=call.run,
            sources=tuple(call.sources),
            deadline=now + round(order.timeout * 1e9),
        )

    def _take_up(self, generation: Generation) -> None:
        operation_id = generation.operation.operation_id
        self._running[operation_id] = generation
        generation.start()
        self.tasks.start(self._see_off(operation_id, generation), f"{operation_id}:taken up")

    async def _see_off(self, operation_id: str, generation: Generation) -> None:
        await generation.done.wait()
        self._running.pop(operation_id, None)
        self._close_idle()

    async def operation(self, operation_id: str) -> Operation:
        """Return an operation; raise `NotFound`."""
        running = self._running.get(operation_id)
        return running.operation if running is not None else await self.operations.get(operation_id)

    async def list_operations(
        self, *, running_only: bool = False, project: str = "", size: int = 0, token: str = ""
    ) -> tuple[list[Operation], str]:
        """Return a page of operations, the newest first, and the token of the next one."""
        for running in self._running.values():
            running.write_row()
        await self.operations.flush()
        found, more = await self.operations.page(running_only=running_only, project=project, size=size, token=token)
        under_way = self._running
        found = [under_way[each.operation_id].operation if each.operation_id in under_way else each for each in found]
        return found, more

    async def cancel(self, operation_id: str) -> Operation:
        """Cancel an operation and return it; one that is over stays as it is. Raises `NotFound`."""
        running = self._running.get(operation_id)
        if running is not None:
            message = f"operation {operation_id} was cancelled"
            await running.stop(Cancelled(message, metadata={"operation_id": operation_id}))
            return running.operation
        if self.batches is not None and (ended := await self.batches.cancel(operation_id)) is not None:
            return ended
        return await self._leftovers.cancel(operation_id) or await self.operations.get(operation_id)

    def cancel_all(self, reason: str) -> int:
        """Tell everything under way to end, without waiting for it; return how much there is."""
        for operation_id, running in self._running.items():
            message = f"operation {operation_id} was cancelled: {reason}"
            error = Cancelled(message, metadata={"operation_id": operation_id})
            self.tasks.start(running.stop(error), f"cancel {operation_id}")
        batches = self.batches.cancel_all(reason) if self.batches is not None else 0
        return len(self._running) + batches


async def _close(provider: Provider) -> None:
    outcome = await guarded_await(_bounded_close(provider))
    if outcome.error is not None:
        log.warning("a provider failed to close", provider=provider.name, reason=repr(outcome.error))


async def _bounded_close(provider: Provider) -> None:
    async with asyncio.timeout(5.0):
        await provider.close()
