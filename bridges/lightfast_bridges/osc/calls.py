"""The commands of a map: one message each, and an answer where the device gives one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import AppSession, Call, Parameter, Value
from lightfast.sdk.oscmap import Layout, MapCommand, MapParameter, Message, OscMap, Refusal
from lightfast.sdk.oscmap.convert import kind_of_tags, to_arguments
from lightfast.sdk.oscmap.model import Named
from lightfast_bridges.osc.matching import matches
from lightfast_bridges.osc.pacing import Pacer
from lightfast_link.value import check_value

_SAFE = re.compile(r"[^\x00-\x20\x7f#*,/?\[\]{}]{1,100}")
"""What may stand in an address: nothing that would make a pattern or another address of it."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A call that waits for its answer."""

    call_id: int
    layout: Layout
    timer: asyncio.TimerHandle


class Calls:
    """The calls of one device."""

    def __init__(self, session: AppSession, found: OscMap, pacer: Pacer) -> None:
        self._session = session
        self._commands = {command.command.name: command for command in found.commands}
        self._pacer = pacer
        self._waiting: dict[int, _Waiting] = {}

    @property
    def waiting(self) -> bool:
        """Say whether a call waits for its answer."""
        return bool(self._waiting)

    def invoke(self, call: Call) -> None:
        """Send a command; without an answer in the map it is done when it was sent."""
        command = self._commands.get(call.command)
        if command is None:
            there = ", ".join(sorted(self._commands)) or "none"
            self._session.fail(call.call_id, f"the map has no command {call.command!r}; there is {there}")
            return
        try:
            message, answer = _filled(command, call)
        except ValueError as error:
            self._session.fail(call.call_id, str(error))
            return
        if answer is not None:
            seconds = min(command.timeout, call.timeout)
            timer = asyncio.get_running_loop().call_later(seconds, self._unanswered, call.call_id, seconds)
            self._waiting[call.call_id] = _Waiting(call.call_id, answer, timer)
        self._pacer.send(f"call {call.call_id}", message, lambda problem: self._sent(call.call_id, answer, problem))

    def _sent(self, call_id: int, answer: Layout | None, problem: str) -> None:
        if problem:
            self.cancel(call_id)
            self._session.fail(call_id, problem)
        elif answer is None:
            self._session.result(call_id, None)

    def _unanswered(self, call_id: int, seconds: float) -> None:
        if self._waiting.pop(call_id, None) is not None:
            self._session.fail(call_id, f"no answer within {seconds:g} s; it may have been carried out")

    def hear(self, address: str, arguments: Sequence[Any]) -> None:
        """Take a message: it may be an answer. Of two alike that wait, it answers the one that waits longer."""
        for waiting in self._waiting.values():
            if not matches((waiting.layout.address,), address):
                continue
            found = waiting.layout.extract(arguments, 1)
            if found is None:
                continue
            self.cancel(waiting.call_id)
            if isinstance(found, Refusal):
                self._session.fail(waiting.call_id, found.reason)
            else:
                self._session.result(waiting.call_id, _value(found[0]))
            return

    def cancel(self, call_id: int) -> None:
        """Wait no longer."""
        waiting = self._waiting.pop(call_id, None)
        if waiting is not None:
            waiting.timer.cancel()

    def stop(self) -> None:
        """Forget all: the end of the session speaks for them."""
        for call_id in list(self._waiting):
            self.cancel(call_id)


def _value(found: Any) -> Value | None:
    try:
        return check_value(found)
    except ValueError:
        return None


def _filled(command: MapCommand, call: Call) -> tuple[Message, Layout | None]:
    """Return the message of a call and the answer it waits for; raise `ValueError` for what cannot be sent."""
    words: dict[str, str] = {}
    given: dict[str, Any] = {}
    for argument in command.command.arguments:
        value = call.arguments.get(argument.name)
        if value is None:
            continue
        tag = command.tags[argument.name]
        probe = MapParameter(Parameter(argument.name, kind=kind_of_tags(tag)), tag)
        given[argument.name] = to_arguments(probe, value)[0]
        word = str(value) if not isinstance(value, float) or not value.is_integer() else str(int(value))
        words[argument.name] = word
    address = _address(command.address, words)
    arguments: list[Any] = []
    for wanted in command.arguments:
        if not isinstance(wanted, Named):
            arguments.append(wanted)
        elif wanted.name in given:
            arguments.append(given[wanted.name])
        else:
            break  # OSC arguments go by position: without this one, none comes after it
    answer = command.answer
    if answer is not None:
        answer = Layout(_address(answer.address, words), answer.arguments, answer.json, answer.when)
    return Message(address, tuple(arguments)), answer


def _address(text: str, words: dict[str, str]) -> str:
    for name, word in words.items():
        if f"{{{name}}}" in text:
            if not _SAFE.fullmatch(word):
                raise ValueError(
                    f"{name} cannot be {word!r:.60}: it stands in an address, so leave out / * ? , # and spaces"
                )
            text = text.replace(f"{{{name}}}", word)
    if "{" in text:
        raise ValueError(f"{text} needs all of its names")
    return text
