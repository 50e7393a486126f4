"""One generation: drives a provider under a deadline and turns its steps into results.

The provider runs in a task of its own, so that nothing it does (awaiting for ever, swallowing
its cancellation, raising `SystemExit`) reaches the one who reads the steps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.context.entry import Set
from lightfast.core.clock import Clock
from lightfast.core.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    LightfastError,
    Unavailable,
)
from lightfast.core.redaction import hide
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import OperationStep, StepProgress, StepUsage
from lightfast.gateway.channel import StepChannel
from lightfast.gateway.operations import Operation, Operations, OperationState
from lightfast.host.guard import failure_of, guarded, guarded_await
from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    PluginError,
    Preview,
    Progress,
    Provider,
    ProviderError,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast.storage.blobs import Provenance
from lightfast_link.value import MAX_BYTES, Asset, Value

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.storage.blobs import BlobStore

log = structlog.get_logger("lightfast.gateway")

GRACE = 2.0
"""How long a cancelled provider may clean up, in seconds; then it is left behind and named in the log."""
PREVIEW_BYTES = 256 * 1024
"""The largest preview that is passed on."""
TEXT_BYTES = 16 * 1024 * 1024
"""The most text one generation may make."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms a generation works with."""

    store: Store
    blobs: BlobStore
    operations: Operations
    clock: Clock
    tasks: TaskGroup
    may_write: Callable[[], None]
    """Raises while nothing may be placed."""


class Generation:
    """One run of one provider; `start` it, read `channel`, and `stop` it when nobody reads any more."""

    def __init__(
        self,
        operation: Operation,
        provider: Provider,
        request: GenerationRequest,
        bench: Workbench,
        rooms: Rooms,
        *,
        timeout: float,
        sources: tuple[str, ...] = (),
    ) -> None:
        self.operation = operation
        self.provider = provider
        self.channel = StepChannel()
        self.done = asyncio.Event()
        self._request = request
        self._bench = bench
        self._rooms = rooms
        self._timeout = timeout
        self._sources = sources
        self._stop = asyncio.Event()
        self._stop_error: LightfastError | None = None
        self._usage = Usage()
        self._text: list[str] = []
        self._text_size = 0
        self._began = rooms.clock.monotonic()

    def start(self) -> None:
        """Begin; the first step says which model works with which seed."""
        self._tell(StepProgress(0.0, "started", self.operation.model, self.operation.seed))
        self._rooms.tasks.start(self._supervise(), f"{self.operation.operation_id}")

    async def stop(self, error: LightfastError) -> None:
        """Cancel it with *error* as the reason, and wait until it is over; one that is over stays as it is."""
        if self._stop_error is None:
            self._stop_error = error
            self._stop.set()
            self.channel.close(error)  # a sender that waits for room must not wait for a reader who left
        await self.done.wait()

    async def _supervise(self) -> None:
        error: LightfastError | None = Unavailable("the daemon failed over this generation: see its log")
        work = self._rooms.tasks.start(self._work(), f"{self.operation.operation_id}:provider")
        stop = self._rooms.tasks.start(self._stop.wait(), f"{self.operation.operation_id}:stop")
        try:
            await asyncio.wait({work, stop}, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                error = self._stop_error or DeadlineExceeded(
                    f"{self.operation.model} was not done after {self._timeout:g} s: ask for less, or give it a"
                    " longer timeout",
                    metadata={"operation_id": self.operation.operation_id},
                )
                await self._give_up(work)
            elif work.cancelled():
                error = Cancelled("the daemon is stopping", reason="STOPPING")
            else:
                error = work.result()
            error = await self._end(error)
        finally:
            stop.cancel()
            self.channel.close(error)
            self.done.set()

    async def _give_up(self, work: asyncio.Task[LightfastError | None]) -> None:
        work.cancel()
        _, late = await asyncio.wait({work}, timeout=GRACE)
        if late:
            log.error(
                "a provider does not obey its cancellation and is left behind",
                model=self.operation.model,
                operation=self.operation.operation_id,
            )

    async def _end(self, error: LightfastError | None) -> LightfastError | None:
        """Write the last row, with the result placed in the same unit of work; return what went wrong."""
        now = self._rooms.clock.now_ns
        if error is None:
            try:
                await self._succeed(self.operation.ended(OperationState.SUCCEEDED, now()))
                return None
            except LightfastError as refused:
                error = refused
        cancelled = isinstance(error, Cancelled) and error.reason != "STOPPING"
        state = OperationState.CANCELLED if cancelled else OperationState.FAILED
        self.operation = self.operation.ended(state, now(), error.message)
        log.info("generation ended", operation=self.operation.operation_id, state=state, reason=error.message)
        try:
            await self._rooms.operations.save(self.operation)
        except LightfastError:  # the next start of the daemon marks the row
            log.exception("the end of an operation cannot be written", operation=self.operation.operation_id)
        return error

    async def _succeed(self, operation: Operation) -> None:
        if operation.target_path:
            self._rooms.may_write()  # it may have been forbidden since this began
            unit = self._rooms.operations.unit()
            self._rooms.operations.write(unit, operation)
            applied = await self._rooms.store.apply(
                [Set(operation.target_path, await self._result())],
                origin=f"operation:{operation.operation_id}",
                group=operation.group,
                label=f"generated by {operation.model}",
                unit=unit,
            )
            self._rooms.operations.remember(operation)
            if not applied.revision:  # a signal is not committed, and its unit of work is not either
                await self._rooms.operations.save(operation)
        else:
            await self._rooms.operations.save(operation)
        self.operation = operation
        duration = self._rooms.clock.monotonic() - self._began
        usage = self._usage
        last = StepUsage(usage.input_tokens, usage.output_tokens, duration, usage.cost_usd)
        self.channel.finish(OperationStep(operation.operation_id, last))

    async def _result(self) -> Value:
        """Return what is placed in the context: the asset, a list of several, or the text."""
        assets = self.operation.assets
        if assets:
            return assets[0] if len(assets) == 1 else list(assets)
        text = "".join(self._text)
        if len(text.encode()) <= MAX_BYTES:
            return text
        return await self._store(Artifact("text/plain; charset=utf-8", text.encode(), "text.txt"))

    async def _work(self) -> LightfastError | None:
        """Drive the provider to its end; return what went wrong, if anything did."""
        model = self.operation.model
        made = guarded(self.provider.generate, self._request, self._bench)
        if made.error is not None or made.value is None:
            return _failed(model, made.error or TypeError("generate returned None: write it as an async generator"))
        steps: AsyncIterator[Step] = made.value
        try:
            while True:
                outcome = await guarded_await(_next(steps))
                if isinstance(outcome.error, StopAsyncIteration):
                    break
                if outcome.error is not None:
                    return _failed(model, outcome.error)
                try:
                    await self._take(outcome.value)
                except LightfastError as refused:
                    return refused
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                closed = await guarded_await(close())
                if closed.error is not None:
                    log.warning("a provider failed while it closed", model=model, reason=str(closed.error))
        if not self.operation.assets and not self._text:
            return _failed(model, ProviderError("it ended without a result"))
        return None

    async def _take(self, step: Any) -> None:
        match step:
            case Progress():
                self.operation = replace(self.operation, fraction=min(1.0, max(0.0, step.fraction)))
                self._rooms.operations.remember(self.operation)
                known = -1.0 if step.fraction < 0 else min(1.0, step.fraction)
                self._tell(StepProgress(known, step.message, self.operation.model, self.operation.seed))
            case Preview():
                if len(step.content) <= PREVIEW_BYTES:
                    self._tell(step)
                else:
                    log.warning("a preview is too large and left out", model=self.operation.model)
            case TextDelta():
                self._text_size += len(step.text)
                if self._text_size > TEXT_BYTES:
                    raise _failed(self.operation.model, ProviderError(f"its text exceeds {TEXT_BYTES} bytes"))
                self._text.append(step.text)
                await self.channel.put(OperationStep(self.operation.operation_id, step))
            case Artifact():
                asset = await self._store(step)
                self.operation = replace(self.operation, assets=(*self.operation.assets, asset))
                await self.channel.put(OperationStep(self.operation.operation_id, asset))
            case Usage():
                self._usage = Usage(
                    self._usage.input_tokens + step.input_tokens,
                    self._usage.output_tokens + step.output_tokens,
                    self._usage.cost_usd + step.cost_usd,
                )
            case _:
                raise _failed(
                    self.operation.model,
                    TypeError(f"it yielded {step!r:.80}, which is no step: see lightfast.sdk.Step"),
                )

    def _tell(self, kind: StepProgress | Preview) -> None:
        self.channel.offer(OperationStep(self.operation.operation_id, kind))

    async def _store(self, artifact: Artifact) -> Asset:
        operation = self.operation
        content: Any = artifact.content  # from a plugin: may be anything
        if not isinstance(content, bytes) or not artifact.media_type:
            raise _failed(operation.model, TypeError("an artifact needs a media type, and bytes as its content"))
        settings = {**self._request.settings, **artifact.settings, "seed": operation.seed}
        record = await self._rooms.blobs.put(
            artifact.content,
            artifact.media_type,
            artifact.name,
            Provenance(
                origin=operation.origin,
                generator=operation.model,
                prompt=operation.prompt,
                settings=json.dumps(settings, ensure_ascii=False, sort_keys=True, default=str),
                sources=self._sources,
            ),
        )
        return Asset(record.uri, record.media_type, record.sha256, record.size)


async def _next(steps: AsyncIterator[Step]) -> Step:
    return await anext(steps)


def _failed(model: str, error: BaseException) -> LightfastError:
    """Translate what a provider raised into the error its caller sees."""
    if isinstance(error, LightfastError):  # the media pool's: it says itself what to do
        return error
    metadata = {"model": model}
    if isinstance(error, ProviderError):
        kind: Callable[..., LightfastError] = Unavailable if error.retryable else FailedPrecondition
        return kind(hide(f"{model} failed: {error}"), reason=error.reason, metadata=metadata)
    failure = failure_of(error)
    if not isinstance(error, PluginError):
        log.error("a provider raised", model=model, reason=failure.reason, trace=failure.trace)
    reason = "PLUGIN_UNAVAILABLE" if failure.missing else "PROVIDER_FAILED"
    return FailedPrecondition(f"{model} failed: {failure.reason}", reason=reason, metadata=metadata)
