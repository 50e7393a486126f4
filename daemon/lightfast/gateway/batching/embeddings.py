"""Texts into vectors: checked, looked up, sent together with those of others, paid for by each caller."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from lightfast.core.errors import DeadlineExceeded, InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tokens import Estimate
from lightfast.gateway.batching.convoy import MOST_TEXTS, MOST_TOKENS, Convoy, Part, Sums
from lightfast.gateway.batching.vectors import VectorCache
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.failures import together
from lightfast.gateway.leash import Leash, kept_to
from lightfast.gateway.ports import Load, Payer
from lightfast.gateway.rooms import Rooms
from lightfast.sdk import Usage

OUTPUT = "embedding"
MAX_TEXTS = 2048
MAX_TEXT = 128 * 1024
"""The longest text, in characters."""
DEFAULT_TIMEOUT = 60.0
MAX_TIMEOUT = 3600.0
_ESTIMATE = Estimate()
_GOES_ON = frozenset(("UNAVAILABLE", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "NOT_FOUND"))
"""Errors after which the same model elsewhere may help."""


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """Texts to turn into vectors; *dimensions* 0 means the model's own, *timeout* (seconds) 0 one minute."""

    model: str = ""
    texts: tuple[str, ...] = ()
    dimensions: int = 0
    project: str = ""
    run: str = ""
    timeout: float = 0.0
    price_consent: bool = False
    leash: Leash | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector of 32-bit floats for each text, what this caller has used and paid, and the model that made them.

    *saved_usd* is what vectors that were kept would have cost; *cache* is `exact` where all were kept.
    """

    vectors: tuple[array[float], ...]
    model: str
    usage: Usage
    cost_usd: float
    cost_basis: str
    saved_usd: float
    cache: str
    duration: float


class EmbeddingRoom:
    """Embeds; one convoy for each model and size of vectors. Where a model fails, only the same model may stand in."""

    def __init__(self, rooms: Rooms, cache: VectorCache | None = None) -> None:
        self.cache = VectorCache() if cache is None else cache
        self.sums = Sums()
        self.settled: Callable[[], Awaitable[None]] | None = None
        """Waits until the plugins are loaded: an unknown model waits for it before it is refused."""
        self._rooms = rooms
        self._convoys: dict[tuple[str, int], Convoy] = {}

    async def embed(self, call: EmbedCall, origin: str) -> Embedded:
        """Return vectors.

        Raises what the request is wrong in, `DeadlineExceeded`, `Exhausted`, and what the model has failed with.
        """
        self._rooms.may_write()
        timeout = _check(call)
        began = self._rooms.clock.monotonic()
        try:
            async with asyncio.timeout(timeout):
                return await self._embed(call, Payer(call.project, origin, call.run), began, began + timeout)
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"{call.model or 'the model'} had not made all vectors after {timeout:g} s: give it a longer timeout,"
                " or fewer texts"
            ) from late

    async def _embed(self, call: EmbedCall, payer: Payer, began: float, deadline: float) -> Embedded:
        failures: list[tuple[str, LightfastError]] = []
        try:
            records = await self._records(call)
        except NotFound:
            if self.settled is None:
                raise
            await self.settled()
            records = await self._records(call)
        for record in records:
            try:
                return await self._with(record, call, payer, began, deadline)
            except LightfastError as error:
                if error.status not in _GOES_ON or error.reason in {"BUDGET_EXCEEDED", "PRICE_UNKNOWN"}:
                    raise
                failures.append((record.name, error))
        raise together(failures)

    async def _records(self, call: EmbedCall) -> list[ModelRecord]:
        """Return the model, and the same model of other providers: vectors of different models never meet."""
        rooms = self._rooms
        tokens = sum(_ESTIMATE.count(text) for text in call.texts)
        if rooms.candidates is None:
            able = [record for record in rooms.catalog.models() if OUTPUT in record.model.outputs]
            found = [record for record in able if call.model in {"", record.name}]
            if found and call.leash is not None:
                found = kept_to(call.leash, found, rooms)
            found = found[:1]
            if not found:
                names = ", ".join(each.name for each in able)
                raise NotFound(
                    f"no model {call.model!r} makes vectors: there is {names or 'none'}",
                    reason="MODEL_NOT_FOUND",
                    field="model",
                )
            return found
        found = await rooms.candidates.ordered(
            call.model,
            OUTPUT,
            fallbacks=(),
            strict=False,
            needs=frozenset(),
            load=Load(input_tokens=min(tokens, MOST_TOKENS), output=OUTPUT),
            leash=call.leash,
        )
        return [record for record in found if record.model.name == found[0].model.name]

    async def _with(
        self, record: ModelRecord, call: EmbedCall, payer: Payer, began: float, deadline: float
    ) -> Embedded:
        keys = [VectorCache.key(record.name, call.dimensions, text) for text in call.texts]
        known = {text: vector for key, text in zip(keys, call.texts, strict=True) if (vector := self.cache.get(key))}
        wanted = [text for text in dict.fromkeys(call.texts) if text not in known]
        operation_id = new_id("embed")
        usage, cost, basis = Usage(), 0.0, "free" if record.model.free else ""
        if wanted:
            parts = self._parts(wanted, operation_id, payer, call, deadline)
            for part, (vectors, share, paid) in zip(parts, await self._through(record, call, parts), strict=True):
                known |= zip(part.texts, vectors, strict=True)
                usage += share
                cost += paid.cost_usd if paid is not None else share.cost_usd or 0.0
                basis = paid.basis if paid is not None else basis or "unknown"
        for key, text in zip(keys, call.texts, strict=True):
            self.cache.put(key, known[text])
        kept = [text for text in call.texts if text not in wanted]
        saved = await self._saved(record, payer, operation_id, kept) if kept else 0.0
        return Embedded(
            tuple(known[text] for text in call.texts),
            record.name,
            usage,
            cost,
            basis,
            saved,
            "" if wanted else "exact",
            self._rooms.clock.monotonic() - began,
        )

    def _parts(
        self, texts: Sequence[str], operation_id: str, payer: Payer, call: EmbedCall, deadline: float
    ) -> list[Part]:
        loop = asyncio.get_running_loop()
        groups: list[list[str]] = [[]]
        tokens = [0]
        for text in texts:
            count = max(1, _ESTIMATE.count(text))
            if groups[-1] and (len(groups[-1]) >= MOST_TEXTS or tokens[-1] + count > MOST_TOKENS):
                groups.append([])
                tokens.append(0)
            groups[-1].append(text)
            tokens[-1] += count
        return [
            Part(operation_id, payer, tuple(group), count, deadline, call.price_consent, loop.create_future())
            for group, count in zip(groups, tokens, strict=True)
        ]

    async def _through(self, record: ModelRecord, call: EmbedCall, parts: list[Part]) -> list[tuple]:  # type: ignore[type-arg]
        """Send *parts* through the convoy of the model; who is cancelled takes only its own texts back."""
        key = (record.name, call.dimensions)
        convoy = self._convoys.get(key)
        if convoy is None:
            for idle in [key for key, convoy in self._convoys.items() if convoy.idle]:
                del self._convoys[idle]
            convoy = self._convoys[key] = Convoy(self._rooms, record, call.dimensions, self.sums)
        try:
            convoy.add(parts)
            return list(await asyncio.gather(*(part.result for part in parts)))
        finally:
            for part in parts:
                if not part.result.done():
                    part.result.cancel()
                convoy.left(part)
                if part.result.done() and not part.result.cancelled():
                    part.result.exception()  # of several that failed, one is raised

    async def _saved(self, record: ModelRecord, payer: Payer, operation_id: str, texts: Sequence[str]) -> float:
        costs = self._rooms.costs
        if costs is None:
            return 0.0
        tokens = sum(_ESTIMATE.count(text) for text in texts)
        load = Load(input_tokens=tokens, characters=sum(map(len, texts)), output=OUTPUT)
        usd = costs.estimate(record, load).likely_usd
        if usd > 0:
            await costs.saved(operation_id, record, payer, usd, "exact")
        return usd


def _check(call: EmbedCall) -> float:
    """Return the timeout; raise what the request is wrong in."""
    if not 1 <= len(call.texts) <= MAX_TEXTS:
        raise InvalidArgument(f"{len(call.texts)} texts: give 1 to {MAX_TEXTS}", field="texts")
    for at, text in enumerate(call.texts):
        if not text.strip():
            raise InvalidArgument(f"text {at} is empty: there is nothing to make a vector of", field=f"texts[{at}]")
        if len(text) > MAX_TEXT:
            raise InvalidArgument(
                f"text {at} has {len(text)} characters, the most is {MAX_TEXT}: split it", field=f"texts[{at}]"
            )
    if call.dimensions < 0 or call.dimensions > 65_536:
        raise InvalidArgument(f"dimensions {call.dimensions}: use 0 to 65536", field="dimensions")
    if call.timeout == 0:
        return DEFAULT_TIMEOUT
    if not 0 < call.timeout <= MAX_TIMEOUT:
        raise InvalidArgument(f"the timeout is {call.timeout:g} s: use more than 0 and at most 3600", field="timeout")
    return call.timeout
