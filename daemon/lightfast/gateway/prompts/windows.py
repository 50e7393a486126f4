"""Fits a request into the window of a model: the answer's part is kept free, the rest is filled, never more.

window = answer + margin + system text + schema + prompt + messages + context

What is given must stay: the prompt, the system text, the schema, and system messages. Where it is too much, the oldest
turns of the conversation go first, then the part of an answer whose length nobody asked for shrinks to `LEAST_ANSWER`.
The context takes what is left, best first. All counts lean high.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.core.tokens import Estimate, TokenCounter
from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.gateway.ports import Fitted
from lightfast.gateway.prompts.counting import PER_MESSAGE, estimate
from lightfast.sdk import Message

MARGIN = 0.01
"""So much of a window stays free, for what nobody foresaw; at least `LEAST_MARGIN` tokens."""
LEAST_MARGIN = 16
ANSWER_SHARE = 0.25
"""At most so much of the window is kept for an answer whose length nobody asked for."""
LEAST_ANSWER = 256
UNKNOWN_CONTEXT = 4000
"""The tokens of context for a model whose window is not known, where the caller sets no bound."""
LEAST_CONTEXT = 16
"""With less left, no context is asked for."""
DENSEST = 4
"""So many times the estimate a text may take at most: a tokenizer of single bytes takes that of English."""
HEADING = "Context, as the applications hold it now:\n"
_TRIES = 4
_LESS = 0.9
"""What is packed again after an exact count gets so much of what that leaves."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Context that was packed: its text, and how many entries had no place."""

    text: str
    omitted: int


Pack = Callable[[Sequence[str], int, str, str], Awaitable[Packed]]
"""Returns the context of some patterns within a budget of tokens, for a model and a purpose."""
Exact = Callable[[GenerateCall, ModelRecord], Awaitable[int | None]]
"""Returns the count of the service itself; `None` where it offers none."""


@dataclass(frozen=True, slots=True)
class Room:
    """How a window is divided, in tokens: *total* 0 is not known; *answer* is kept free, *asked* says by whose wish."""

    total: int
    answer: int
    margin: int
    asked: bool

    @property
    def request(self) -> int:
        """What the request may take."""
        return self.total - self.answer - self.margin

    def least(self) -> Room:
        """Return it with the shortest answer, where nobody asked for a longer one."""
        return self if self.asked else replace(self, answer=min(self.answer, LEAST_ANSWER))


def room_of(call: GenerateCall, record: ModelRecord) -> Room:
    """Return how the window of a model is divided for a call."""
    total = record.model.context_tokens
    own = record.model.max_output_tokens
    margin = max(LEAST_MARGIN, math.ceil(total * MARGIN)) if total else 0
    if call.max_output_tokens:
        wanted = min(call.max_output_tokens, own) if own else call.max_output_tokens
        return Room(total, wanted, margin, asked=True)
    share = int(total * ANSWER_SHARE)
    return Room(total, min(own, share) if own else share, margin, asked=False)


async def fit(
    call: GenerateCall, record: ModelRecord, counter: TokenCounter, pack: Pack | None, exact: Exact | None = None
) -> Fitted:
    """Return *call* as it fits; see the module. Raises `FailedPrecondition` (CONTEXT_TOO_LONG, by how much)."""
    room = room_of(call, record)
    messages, left_out = _kept(call, room, counter)
    kept = replace(call, messages=messages) if left_out else call
    tokens = count(kept, counter)
    if room.total and tokens > room.request:
        room = room.least()
        if tokens > room.request:
            await _check_exactly(kept, record, room, tokens, exact)
            tokens = min(tokens, room.request)
    context, omitted, context_tokens = "", 0, 0
    if call.window is not None:
        if pack is None:
            raise FailedPrecondition("context cannot be packed here: leave `window` out", reason="NO_PROMPTS")
        left = room.request - tokens if room.total else call.window.max_tokens or UNKNOWN_CONTEXT
        context, omitted, context_tokens = await _context(kept, record, counter, pack, left)
        for again in range(_TRIES):
            over = await _over(kept, context, record, room, counter, exact)
            if over <= 1.0:
                break
            left = int(left / over * _LESS) if again < _TRIES - 1 else 0
            context, omitted, context_tokens = await _context(kept, record, counter, pack, left)
        if context:
            kept = replace(kept, prompt=f"{context}\n\n{call.prompt}")
            tokens = count(kept, counter)
    bound = call.max_output_tokens or record.model.max_output_tokens
    most = max(0, min(bound, room.total - room.margin - tokens)) if room.total and bound else 0
    plain = count(kept, Estimate())
    bare = replace(kept, window=None) if kept.window is not None else kept
    return Fitted(bare, tokens, plain, context, left_out, omitted, context_tokens, most)


async def _over(
    call: GenerateCall, context: str, record: ModelRecord, room: Room, counter: TokenCounter, exact: Exact | None
) -> float:
    """Return how many times over its room a request with its context is, by the count of the service itself.

    It is asked only where the estimate could be wrong by so much: words of one letter a token are `DENSEST` times it.
    """
    if not context or not room.total or exact is None:
        return 0.0
    asked = replace(call, prompt=f"{context}\n\n{call.prompt}")
    if count(asked, counter) * DENSEST <= room.request:
        return 0.0
    known = await exact(asked, record)
    return 0.0 if known is None else known / room.request


def count(call: GenerateCall, counter: TokenCounter) -> int:
    """Return what the texts of a call take, with what a service adds."""
    return estimate(counter, call.prompt, call.system, call.messages, call.schema)


def _kept(call: GenerateCall, room: Room, counter: TokenCounter) -> tuple[tuple[Message, ...], int]:
    """Return the messages that have a place, and how many were left out: the oldest that are not of the system.

    What is left does not begin with an answer to a question that is gone.
    """
    if not room.total or not call.messages:
        return call.messages, 0
    left = room.request - count(replace(call, messages=()), counter)
    costs = [PER_MESSAGE + counter.count(message.text) for message in call.messages]
    left -= sum(cost for cost, message in zip(costs, call.messages, strict=True) if message.role == "system")
    first = len(call.messages)
    while first > 0:
        message = call.messages[first - 1]
        if message.role != "system":
            if costs[first - 1] > left:
                break
            left -= costs[first - 1]
        first -= 1
    while first and first < len(call.messages) and call.messages[first].role != "user":
        first += 1
    kept = tuple(message for place, message in enumerate(call.messages) if place >= first or message.role == "system")
    return kept, len(call.messages) - len(kept)


async def _check_exactly(call: GenerateCall, record: ModelRecord, room: Room, tokens: int, exact: Exact | None) -> None:
    """Raise unless the service itself, which counts closer than the estimate, finds that it fits."""
    known = await exact(call, record) if exact is not None else None
    if known is not None and known <= room.request:
        return
    needed = known if known is not None else tokens
    over = needed - room.request
    answer = f"{room.answer} are kept for the answer" + (", as was asked" if room.asked else "")
    raise FailedPrecondition(
        f"the request takes {needed} tokens and {record.name} has room for {room.request} of its {room.total}"
        f" ({answer}): it is {over} too long: shorten the prompt, or take a model with a larger window",
        reason="CONTEXT_TOO_LONG",
        field="prompt",
        metadata={"model": record.name, "tokens": str(needed), "over": str(over)},
    )


async def _context(
    call: GenerateCall, record: ModelRecord, counter: TokenCounter, pack: Pack, left: int
) -> tuple[str, int, int]:
    """Return the context within *left* tokens, counted with the prompt it stands before; how much had no place."""
    window = call.window
    assert window is not None  # noqa: S101 — asked before
    if window.max_tokens < 0:
        raise InvalidArgument(f"the context may take {window.max_tokens} tokens: use 0 or more", field="window")
    bound = min(left, window.max_tokens) if window.max_tokens else left
    bare = count(call, counter)
    budget = bound - counter.count(HEADING + "\n\n") - 2
    omitted = 0
    for _ in range(_TRIES):
        if budget < LEAST_CONTEXT:
            break
        packed = await pack(window.patterns, budget, record.name, call.prompt)
        omitted = packed.omitted
        if not packed.text:
            break
        context = HEADING + packed.text.rstrip("\n")
        taken = count(replace(call, prompt=f"{context}\n\n{call.prompt}"), counter) - bare
        if taken <= bound:
            return context, omitted, taken
        budget -= max(taken - bound, budget // 8)  # tokens may span the seam
    return "", omitted, 0
