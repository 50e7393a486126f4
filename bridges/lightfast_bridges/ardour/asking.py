"""Questions to Ardour and their answers.

Ardour works its messages off in order and answers a question about a strip's property that does not exist with the
same address and nothing else. So a question for a property of a number of our own is a *mark*: when its answer
comes, everything sent before has been worked off, and all that was told because of it has been told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

TIMEOUT = 1.0
"""Seconds until a question is asked again; Ardour answers in less than a millisecond.

Twice as many the second time, and so on: on a machine that has much else to do, one that takes longer than that would
else never be heard.
"""
TRIES = 3
MARK = "/strip/1/lightfast"
_NUMBERS = itertools.count(1)

Send = Callable[..., None]
Args = tuple[Any, ...]


class NoAnswerError(Exception):
    """Ardour did not answer."""


def new_mark() -> str:
    """Return the address of a mark that nobody else has asked for."""
    return f"{MARK}{next(_NUMBERS)}"


class Asker:
    """Asks, and finds the answers in what `hear` is given."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[tuple[str, Callable[[Args], bool], asyncio.Future[Args]]] = []
        self._gathering: list[tuple[str, list[Args]]] = []

    def hear(self, address: str, args: Args) -> None:
        """Take one message: it may answer a question."""
        for wanted, kept in self._gathering:
            if wanted == address:
                kept.append(args)
        for wanted, fits, answer in self._waiting:
            if wanted == address and not answer.done() and fits(args):
                answer.set_result(args)
                return

    async def ask(
        self,
        address: str,
        *args: Any,
        reply: str = "",
        fits: Callable[[Args], bool] = lambda _: True,
        timeout: float = TIMEOUT,
        tries: int = TRIES,
    ) -> Args:
        """Ask and return the answer, which comes on *reply* (empty: the same address) and *fits*.

        The first of the *tries* is given *timeout*, each one after it twice as long. Raises `NoAnswerError`.
        """
        answer: asyncio.Future[Args] = asyncio.get_running_loop().create_future()
        waiting = (reply or address, fits, answer)
        self._waiting.append(waiting)
        try:
            for attempt in range(tries):
                self._send(address, *args)
                done, _ = await asyncio.wait((answer,), timeout=timeout * 2**attempt)
                if done:
                    return answer.result()
        finally:
            self._waiting.remove(waiting)
        raise NoAnswerError(f"Ardour did not answer {address} {' '.join(map(str, args))}".rstrip())

    async def mark(self, timeout: float = TIMEOUT, tries: int = TRIES) -> None:
        """Return when everything sent so far has been worked off; raise `NoAnswerError` for silence."""
        await self.ask(new_mark(), timeout=timeout, tries=tries)

    async def gather(self, address: str, *args: Any, reply: str = "") -> list[Args]:
        """Ask what is answered by any number of messages, and return them all."""
        return (await self.gather_all([(address, *args)], reply or address))[reply or address]

    async def gather_all(self, questions: Sequence[tuple[Any, ...]], *replies: str) -> dict[str, list[Args]]:
        """Ask several questions at once and return all that was answered, by address.

        Asks again where the mark that closes them has not come back: then something was lost on the way.
        """
        for attempt in range(TRIES):
            kept: dict[str, list[Args]] = {reply: [] for reply in replies}
            self._gathering += kept.items()
            try:
                for question in questions:
                    self._send(*question)
                await self.mark(TIMEOUT * 2**attempt, tries=1)
            except NoAnswerError:
                continue
            finally:
                self._gathering = [one for one in self._gathering if kept.get(one[0]) is not one[1]]
            return kept
        asked = ", ".join(str(question[0]) for question in questions)
        raise NoAnswerError(f"Ardour did not answer {asked}")
