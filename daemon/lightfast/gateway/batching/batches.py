"""Batches: many requests as one operation that lasts.

Where a model has the capability `batch`, its service does the work, mostly cheaper and within a day. What counts is
written down before the next step: that it is about to be handed over, then the identity of the job, then each answer.
A restarted daemon takes the job up; one that was stopped between the first two cannot know whether the service took
the batch, and never hands it over again: it says so. Batches of other models are worked through here, a few at a time,
by the normal path (limits, budgets, cache), and the operation says so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from lightfast.core.errors import Cancelled, Exhausted, InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.gateway.batching.batch_after import AfterRun
from lightfast.gateway.batching.batch_rows import BatchItem, BatchRows, BatchState
from lightfast.gateway.batching.batch_run import GRACE, HereRun, Run
from lightfast.gateway.batching.batch_service import ServiceRun
from lightfast.gateway.calls import GenerateCall, ModelRecord, OperationStep
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.ports import Hold, Load
from lightfast.gateway.preparing import MAX_PROMPT, MAX_TEXTS
from lightfast.gateway.rooms import Rooms
from lightfast.gateway.schemas import AnswerSchema
from lightfast.gateway.settings import complete
from lightfast.sdk import BatchAnswer, Provider, Usage

log = structlog.get_logger("lightfast.gateway")

OUTPUT = "batch"
MAX_REQUESTS = 10_000
MOST_RUNNING = 32
"""So many batches are under way at most."""
LATER = "its service is told when its provider is there again, and what it has finished by then is booked"
LASTS = 72 * 3600.0
"""How long a batch may take, in seconds: services promise a day."""
Generate = Callable[[GenerateCall, str], AsyncIterator[OperationStep]]


@dataclass(frozen=True, slots=True)
class BatchCall:
    """Requests for one model: of each prompt, system, messages, schema, settings and the bound of the answer count."""

    model: str = ""
    requests: tuple[GenerateCall, ...] = ()
    project: str = ""
    price_consent: bool = False


class Batches:
    """The batches of this store; they run from when their provider is there until it leaves."""

    def __init__(self, rooms: Rooms, db: object, generate: Generate) -> None:
        """*generate* makes one answer by the normal path."""
        self.rows = BatchRows(db, rooms.operations)
        self.settled: Callable[[], Awaitable[None]] | None = None
        """Waits until the plugins are loaded: an unknown model waits for it before it is refused."""
        self._rooms, self._generate = rooms, generate
        self._waiting: dict[str, Operation] = {}
        self._runs: dict[str, Run] = {}
        self._held: dict[str, Hold | None] = {}
        """The money of those that rest."""
        self._after: dict[str, Run] = {}
        self._owing: dict[str, Operation] = {}
        """Those that were given up: their jobs are followed to the end, or wait for their provider."""
        self._closed = False

    def __len__(self) -> int:
        """How many are under way, or wait for their provider."""
        return len(self._runs) + len(self._waiting)

    async def start(self) -> None:
        """Read what a stopped daemon left running; it goes on when its provider comes."""
        await self.rows.clean()
        now = self._rooms.clock.now_ns()
        for operation in await self._rooms.operations.left():
            if operation.output != OUTPUT:
                continue
            if operation.deadline <= now:
                await self.rows.save(operation.ended(OperationState.FAILED, now, "its time was over"))
                continue
            self._rooms.operations.remember(operation)
            self._waiting[operation.operation_id] = operation
        for operation_id in await self.rows.owing():
            self._owing[operation_id] = await self._rooms.operations.get(operation_id)
        for provider in self._rooms.catalog.all():
            self.arrived(provider)

    def arrived(self, provider: Provider) -> None:
        """Go on with what waits for *provider*."""
        prefix = f"{provider.name}/"
        for operation in [each for each in self._waiting.values() if each.model.startswith(prefix)]:
            del self._waiting[operation.operation_id]
            self._rooms.tasks.start(self._take_up(operation), f"take up {operation.operation_id}")
        for operation in [each for each in self._owing.values() if each.model.startswith(prefix)]:
            del self._owing[operation.operation_id]
            self._rooms.tasks.start(self._follow(operation), f"follow {operation.operation_id}")

    def left(self, provider: Provider) -> None:
        """Let rest what works with *provider*, until it comes again."""
        for run in [run for run in (*self._runs.values(), *self._after.values()) if run.provider is provider]:
            run.rest()

    async def submit(self, call: BatchCall, origin: str) -> Operation:
        """Begin a batch; it is on the disk when this returns.

        Raises what it is wrong in, and `Exhausted` where too many are under way.
        """
        rooms = self._rooms
        rooms.may_write()
        if len(self) >= MOST_RUNNING:
            raise Exhausted(
                f"{len(self)} batches are under way: wait for one, or cancel one",
                reason="TOO_MANY_BATCHES",
                retry_after=60.0,
            )
        if not 1 <= len(call.requests) <= MAX_REQUESTS:
            raise InvalidArgument(f"{len(call.requests)} requests: give 1 to {MAX_REQUESTS}", field="requests")
        try:
            record = await self._record(call)
        except NotFound:
            if self.settled is None:
                raise
            await self.settled()
            record = await self._record(call)
        items = [_item(at, request, record) for at, request in enumerate(call.requests)]
        service = "batch" in record.model.capabilities
        now = rooms.clock.now_ns()
        operation = Operation(
            operation_id=new_id("op"),
            state=OperationState.RUNNING,
            model=record.name,
            output=OUTPUT,
            prompt="",
            seed=0,
            origin=origin,
            create_time=now,
            project=call.project,
            deadline=now + round(LASTS * 1e9),
            note="" if service else f"{record.name} has no batches at its service: worked through here, one by one",
        )
        state = BatchState(service, call.price_consent)
        await self.rows.add(operation, state, items)
        self._run(operation, state, record)
        return operation

    async def answers(self, operation_id: str) -> list[BatchAnswer]:
        """Return the answers of a batch so far, in the order of its requests."""
        return await self.rows.answers(operation_id)

    async def cancel(self, operation_id: str) -> Operation | None:
        """Cancel a batch, at its service, too; `None` where none of that identity is under way."""
        run = self._runs.get(operation_id)
        if run is not None:
            await run.stop(Cancelled(f"operation {operation_id} was cancelled"))
            return run.operation
        operation = self._waiting.pop(operation_id, None)
        if operation is None:
            return None
        hold = self._held.pop(operation_id, None)
        if hold is None and self._rooms.costs is not None:
            hold = await self._rooms.costs.taken_up(operation_id)
        state = await self.rows.state(operation_id)
        ended = operation.ended(
            OperationState.CANCELLED,
            self._rooms.clock.now_ns(),
            f"operation {operation_id} was cancelled; its service was not told, its provider is not there",
        )
        if hold is None or state is None or not operation.job_id:
            if hold is not None:
                await hold.settle(Usage(), failed=True)
            await self.rows.save(ended)
            return ended
        ended = replace(ended, note=LATER)
        await self.rows.save(ended, replace(state, owing=True))
        self._wait(ended, hold, self._owing)
        return ended

    def cancel_all(self, reason: str) -> int:
        """Tell all to end, without waiting for it; return how many there are."""
        for operation_id, run in self._runs.items():
            error = Cancelled(f"operation {operation_id} was cancelled: {reason}")
            self._rooms.tasks.start(run.stop(error), f"cancel {operation_id}")
        return len(self._runs)

    async def close(self) -> None:
        """Stop working; what is under way is left to the next daemon."""
        self._closed = True
        runs = [*self._runs.values(), *self._after.values()]
        for run in runs:
            run.rest()
        waits = [self._rooms.tasks.start(run.done.wait(), f"rest {run.operation.operation_id}") for run in runs]
        if waits:
            _, late = await asyncio.wait(waits, timeout=GRACE)
            for each in late:
                each.cancel()

    async def _record(self, call: BatchCall) -> ModelRecord:
        rooms = self._rooms
        if rooms.candidates is None:
            return rooms.catalog.match(GenerateCall(call.model, "text"))
        needs = {name for name in ("schema", "system") if any(getattr(request, name) for request in call.requests)}
        found = await rooms.candidates.ordered(
            call.model, "text", fallbacks=(), strict=True, needs=frozenset(needs), load=Load(output="text")
        )
        return found[0]

    async def _take_up(self, operation: Operation) -> None:
        state = await self.rows.state(operation.operation_id)
        records = [record for record in self._rooms.catalog.models() if record.name == operation.model]
        if state is None or not records:
            why = "what it was made of is gone" if state is None else f"there is no model {operation.model} any more"
            now = self._rooms.clock.now_ns()
            await self.rows.save(operation.ended(OperationState.FAILED, now, why))
            return
        self._run(operation, state, records[0])

    async def _follow(self, operation: Operation) -> None:
        """Follow the job of one that was given up."""
        state = await self.rows.state(operation.operation_id)
        records = [record for record in self._rooms.catalog.models() if record.name == operation.model]
        if self._closed or state is None or not records:  # the next daemon may know the model again
            return
        run = AfterRun(self._rooms, self.rows, operation, state, records[0])
        run.hold = self._held.pop(operation.operation_id, None)
        run.tells = True  # it may not have heard of it
        self._begin_after(run)

    def _begin_after(self, run: Run) -> None:
        self._after[run.operation.operation_id] = run
        run.start(self._after_over)

    def _after_over(self, run: Run) -> None:
        operation = run.operation
        self._after.pop(operation.operation_id, None)
        if run.owing and not self._closed:
            self._wait(operation, run.hold, self._owing)

    def _wait(self, operation: Operation, hold: Hold | None, waiting: dict[str, Operation]) -> None:
        """Let one wait for its provider."""
        waiting[operation.operation_id] = operation
        self._held[operation.operation_id] = hold
        name = operation.model.partition("/")[0]
        if self._rooms.catalog.has(name):  # it came again meanwhile
            self.arrived(self._rooms.catalog.provider(name))

    def _run(self, operation: Operation, state: BatchState, record: ModelRecord) -> None:
        if self._closed:
            return
        if state.service:
            run: Run = ServiceRun(self._rooms, self.rows, operation, state, record)
        else:
            run = HereRun(self._rooms, self.rows, operation, state, record, self._generate)
        run.hold = self._held.pop(operation.operation_id, None)
        self._runs[operation.operation_id] = run
        run.start(self._over)

    def _over(self, run: Run) -> None:
        operation = run.operation
        self._runs.pop(operation.operation_id, None)
        if self._closed:
            return
        if operation.state is OperationState.RUNNING:
            self._wait(operation, run.hold, self._waiting)
        elif run.owing and self._rooms.catalog.has(operation.model.partition("/")[0]):
            self._begin_after(run.after(AfterRun))
        elif run.owing:
            self._wait(operation, run.hold, self._owing)


def _item(at: int, request: GenerateCall, record: ModelRecord) -> BatchItem:
    """Check one request; what it is wrong in is said with its place."""
    where = f"requests[{at}]"
    if request.sources or request.target_path or request.template or request.window is not None:
        raise InvalidArgument(
            f"{where}: of a request in a batch only prompt, system, messages, schema, settings, seed and"
            " max_output_tokens count: leave sources, target_path, template and window out",
            field=where,
        )
    texts = [request.prompt, request.system, *(message.text for message in request.messages)]
    if not any(texts):
        raise InvalidArgument(f"{where}: it asks for nothing", field=f"{where}.prompt")
    if len(request.prompt) > MAX_PROMPT or sum(map(len, texts)) > MAX_TEXTS:
        raise InvalidArgument(f"{where}: its texts are too long", field=f"{where}.prompt")
    try:
        if request.schema:
            AnswerSchema(request.schema)
        settings = complete(record.model.settings, request.settings, record.name)
    except LightfastError as error:
        raise InvalidArgument(
            f"{where}: {error.message}", reason=error.reason, field=f"{where}.{error.field or ''}".rstrip(".")
        ) from error
    return BatchItem(
        request.prompt,
        settings,
        secrets.randbits(31) if request.seed is None else request.seed,
        request.system,
        request.messages,
        request.schema,
        request.max_output_tokens,
    )
