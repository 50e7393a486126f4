"""Questions to AbletonOSC and their answers.

Nothing in the protocol ties an answer to its question but the address and the indices it repeats,
and errors come on `/live/error` with no tie at all. Two of its habits help: messages are worked
off in order, and a getter of the song repeats what else it was sent. So a getter with a number
nobody else uses is a *mark*: when it comes back, everything sent before it has been answered, and
an error between two marks belongs to what was sent between them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ERROR = "/live/error"
MARK = "/live/song/get/is_playing"
WINDOW = 128
"""The most questions under way: Live empties its socket once per tick, and its buffer is small."""
TIMEOUT = 1.0
"""Seconds until a question is asked again; Live answers within 0.15 s."""
TRIES = 3

Send = Callable[..., None]
MARKS = itertools.count(1_000_001)
"""Numbers unlike any index or value, each used once."""


class NoAnswerError(Exception):
    """Live did not answer."""


@dataclass(slots=True, eq=False)
class _Question:
    """What an answer must look like: its address, what it begins with, what it ends with."""

    address: str
    begins: tuple[Any, ...]
    ends: tuple[Any, ...]
    answer: asyncio.Future[tuple[Any, ...]]


@dataclass(slots=True, eq=False)
class Span:
    """What was heard between two marks."""

    first: int
    last: int
    address: str
    done: asyncio.Future[None]
    open: bool = False
    errors: list[str] = field(default_factory=list)
    answer: tuple[Any, ...] | None = None


class Asker:
    """Asks, and finds the answers in what `hear` is given."""

    def __init__(self, send: Send, window: int = WINDOW) -> None:
        """*window* is how many questions may be under way: about as many as Live works off per tick."""
        self._send = send
        self.absent: set[tuple[Any, ...]] = set()
        """What this AbletonOSC has not, which is not asked for again."""
        self._questions: dict[str, list[_Question]] = {}
        self._spans: list[Span] = []
        self._window = asyncio.Semaphore(window)
        self.last_error = ""

    def hear(self, address: str, args: tuple[Any, ...]) -> bool:
        """Take one message: it may answer a question (then true), be an error, or be none of our business."""
        if address == ERROR:
            self.last_error = " ".join(str(arg) for arg in args)
        for span in self._spans:
            self._hear_span(span, address, args)
        for question in self._questions.get(address, ()):
            if _fits(question, args) and not question.answer.done():
                question.answer.set_result(args)
                return True
        return False

    def _hear_span(self, span: Span, address: str, args: tuple[Any, ...]) -> None:
        if address == MARK and args[1:2] == (span.first,):
            span.open = True
        elif address == MARK and args[1:2] == (span.last,):
            span.open = False
            if not span.done.done():
                span.done.set_result(None)
        elif span.open and address == ERROR:
            span.errors.append(self.last_error)
        elif span.open and address == span.address and span.answer is None:
            span.answer = args

    async def ask(
        self,
        address: str,
        *args: Any,
        reply: str = "",
        begins: tuple[Any, ...] | None = None,
        ends: tuple[Any, ...] = (),
        timeout: float = TIMEOUT,
        tries: int = TRIES,
    ) -> tuple[Any, ...]:
        """Ask and return all arguments of the answer; raise `NoAnswerError` after *tries*.

        The answer comes on *reply* (empty: the same address) and begins with *begins* (None: *args*).
        """
        loop = asyncio.get_running_loop()
        question = _Question(reply or address, args if begins is None else begins, ends, loop.create_future())
        async with self._window:
            waiting = self._questions.setdefault(question.address, [])
            waiting.append(question)
            try:
                for _ in range(tries):
                    self._send(address, *args)
                    done, _ = await asyncio.wait((question.answer,), timeout=timeout)
                    if done:
                        return question.answer.result()
            finally:
                waiting.remove(question)
                if not waiting:
                    self._questions.pop(question.address, None)
        raise NoAnswerError(f"Live did not answer {address} {' '.join(map(str, args))}".rstrip())

    async def between(self, address: str, *args: Any, timeout: float) -> Span:
        """Send one message between two marks, once, and return what was heard there.

        Raises `NoAnswerError` where the marks do not come back: it may have been carried out or not.
        """
        first, last = next(MARKS), next(MARKS)
        span = Span(first, last, address, asyncio.get_running_loop().create_future())
        self._spans.append(span)
        try:
            self._send(MARK, first)
            self._send(address, *args)
            self._send(MARK, last)
            async with asyncio.timeout(timeout):  # `wait_for` of Python 3.11 keeps a cancellation to itself
                await span.done
        except TimeoutError:
            raise NoAnswerError(
                f"Live did not answer within {timeout:g} s; {address} may have been carried out"
            ) from None
        finally:
            self._spans.remove(span)
        return span

    async def offers(self, address: str, *args: Any) -> tuple[Any, ...] | None:
        """Return the answer of what only some versions have, or `None`; what was not there once is not asked again."""
        if (address, *args) in self.absent:
            return None
        answer = await self.probe(address, *args)
        if answer is None:
            self.absent.add((address, *args))
        return answer

    async def knows(self, address: str, *args: Any) -> bool:
        """Say whether there is such an address; *args* make a question that can be answered."""
        if (address,) in self.absent:
            return False
        if await self.probe(address, *args) is None:
            self.absent.add((address,))
            return False
        return True

    async def probe(self, address: str, *args: Any) -> tuple[Any, ...] | None:
        """Return the answer of a getter that may not exist, or `None`: a mark has come back instead."""
        for _ in range(2):  # a lost datagram looks like an absent getter, two are unlikely
            try:
                span = await self.between(address, *args, timeout=TIMEOUT)
            except NoAnswerError:
                continue
            if span.answer is not None:
                return span.answer
            if span.errors:
                return None
        return None


def _fits(question: _Question, args: tuple[Any, ...]) -> bool:
    begins, ends = question.begins, question.ends
    return args[: len(begins)] == begins and (not ends or args[-len(ends) :] == ends)
