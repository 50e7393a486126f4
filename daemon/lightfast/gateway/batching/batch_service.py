"""A batch at its service: handed over once, its job taken up as often as it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import structlog

from lightfast.core.errors import LightfastError, Unavailable
from lightfast.core.tokens import Estimate
from lightfast.gateway.batching.batch_rows import BatchItem, BatchRows, BatchState
from lightfast.gateway.batching.batch_run import Run
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.failures import is_of_account, may_try_again, translated, wait_asked
from lightfast.gateway.operations import Operation
from lightfast.gateway.ports import Load, Payer, Reservation
from lightfast.gateway.rooms import Rooms
from lightfast.gateway.within import within
from lightfast.host.guard import guarded, guarded_await
from lightfast.sdk import (
    BatchAnswer,
    GenerationRequest,
    Job,
    Limits,
    Progress,
    ProviderError,
    Session,
    Usage,
)

log = structlog.get_logger("lightfast.gateway")

WRITTEN_AT_ONCE = 200
"""So many answers of a service are written together."""
CANCEL_TIMEOUT = 10.0
LONGEST_WAIT = 60.0
"""The longest wait before a job is asked for again, in seconds."""
_REFUSED = frozenset(
    ("limit", "overloaded", "auth", "denied", "invalid", "not_found", "context", "too_large", "filtered")
)
"""With these a service says that it has not taken the batch."""
OWING = "its service was told to end it; what it has finished all the same is booked when it says so"
_ESTIMATE = Estimate()


class ServiceRun(Run):
    """A batch at its service. Its price is that of batches (`processing: batch`) where the price list knows one."""

    def __init__(
        self, rooms: Rooms, rows: BatchRows, operation: Operation, state: BatchState, record: ModelRecord
    ) -> None:
        super().__init__(rooms, rows, operation, state, record)
        self._place: Reservation | None = None
        self._session = Session()
        self._fresh: list[BatchAnswer] = []
        self._answered: set[int] = set()

    async def _work(self) -> None:
        operation = self.operation
        items = [item for _, item in await self._rows.items(operation.operation_id)]
        await self._money(items)
        if self._state.sent and not operation.job_id:
            raise Unavailable(
                "the daemon stopped while it handed the batch over, and the service may work on it: look there before"
                " you submit it again",
                reason="BATCH_UNCERTAIN",
            )
        tries = 0
        while (wait := await self._once(items, tries)) >= 0:
            tries += 1
            await asyncio.sleep(wait)
        missing = [at for at in range(len(items)) if at not in self._answered]
        await self._rows.answer(
            operation.operation_id, [BatchAnswer(at, error="the service gave no answer") for at in missing]
        )

    async def _once(self, items: list[BatchItem], tries: int) -> float:
        """Drive it once; return how long to wait before it is tried again, -1 where it is done."""
        self._answered = set()
        try:
            await self._drive(items)
        except (ProviderError, LightfastError) as error:
            told, kind = translated(self._record.name, error), getattr(error, "kind", "")
            if not self.operation.job_id and self._state.sent:
                if kind not in _REFUSED:
                    raise Unavailable(
                        f"{told.message}; the service may have taken the batch: look there before you submit it again",
                        reason="BATCH_UNCERTAIN",
                    ) from error
                await self._mark(sent=False)
            again = tries < self._rooms.patience.again
            passes = may_try_again(error) and (again or bool(self.operation.job_id))
            if not passes and not (again and is_of_account(error)):
                raise told from error
            log.info("a batch is asked for again", operation=self.operation.operation_id, reason=told.message)
            return max(wait_asked(error), min(LONGEST_WAIT, self._rooms.patience.wait(min(tries + 1, 16), 0.0)))
        finally:
            self._free_place()
            await self._write()
        return -1.0

    async def _money(self, items: list[BatchItem]) -> None:
        """Hold the money for all of it, once; one that goes on has it held already, or settled."""
        costs = self._rooms.costs
        if costs is None or self.hold is not None:
            return
        self.hold = await costs.taken_up(self.operation.operation_id)
        if self.hold is not None or self._state.held:
            return
        operation = self.operation
        self._session = await self._any_session()
        load = self._load(items)
        await costs.ready(self._record)
        self.hold = await costs.hold(
            operation.operation_id,
            self._record,
            costs.estimate(self._record, load),
            Payer(operation.project, operation.origin),
            account=self._session.account,
            consent=self._state.consent,
        )
        self.hold.keep()  # before the next row says so
        self._state = replace(self._state, held=True)
        await self._rows.save(self.operation, self._state)

    async def _any_session(self) -> Session:
        sessions = self._rooms.sessions
        return Session() if sessions is None else await sessions.any_session(self._record.provider)

    def _load(self, items: list[BatchItem]) -> Load:
        windows = self._rooms.windows
        count = windows.counter(self._record.name).count if windows is not None else _ESTIMATE.count
        texts = [
            text
            for item in items
            for text in (item.prompt, item.system, item.schema, *(message.text for message in item.messages))
            if text
        ]
        most = self._record.model.max_output_tokens
        bounds = [item.max_output_tokens or most for item in items]
        return Load(
            input_tokens=sum(map(count, texts)) + 8 * len(texts),
            most_output_tokens=sum(bounds) if all(bounds) else 0,
            characters=sum(map(len, texts)),
            output="text",
            settings={"processing": "batch"},
        )

    async def _drive(self, items: list[BatchItem]) -> None:
        """Hand it over or take it up, and take in the steps."""
        operation, rooms = self.operation, self._rooms
        if rooms.sessions is not None:  # what a batch holds has limits of its own; handing it over is one request
            self._place = await rooms.sessions.reserve(
                self._record, Load(output="text"), deadline=rooms.clock.monotonic() + 300.0, account=operation.account
            )
            self._session = self._place.session
        if not operation.job_id:
            await self._mark(sent=True)
        requests = [self._request(at, item) for at, item in enumerate(items)]
        made = guarded(self.provider.batch, requests, self._session, self.operation.job_id, rooms.pool)
        if made.error is not None or made.value is None:
            raise _raised(made.error or TypeError("batch returned None: write it as an async generator"), self._record)
        steps: AsyncIterator[Any] = made.value
        try:
            while True:
                outcome = await guarded_await(_next(steps))
                if isinstance(outcome.error, StopAsyncIteration):
                    return
                if outcome.error is not None:
                    raise _raised(outcome.error, self._record)
                await self._take(outcome.value, len(items))
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                await guarded_await(close())

    async def _mark(self, *, sent: bool) -> None:
        """Write down that it is handed over, or that it was refused."""
        self._state = replace(self._state, sent=sent)
        self.operation = replace(self.operation, account=self._session.account)
        await self._rows.save(self.operation, self._state)

    def _request(self, at: int, item: BatchItem) -> GenerationRequest:
        return GenerationRequest(
            self._record.model.name,
            "text",
            item.prompt,
            item.settings,
            item.seed,
            system=item.system,
            messages=item.messages,
            schema=json.loads(item.schema) if item.schema else None,
            max_output_tokens=item.max_output_tokens,
            session=self._session,
            idempotency_key=f"{self.operation.operation_id}.{at}",
        )

    async def _take(self, step: Any, count: int) -> None:
        match step:
            case Job():
                if step.job_id != self.operation.job_id:
                    self.operation = replace(self.operation, job_id=step.job_id)
                    await self._rows.save(self.operation)
                if self._place is not None:
                    self._place.settle(Usage(requests=1), 0.0)
                    self._place = None
            case Progress():
                await self._write()
                if step.fraction >= 0:
                    self._tell(step.fraction)
            case Limits():
                if self._place is not None:
                    self._place.tell(step)
            case BatchAnswer():
                if not 0 <= step.index < count:
                    raise ProviderError(f"it answered request {step.index} of {count}", kind="malformed")
                self._answered.add(step.index)
                self._fresh.append(step)
                if len(self._fresh) >= WRITTEN_AT_ONCE:
                    await self._write()
            case _:
                raise ProviderError(f"it yielded {step!r:.80}, which is no step of a batch", kind="malformed")

    async def _write(self) -> None:
        fresh, self._fresh = self._fresh, []
        if fresh:
            await self._rows.answer(self.operation.operation_id, fresh)

    def _free_place(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.release()

    async def _give_up(self) -> None:
        job = self.operation.job_id
        if not job:
            return
        outcome = await within(self._rooms.tasks, CANCEL_TIMEOUT, f"cancel {job}", self._cancel, job)
        if outcome.error is not None:
            log.warning("a batch could not be cancelled at its service", job=job, reason=repr(outcome.error))

    async def _cancel(self, job: str) -> None:
        sessions = self._rooms.sessions
        if sessions is not None:
            self._session = await sessions.any_session(self._record.provider, self.operation.account)
        await self.provider.cancel(self._session, job)

    async def _settle(self, usage: Usage, *, failed: bool) -> None:
        if self._goes_on(failed=failed):
            self._state = replace(self._state, owing=True)
            self.operation = replace(self.operation, note=OWING)
            return
        hold, self.hold = self.hold, None
        if hold is None:
            return
        if not self._state.sent:
            await hold.release()
            return
        paid = await hold.settle(usage, failed=failed)
        self.operation = replace(self.operation, cost_usd=paid.cost_usd, cost_basis=paid.basis)

    def _goes_on(self, *, failed: bool) -> bool:
        """Say whether its service may still finish some of it, which then has to be paid."""
        return failed and self.hold is not None and bool(self.operation.job_id)


async def _next(steps: AsyncIterator[Any]) -> Any:
    return await anext(steps)


def _raised(error: BaseException, record: ModelRecord) -> ProviderError | LightfastError:
    return error if isinstance(error, ProviderError) else translated(record.name, error)
