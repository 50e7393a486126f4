"""Questions to the server, and what it answers."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Send = Callable[..., None]
Test = Callable[[str, Sequence[Any]], bool]
TIMEOUT = 1.0
TRIES = 3
_TOKENS = itertools.count(1)
_NODE = re.compile(r"(?:Node|Group) (-?\d+) not found")


class NoAnswerError(Exception):
    """The server did not answer."""


class RefusedError(Exception):
    """The server answered `/fail`; the message is its own."""


@dataclass(slots=True, eq=False)
class _Question:
    test: Test
    address: str
    answer: asyncio.Future[tuple[Any, ...]]
    failures: list[str] = field(default_factory=list)


class Asker:
    """Asks, and finds the answers in what `hear` is given."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self._questions: list[_Question] = []
        self._turn = asyncio.Lock()

    def hear(self, address: str, arguments: Sequence[Any]) -> None:
        """Take one message."""
        for question in self._questions:
            if question.answer.done():
                continue
            if address == "/fail" and len(arguments) >= 2 and arguments[0] == question.address:
                question.failures.append(str(arguments[1]).strip())
            if question.test(address, arguments):
                question.answer.set_result(tuple(arguments))

    async def ask(
        self, address: str, *arguments: Any, test: Test, tries: int = TRIES, timeout: float = TIMEOUT
    ) -> tuple[Any, ...]:
        """Ask what may be asked again, and return the arguments of the answer; raise `NoAnswerError`."""
        question = self._put(address, test)
        try:
            for _ in range(tries):
                self.send(address, *arguments)
                done, _ = await asyncio.wait((question.answer,), timeout=timeout)
                if done:
                    return question.answer.result()
        finally:
            self._questions.remove(question)
        raise NoAnswerError(f"scsynth did not answer {address}")

    async def order(self, address: str, *arguments: Any, timeout: float, done: Test | None = None) -> tuple[Any, ...]:
        """Send a command once and wait until it is carried out.

        That is when *done* is true of a message, or, without it, when a `/sync` sent after it comes back. Raises
        `RefusedError` where the server said why not, `NoAnswerError` where it says nothing.
        """
        async with self._turn:  # a failure names its command only: one at a time
            token = next(_TOKENS) % (1 << 30)

            def synced(heard: str, said: Sequence[Any]) -> bool:
                return heard == "/synced" and said[:1] == (token,)

            def failed(heard: str, said: Sequence[Any]) -> bool:
                return heard == "/fail" and said[:1] == (address,)

            question = self._put(address, lambda heard, said: failed(heard, said) or (done or synced)(heard, said))
            try:
                self.send(address, *arguments)
                if done is None:
                    self.send("/sync", token)
                finished, _ = await asyncio.wait((question.answer,), timeout=timeout)
            finally:
                self._questions.remove(question)
            if question.failures:
                raise RefusedError(question.failures[0])
            if not finished:
                raise NoAnswerError(
                    f"scsynth did not answer {address} within {timeout:g} s: it may have been carried out"
                )
            return question.answer.result()

    def _put(self, address: str, test: Test) -> _Question:
        question = _Question(test, address, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        return question


def missing_node(text: str) -> int | None:
    """Return the node that a failure says is not there."""
    found = _NODE.search(text)
    return int(found.group(1)) if found else None
