"""Texts for one model that go out together.

A convoy sends at once while nothing of it is under way; what comes meanwhile gathers and goes with the next request. So
nobody waits for company, and a crowd goes in few requests. Requests are bounded by texts and by tokens; a crowd that
fills one does not wait for the one before, up to `AT_ONCE`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from lightfast.core.errors import Exhausted, LightfastError, Unavailable
from lightfast.gateway.batching.shares import split_usage
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.failures import is_of_account, may_try_again, translated, wait_asked
from lightfast.gateway.ports import Attempt, Hold, Load, Paid, Payer, Reservation
from lightfast.gateway.rooms import Rooms
from lightfast.host.guard import guarded_await
from lightfast.sdk import EmbeddingRequest, Embeddings, Limits, ProviderError, Session, Usage

log = structlog.get_logger("lightfast.gateway")

MOST_TEXTS = 100
"""So many texts go in one request at most: the smallest bound of the services."""
MOST_TOKENS = 100_000
"""So many tokens, by estimate."""
AT_ONCE = 4
"""So many requests of one convoy are under way at most."""
MOST_WAITING = 20_000
"""So many texts wait in one convoy at most; more are refused."""
_SPLITS = frozenset(("invalid", "context", "too_large", "filtered"))
"""What may be the fault of one text."""
_MAY_COST = frozenset(("timeout", "malformed"))
"""After these nobody knows whether the service has counted it."""


@dataclass(eq=False, slots=True)
class Part:
    """What one caller has in a request: at most `MOST_TEXTS` texts; *deadline* on the monotonic clock, in seconds."""

    operation_id: str
    payer: Payer
    texts: tuple[str, ...]
    tokens: int
    deadline: float
    consent: bool
    result: asyncio.Future[tuple[list[array[float]], Usage, Paid | None]]
    hold: Hold | None = None
    most_usd: float = 0.0

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.result.done()

    def fail(self, error: LightfastError) -> None:
        """Tell the caller."""
        if not self.result.done():
            self.result.set_exception(error)


@dataclass(slots=True)
class Sums:
    """What convoys did since the daemon started."""

    requests: int = 0
    texts: int = 0
    parts: int = 0
    splits: int = 0


@dataclass(slots=True)
class _Try:
    """One request under way."""

    parts: list[Part]
    began: float
    reservation: Reservation | None = None
    session: Session = field(default_factory=Session)
    sent: bool = False


class Convoy:
    """The requests to one model, for vectors of one size."""

    def __init__(self, rooms: Rooms, record: ModelRecord, dimensions: int, sums: Sums) -> None:
        self._rooms, self._record, self._dimensions, self._sums = rooms, record, dimensions, sums
        self._waiting: deque[Part] = deque()
        self._texts = 0
        self._tokens = 0
        self._under_way = 0
        self._sent: dict[Part, asyncio.Task[Any]] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not self._under_way

    def add(self, parts: Sequence[Part]) -> None:
        """Take parts; raise `Exhausted` where too much waits already."""
        texts = sum(len(part.texts) for part in parts)
        if self._texts + texts > MOST_WAITING:
            raise Exhausted(
                f"{self._texts} texts wait for {self._record.name} already: try again in a moment",
                reason="EMBED_QUEUE_FULL",
                retry_after=1.0,
            )
        self._waiting.extend(parts)
        self._texts += texts
        self._tokens += sum(part.tokens for part in parts)
        self._go()

    def left(self, part: Part) -> None:
        """Take note that a caller waits no longer; a request that nobody waits for is cancelled."""
        task = self._sent.get(part)
        if task is not None and all(other.gone for other, its in self._sent.items() if its is task):
            task.cancel()

    def _go(self) -> None:
        full = self._texts >= MOST_TEXTS or self._tokens >= MOST_TOKENS
        while self._waiting and (not self._under_way or (full and self._under_way < AT_ONCE)):
            self._under_way += 1
            self._rooms.tasks.start(self._run(), f"embed {self._record.name}")  # begins after all of this turn came
            full = self._texts >= MOST_TEXTS * (self._under_way + 1)

    async def _run(self) -> None:
        parts: list[Part] = []
        try:
            parts = self._take()
            if parts:
                await self._send(parts)
        finally:
            for part in parts:  # nobody is left waiting, whatever happened
                part.fail(Unavailable("the daemon stopped before the vectors were made", reason="STOPPING"))
            self._under_way -= 1
            self._go()

    def _take(self) -> list[Part]:
        """Take as many parts as go in one request."""
        taken: list[Part] = []
        texts = tokens = 0
        while self._waiting:
            part = self._waiting[0]
            fits = texts + len(part.texts) <= MOST_TEXTS and tokens + part.tokens <= MOST_TOKENS
            if taken and not part.gone and not fits:
                break
            self._waiting.popleft()
            self._texts -= len(part.texts)
            self._tokens -= part.tokens
            if not part.gone:
                taken.append(part)
                texts += len(part.texts)
                tokens += part.tokens
        return taken

    async def _send(self, parts: list[Part]) -> None:
        """Send what is left of *parts* until it is answered, or has failed for good."""
        tries = 0
        while parts := [part for part in parts if not part.gone]:
            tries += 1
            error = await self._try(parts)
            if error is None:
                return
            kind = error.kind if isinstance(error, ProviderError) else ""
            together = len(parts) > 1
            parts = [part for part in parts if not part.gone]
            if kind in _SPLITS and together:  # it may have been the text of another, who may have left meanwhile
                self._sums.splits += 1
                middle = len(parts) // 2
                await self._send(parts[:middle])
                await self._send(parts[middle:])
                return
            patience, now = self._rooms.patience, self._rooms.clock.monotonic()
            wait = patience.wait(tries, wait_asked(error))
            again = tries <= patience.again and (may_try_again(error) or is_of_account(error))
            late = [part for part in parts if not again or now + wait >= part.deadline]
            for part in late:
                part.fail(translated(self._record.name, error))
            if len(late) < len(parts):
                await asyncio.sleep(wait)

    async def _try(self, parts: list[Part]) -> BaseException | None:
        """Make one request; every part in it is answered, or has failed by itself, or the error of all is returned."""
        one = _Try(parts, self._rooms.clock.monotonic())
        error: BaseException | None = None
        usage, paid = Usage(), None
        try:
            await self._prepare(one)
            if one.parts:
                found = await self._call(one)
                usage = found.usage
                paid = await self._answer(one, found)
        except (LightfastError, ProviderError) as raised:
            error = raised
        except asyncio.CancelledError as raised:
            error = raised
            raise
        finally:
            await self._settle(one, error, usage)
            if one.parts:
                self._tell(one, error, usage, paid)
        return error

    async def _prepare(self, one: _Try) -> None:
        """Get a place within the limits, and hold the money of each; whose money is not to be had fails alone."""
        rooms, record = self._rooms, self._record
        if rooms.candidates is not None and not rooms.candidates.allowed(record.name):
            raise Unavailable(f"{record.name} has failed too often and rests", reason="CIRCUIT_OPEN", retry_after=5.0)
        if rooms.costs is not None:
            await rooms.costs.ready(record)
        if rooms.sessions is not None:
            deadline = max(part.deadline for part in one.parts)
            one.reservation = await rooms.sessions.reserve(record, _load(one.parts), deadline=deadline)
            one.session = one.reservation.session
        if rooms.costs is not None:
            for part in one.parts:
                if part.gone:
                    continue
                try:
                    part.hold = await rooms.costs.hold(
                        part.operation_id,
                        record,
                        rooms.costs.estimate(record, _load([part])),
                        part.payer,
                        account=one.session.account,
                        consent=part.consent,
                    )
                except LightfastError as refused:
                    part.fail(refused)
        for part in one.parts:
            if part.gone and part.hold is not None:
                await _release(part)
        one.parts = [part for part in one.parts if not part.gone]

    async def _call(self, one: _Try) -> Embeddings:
        rooms, record = self._rooms, self._record
        try:
            provider = rooms.catalog.provider(record.provider)
        except KeyError:
            raise Unavailable(f"the provider {record.provider} is gone", reason="PLUGIN_UNAVAILABLE") from None
        texts = tuple(text for part in one.parts for text in part.texts)
        timeout = max(0.001, max(part.deadline for part in one.parts) - rooms.clock.monotonic())
        request = EmbeddingRequest(record.model.name, texts, self._dimensions, one.session, timeout)
        one.sent = True
        self._sums.requests += 1
        self._sums.texts += len(texts)
        self._sums.parts += len(one.parts)
        task = rooms.tasks.start(guarded_await(provider.embed(request, rooms.pool)), f"embed {record.name} call")
        self._sent |= dict.fromkeys(one.parts, task)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout)
        finally:
            for part in one.parts:
                self._sent.pop(part, None)
            if not task.done():
                task.cancel()
        if not done:
            raise ProviderError(f"it did not answer within {timeout:g} s", kind="timeout")
        if task.cancelled():
            raise ProviderError("nobody waited for it any more", kind="failed")
        outcome = task.result()
        if outcome.error is not None:
            if isinstance(outcome.error, ProviderError):
                raise outcome.error
            raise translated(record.name, outcome.error)
        return _checked(outcome.value, len(texts))

    async def _answer(self, one: _Try, found: Embeddings) -> Paid | None:
        """Give each its vectors and its share of what was used; settle its money, also where its caller has left."""
        shares = split_usage(found.usage, [part.tokens for part in one.parts])
        at = 0
        total: Paid | None = None
        for part, share in zip(one.parts, shares, strict=True):
            vectors = [array("f", vector) for vector in found.vectors[at : at + len(part.texts)]]
            at += len(part.texts)
            hold, part.hold = part.hold, None
            try:
                paid = await hold.settle(share) if hold is not None else None
            except LightfastError as unwritten:
                part.fail(unwritten)
                continue
            if paid is not None:
                total = Paid(paid.cost_usd + (total.cost_usd if total is not None else 0.0), paid.basis)
            if not part.gone:
                part.result.set_result((vectors, share, paid))
        return total

    async def _settle(self, one: _Try, error: BaseException | None, usage: Usage) -> None:
        """Give back the place, and the money that is still held."""
        place = one.reservation
        if place is not None:
            if isinstance(error, ProviderError):
                if isinstance(error.limits, Limits):
                    place.tell(error.limits)
                if is_of_account(error):
                    place.refused(error)
            if one.sent and not (error is not None and is_of_account(error)):
                place.settle(usage, self._rooms.clock.monotonic() - one.began)
            else:
                place.release()
        may_cost = one.sent and (isinstance(error, asyncio.CancelledError) or getattr(error, "kind", "") in _MAY_COST)
        for part in one.parts:
            hold, part.hold = part.hold, None
            if hold is None:
                continue
            if may_cost:
                await hold.settle(Usage(input_tokens=part.tokens), failed=True)
            else:
                await hold.release()

    def _tell(self, one: _Try, error: BaseException | None, usage: Usage, paid: Paid | None) -> None:
        if not self._rooms.on_attempt or not one.sent:
            return
        cancelled = isinstance(error, asyncio.CancelledError)
        first = one.parts[0]
        attempt = Attempt(
            first.operation_id,
            self._record.name,
            self._record.provider,
            one.session.account,
            first.payer,
            "ok" if error is None else "cancelled" if cancelled else "error",
            "" if error is None or cancelled else "retried" if may_try_again(error) else "failed",
            None if cancelled else error,
            0.0,
            self._rooms.clock.monotonic() - one.began,
            usage,
            paid,
            self._rooms.clock.now_ns(),
        )
        for listener in self._rooms.on_attempt:
            listener(attempt)


async def _release(part: Part) -> None:
    hold, part.hold = part.hold, None
    if hold is not None:
        await hold.release()


def _load(parts: Sequence[Part]) -> Load:
    return Load(
        input_tokens=sum(part.tokens for part in parts),
        characters=sum(len(text) for part in parts for text in part.texts),
        output="embedding",
    )


def _checked(found: Any, count: int) -> Embeddings:
    """Return what a provider has answered, if it is what was asked for."""
    if not isinstance(found, Embeddings):
        raise ProviderError(f"it answered with {type(found).__name__}, not with Embeddings", kind="malformed")
    if len(found.vectors) != count:
        raise ProviderError(f"it made {len(found.vectors)} vectors of {count} texts", kind="malformed")
    if len({len(vector) for vector in found.vectors}) > 1:
        raise ProviderError("its vectors differ in size", kind="malformed")
    if not all(len(vector) for vector in found.vectors):
        raise ProviderError("its vectors are empty", kind="malformed")
    return found
