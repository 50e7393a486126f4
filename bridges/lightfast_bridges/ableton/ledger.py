"""Whose answer is it: what clients asked of Live through us, between marks.

Live works its messages off in order. So what a client sends is framed by two marks (see `asking`): whatever comes
back between them, and fits one of the questions, is the answer to it; what does not fit is an event, for whoever
listens; and an error between them was caused by that client. Where a mark is lost, so are the answers behind it, as
any datagram may be.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lightfast.sdk import Peer
from lightfast_bridges.ableton.asking import ERROR, MARK, MARKS
from lightfast_bridges.ableton.names import KINDS
from lightfast_bridges.ableton.paths import ids_of

MAX_SPANS = 1024
"""The most batches under way; the oldest is given up."""


class Found(Enum):
    """What a message from Live is."""

    MARK = "mark"
    ANSWER = "answer"
    ERROR = "error"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: where its answer comes, and how it begins; an address with `*` has many answers."""

    address: str
    begins: tuple[Any, ...] = ()

    def fits(self, address: str, args: tuple[Any, ...]) -> bool:
        """Say whether a message answers it."""
        if "*" in self.address:
            return re.fullmatch(re.escape(self.address).replace(r"\*", "[^/]+"), address) is not None
        return address == self.address and args[: len(self.begins)] == self.begins


def asks(address: str, args: Sequence[Any]) -> Ask:
    """Return the question that a message is; a message that is none has no answer that fits."""
    return Ask(address, ids_in(address, args))


def ids_in(address: str, args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the indices of a message; empty where it has none, or is not known."""
    parts = address.split("/")
    stem, name = (parts[2] if len(parts) > 2 else ""), "/".join(parts[4:])
    if stem not in KINDS:
        return ()
    count = KINDS[stem].ids + (name == "send" or name.startswith("parameter/"))
    return ids_of(args, count) or ()


@dataclass(slots=True, eq=False)
class _Span:
    peer: Peer
    first: int
    last: int
    asks: list[Ask]


class Ledger:
    """The batches of clients that Live has not worked off yet."""

    def __init__(self) -> None:
        self._spans: deque[_Span] = deque(maxlen=MAX_SPANS)
        self._current: _Span | None = None

    def __len__(self) -> int:
        return len(self._spans)

    def begin(self, peer: Peer, questions: list[Ask]) -> tuple[int, int]:
        """Note a batch of *peer*; return the marks to send before and after it."""
        span = _Span(peer, next(MARKS), next(MARKS), questions)
        self._spans.append(span)
        return span.first, span.last

    def clear(self) -> None:
        """Forget what was under way."""
        self._spans.clear()
        self._current = None

    def hear(self, address: str, args: tuple[Any, ...]) -> tuple[Found, Peer | None]:
        """Say what a message from Live is, and for whom."""
        if address == MARK and len(args) > 1 and self._mark(args[1]):
            return Found.MARK, None
        span = self._current
        if span is None:
            return Found.EVENT, None
        if address == ERROR:
            return Found.ERROR, span.peer
        for ask in span.asks:
            if ask.fits(address, args):
                if "*" not in ask.address:
                    span.asks.remove(ask)
                return Found.ANSWER, span.peer
        return Found.EVENT, None

    def _mark(self, mark: Any) -> bool:
        """Take a mark, if it is one of ours: what lies before it has been worked off."""
        found = next((span for span in self._spans if mark in (span.first, span.last)), None)
        if found is None:
            return False
        while self._spans[0] is not found:
            self._spans.popleft()
        self._current = found if mark == found.first else None
        if self._current is None:
            self._spans.popleft()
        return True
