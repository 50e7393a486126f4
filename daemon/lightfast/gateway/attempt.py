"""One attempt at one model: a place within the limits, money held, the provider driven, both settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import structlog

from lightfast.core.errors import LightfastError, Unavailable
from lightfast.gateway.answer import Answer, Taken
from lightfast.gateway.calls import StepProgress
from lightfast.gateway.failures import is_of_account, may_try_again
from lightfast.gateway.order import Candidate, Order
from lightfast.gateway.ports import Attempt, Hold, Paid, Reservation
from lightfast.gateway.preparing import fit
from lightfast.gateway.rooms import Rooms
from lightfast.gateway.within import within
from lightfast.host.guard import guarded, guarded_await
from lightfast.sdk import (
    Artifact,
    Finish,
    GenerationRequest,
    Job,
    Limits,
    Preview,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
)
from lightfast.storage.blobs import Provenance
from lightfast_link.value import Asset, to_json

log = structlog.get_logger("lightfast.gateway")

PREVIEW_BYTES = 256 * 1024
"""The largest preview that is passed on."""
TEXT_BYTES = 16 * 1024 * 1024
"""The most text one generation may make, in characters."""
CANCEL_TIMEOUT = 5.0
"""How long a service may take to hear that a job is cancelled, in seconds."""
_TOLD_WAIT = 0.5
"""A longer wait for a place within the limits is told, in seconds."""
_LARGE = 64 * 1024
"""A longer answer is checked against its schema off the loop."""


class Try:
    """One attempt; `run` it once, then say by `told` what is done about its error."""

    def __init__(self, rooms: Rooms, order: Order, answer: Answer, candidate: Candidate) -> None:
        self._rooms, self._order, self._answer, self._candidate = rooms, order, answer, candidate
        self._record = candidate.record
        self._reservation: Reservation | None = None
        self._hold: Hold | None = None
        self._began = rooms.clock.monotonic()
        self._first = -1.0
        self._from = len(answer.text)
        self._settled = False
        self._sent = False
        self._paid: Paid | None = None
        self.provider: Provider | None = None
        self.session = Session()
        self.usage = Usage()
        self.account = ""

    async def run(self, prefix: str) -> BaseException | None:
        """Make the attempt, going on from *prefix*, or with the job that was taken; return what went wrong."""
        try:
            error = await self._run(prefix)
        except LightfastError as refused:
            error = refused
        except asyncio.CancelledError as cancelled:
            await self.settle(cancelled)
            raise
        except Exception as broken:  # noqa: BLE001 — a step with other fields than it has; it is told with its trace
            error = broken
        await self.settle(error)
        return error

    async def _run(self, prefix: str) -> BaseException | None:
        order, rooms, record = self._order, self._rooms, self._record
        try:
            self.provider = rooms.catalog.provider(record.provider)
        except KeyError:
            return Unavailable(f"the provider {record.provider} is gone", reason="PLUGIN_UNAVAILABLE")
        taken = self._answer.taken
        await fit(rooms, order.call, self._candidate)
        load = self._candidate.load
        if rooms.costs is not None:
            await rooms.costs.ready(record)
        if rooms.sessions is not None:
            of = {"account": taken.account} if taken is not None and taken.account else {}
            wait = rooms.sessions.delay(record, load)
            if _TOLD_WAIT < wait < float("inf"):  # an infinite one is refused at once, with the reason
                said = f"waiting for a place within the limits of {record.provider}, about {wait:.0f} s"
                self._answer.tell(StepProgress(self._answer.fraction, said, self._answer.model, order.seed))
            self._reservation = await rooms.sessions.reserve(record, load, deadline=order.deadline, **of)
            self.session = self._reservation.session
        self.account = self.session.account
        if taken is not None and taken.hold is not None:
            self._hold, taken.hold = taken.hold, None
        elif rooms.costs is not None:
            self._hold = await rooms.costs.hold(
                order.operation_id,
                record,
                rooms.costs.estimate(record, load),
                order.payer,
                account=self.account,
                most_usd=order.call.max_cost_usd,
                consent=order.call.price_consent,
            )
        request = order.request(
            self._candidate,
            self.session,
            prefix=prefix,
            job=taken.job_id if taken is not None else "",
            timeout=max(0.001, order.deadline - rooms.clock.monotonic()),
        )
        self._sent = True
        return await self._drive(self.provider, request) or await self._look()

    async def _drive(self, provider: Provider, request: GenerationRequest) -> BaseException | None:
        """Take in the steps of the provider; whatever it raises is returned."""
        made = guarded(provider.generate, request, self._rooms.pool)
        if made.error is not None or made.value is None:
            return made.error or TypeError("generate returned None: write it as an async generator")
        steps: AsyncIterator[Step] = made.value
        answer = self._answer
        task = asyncio.current_task()
        try:
            while True:
                try:
                    step = await anext(steps)
                except StopAsyncIteration:
                    return None
                except KeyboardInterrupt:
                    raise
                except asyncio.CancelledError as error:
                    if task is not None and task.cancelling():
                        raise
                    return error  # its own: a provider has failed with it like with any other
                except BaseException as error:  # noqa: BLE001 — whatever a plugin raises is contained
                    return error
                if answer.halted:  # it has swallowed its cancellation
                    raise asyncio.CancelledError
                if type(step) is TextDelta:
                    if wrong := self._bad_text(step):
                        return wrong
                    if step.text:
                        await answer.add_text(step)
                elif (wrong := await self._take(step, request)) is not None:
                    return wrong
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                closed = await guarded_await(close())
                if closed.error is not None:
                    log.warning("a provider failed while it closed", model=self._record.name, reason=str(closed.error))

    def _bad_text(self, step: TextDelta) -> BaseException | None:
        text: Any = step.text  # from a plugin: may be anything
        if type(text) is not str:
            return TypeError(f"it yielded a TextDelta of {type(text).__name__}: give it a text")
        if self._first < 0:
            self._first = self._rooms.clock.monotonic() - self._began
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return ProviderError("its text is no Unicode: it has a lone surrogate", kind="malformed")
        if self._answer.text_size + len(text) > TEXT_BYTES:
            return ProviderError(f"its text exceeds {TEXT_BYTES} characters", kind="too_large")
        return None

    async def _take(self, step: Any, request: GenerationRequest) -> BaseException | None:
        answer = self._answer
        match step:
            case Progress():
                answer.fraction = min(1.0, max(0.0, step.fraction))
                known = -1.0 if step.fraction < 0 else min(1.0, step.fraction)
                answer.tell(StepProgress(known, step.message, answer.model, self._order.seed))
            case Preview():
                if self._first < 0:
                    self._first = self._rooms.clock.monotonic() - self._began
                if len(step.content) <= PREVIEW_BYTES:
                    answer.tell(step)
                else:
                    log.warning("a preview is too large and left out", model=self._record.name)
            case TextDelta():  # a class of its own
                return await self._take(TextDelta(step.text), request)
            case Artifact():
                content: Any = step.content  # from a plugin: may be anything
                if not isinstance(content, bytes) or not step.media_type:
                    return TypeError("an artifact needs a media type, and bytes as its content")
                await answer.add_asset(await self._store(step, request))
            case Usage():
                self.usage += step
            case Limits():
                if self._reservation is not None:
                    self._reservation.tell(step)
            case Job():
                await self._keep_job(step, request)
            case Finish():
                answer.finish_reason = step.reason
            case _:
                return TypeError(f"it yielded {step!r:.80}, which is no step: see lightfast.sdk.Step")
        return None

    async def _keep_job(self, step: Job, request: GenerationRequest) -> None:
        """Write the identity of the job down; when this returns it survives a power cut."""
        answer = self._answer
        known = answer.taken
        if known is not None and (known.job_id, known.model) == (step.job_id, self._record.name):
            return
        answer.taken = Taken(self._record.name, step.job_id, self.account)
        settings = {name: to_json(value) for name, value in request.settings.items()}  # as they are read again
        answer.settings = json.dumps(settings, ensure_ascii=False)
        answer.model = self._record.name
        if self._hold is not None:
            self._hold.keep()
        await self._rooms.operations.save(answer.snapshot())

    async def _store(self, artifact: Artifact, request: GenerationRequest) -> Asset:
        order = self._order
        settings = {**request.settings, **artifact.settings, "seed": order.seed}
        record = await self._rooms.blobs.put(
            artifact.content,
            artifact.media_type,
            artifact.name,
            Provenance(
                origin=order.origin,
                generator=self._record.name,
                prompt=order.call.prompt if order.call.keep_prompt else "",
                settings=json.dumps(settings, ensure_ascii=False, sort_keys=True, default=str),
                sources=tuple(order.call.sources),
            ),
        )
        return Asset(record.uri, record.media_type, record.sha256, record.size)

    async def _look(self) -> BaseException | None:
        """Look at the whole answer."""
        answer, schema = self._answer, self._order.schema
        if not answer.passed:
            if answer.finish_reason == "filtered":
                return ProviderError("the service has filtered the answer", kind="filtered")
            return ProviderError("it ended without a result")
        if schema is None or not answer.text:
            return None
        text = "".join(answer.text)
        try:
            if len(text) > _LARGE:
                await self._rooms.pool.run(schema.check, text)
            else:
                schema.check(text)
        except ProviderError as unfit:
            if answer.finish_reason == "length":
                return ProviderError(
                    f"{unfit}; it was cut off: allow more than {self._order.call.max_output_tokens or 'its'} tokens",
                    kind="malformed",
                    reason=unfit.reason,
                )
            return unfit
        return None

    async def settle(self, error: BaseException | None) -> None:
        """Settle the place and the money, once; a job that may be taken up again keeps its money."""
        if self._settled:
            return
        self._settled = True
        counted = self.usage
        if self._sent and error is not None and counted == Usage():
            counted = self._guessed()
        self._settle_place(error, counted)
        hold, self._hold = self._hold, None
        taken = self._answer.taken
        if taken is not None and error is not None and (self._answer.stopping or may_try_again(error)):
            taken.hold = hold
            return
        if taken is not None and error is None:
            taken.hold = None
        await self._settle_money(hold, counted, failed=error is not None)

    def _settle_place(self, error: BaseException | None, counted: Usage) -> None:
        place = self._reservation
        if place is None:
            return
        if isinstance(error, ProviderError):
            if isinstance(error.limits, Limits):
                place.tell(error.limits)
            if is_of_account(error):
                place.refused(error)
                if self._first < 0:
                    place.release()
                    return
        if self._sent:
            place.settle(counted, self._rooms.clock.monotonic() - self._began)
        else:
            place.release()

    async def _settle_money(self, hold: Hold | None, counted: Usage, *, failed: bool) -> None:
        if hold is None:
            reported = self.usage.cost_usd
            basis = "reported" if reported is not None else "free" if self._record.model.free else "unknown"
            if self._sent:
                self._paid = Paid(reported or 0.0, basis)
        elif self._sent:
            booking = hold.book(counted, failed=failed)
            # What was paid is known; it is written together with the row of the end, which waits for it.
            if failed:
                await asyncio.wait({booking})
            else:
                self._answer.bookings.append(booking)
            self._paid = hold.paid
        else:
            await hold.release()
        if self._paid is not None:
            self._answer.pay(self.usage, self._paid)

    def _guessed(self) -> Usage:
        """Return what an attempt has used that broke off before it could say so; nothing where no text came."""
        if self._first < 0 or self._rooms.windows is None:
            return Usage()
        counter, load = self._rooms.windows.counter(self._record.name), self._candidate.load
        tokens = counter.count("".join(self._answer.text[self._from :]))
        # The counter leans high, and a service may send more than it was asked for: no more than was held is guessed.
        return Usage(load.input_tokens, min(tokens, load.most_output_tokens or tokens))

    def told(self, error: BaseException | None, action: str) -> None:
        """Tell the listeners of this attempt; *action* is what is done about the error."""
        rooms = self._rooms
        if not rooms.on_attempt:
            return
        cancelled = isinstance(error, asyncio.CancelledError)
        outcome = "ok" if error is None else "cancelled" if cancelled else "error"
        duration = rooms.clock.monotonic() - self._began
        attempt = Attempt(
            self._order.operation_id,
            self._record.name,
            self._record.provider,
            self.account,
            self._order.payer,
            outcome,
            "" if cancelled else action,
            None if cancelled else error,
            max(0.0, self._first),
            duration,
            self.usage,
            self._paid,
            rooms.clock.now_ns(),
            self._candidate.fitted.estimate if self._candidate.fitted is not None else 0,
        )
        for listener in rooms.on_attempt:
            listener(attempt)


async def give_job_up(rooms: Rooms, order: Order, tried: Try | None, taken: Taken) -> None:
    """Tell the service that a job is not wanted any more, within a bound; book what was held for it."""
    if tried is not None and tried.provider is not None:
        name, cancel = f"cancel a job of {taken.model}", tried.provider.cancel
        outcome = await within(rooms.tasks, CANCEL_TIMEOUT, name, cancel, tried.session, taken.job_id)
        if outcome.error is not None:
            log.warning("a job could not be cancelled", model=taken.model, job=taken.job_id, reason=repr(outcome.error))
    hold, taken.hold = taken.hold, None
    if hold is not None:
        await hold.settle(tried.usage if tried is not None else Usage(), failed=True)
