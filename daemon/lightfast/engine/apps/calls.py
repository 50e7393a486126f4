"""Commands under way in an application: checked before they go out, bounded in time, given up cleanly."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from lightfast.core.errors import (
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.engine.apps.hold import Hold
from lightfast.engine.apps.records import Progress, Result
from lightfast.sdk import AppChannel, Argument, Call, Command, PluginError
from lightfast_link.value import Value, check_value, kind_of

DEFAULT_TIMEOUT = 60.0
"""Seconds a command may take when nobody says otherwise."""
MAX_TIMEOUT = 3600.0
"""The most seconds a command may be given."""
MAX_CALLS = 64
"""The most commands under way in one application."""
BEGUN = "begun"
"""What an application that went away was doing, in the metadata of the error: whether it did it is not known."""
GROUP_GRACE = 0.25
"""Seconds after a command in which what the application reports still counts as its doing."""


@dataclass(slots=True)
class _Running:
    call_id: int
    command: str
    group: str
    latest: Progress | None = None
    outcome: Result | LightfastError | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def end(self, outcome: Result | LightfastError) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.news.set()


class Calls:
    """The commands under way in one application."""

    def __init__(self, mount: str, channel: AppChannel, hold: Hold) -> None:
        self._mount = mount
        self._channel = channel
        self._hold = hold
        self._running: dict[int, _Running] = {}
        self._next_id = 1
        self._group = ""
        self._group_until = 0.0

    def __len__(self) -> int:
        return len(self._running)

    def group(self) -> str:
        """Return the group that changes reported now belong to: that of the one command under way, or just done."""
        groups = {running.group for running in self._running.values()}
        if len(groups) == 1:
            return groups.pop()
        if not groups and asyncio.get_running_loop().time() < self._group_until:
            return self._group
        return ""

    async def invoke(
        self, command: Command, arguments: Mapping[str, Value], timeout: float, group: str, key: str = ""
    ) -> AsyncGenerator[Progress | Result, None]:
        """Run *command* and yield its progress, the latest one at a time, then its result.

        Leaving early cancels it. Raises `DeadlineExceeded`, `FailedPrecondition` with the
        application's reason (or HELD), `Cancelled` when it is held meanwhile, and `Unavailable` when
        the application goes away.
        """
        self._hold.refuse(self._mount, command.name)
        if len(self._running) >= MAX_CALLS:
            raise Exhausted(
                f"{self._mount} has {MAX_CALLS} commands under way: wait for one to end",
                reason="TOO_MANY_CALLS",
                retry_after=1.0,
            )
        running = _Running(self._next_id, command.name, group)
        self._next_id += 1
        self._running[running.call_id] = running
        try:
            self._send(Call(running.call_id, command.name, dict(arguments), timeout, key))
            deadline = asyncio.get_running_loop().time() + timeout
            while not running.ended:
                yield await _next_step(running, deadline)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._mount} did not finish {command.name!r} within {timeout:g} s;"
                " it may still be busy with it: give it a longer timeout",
                metadata={"mount": self._mount, "command": command.name},
            ) from None
        finally:
            del self._running[running.call_id]
            if running.outcome is None:
                self._channel.cancel(running.call_id)
            self._group = running.group
            self._group_until = asyncio.get_running_loop().time() + GROUP_GRACE

    def _send(self, call: Call) -> None:
        try:
            self._channel.invoke(call)
        except PluginError as error:
            raise FailedPrecondition(
                f"{self._mount} could not {call.command!r}: {error}", reason="COMMAND_FAILED"
            ) from error

    def progress(self, call_id: int, fraction: float, message: str) -> None:
        """Take news of a command; only the latest is kept."""
        if running := self._running.get(call_id):
            running.latest = Progress(fraction, message)
            running.news.set()

    def result(self, call_id: int, value: Value | None) -> None:
        """Take the result of a command."""
        if running := self._running.get(call_id):
            running.end(Result(value))

    def fail(self, call_id: int, reason: str) -> None:
        """Take the failure of a command."""
        if running := self._running.get(call_id):
            message = f"{self._mount} could not {running.command!r}: {reason}"
            running.end(FailedPrecondition(message, reason="COMMAND_FAILED"))

    def give_up(self) -> None:
        """End all commands, here and in the application: it is held."""
        under_way = [running for running in self._running.values() if running.outcome is None]
        for running in under_way:
            running.end(self._hold.cancelled(self._mount, running.command))
        for running in under_way:
            self._channel.cancel(running.call_id)

    def abandon(self, reason: str) -> None:
        """End all commands: the application is gone, and what became of them is not known."""
        for running in self._running.values():
            message = f"{self._mount} went away during {running.command!r}: {reason}"
            running.end(Unavailable(message, reason="APP_GONE", metadata={BEGUN: running.command}))


async def _next_step(running: _Running, deadline: float) -> Progress | Result:
    """Return the next news of a command; raise its failure, or `TimeoutError` at *deadline*."""
    while True:
        # The clock is bounded here and not around the generator: a bound there would hit its consumer.
        try:
            async with asyncio.timeout_at(deadline):
                await running.news.wait()
        except TimeoutError:
            if not running.news.is_set():  # else it came just as the deadline struck, and counts
                raise
        latest, running.latest = running.latest, None
        if latest is not None:
            return latest
        if running.outcome is None:
            running.news.clear()
            continue
        running.ended = True
        if isinstance(running.outcome, LightfastError):
            raise running.outcome
        return running.outcome


def find_command(mount: str, commands: Mapping[str, Command], name: str) -> Command:
    """Return the command called *name*, or raise `NotFound` with the closest ones there are."""
    if name in commands:
        return commands[name]
    near = difflib.get_close_matches(name, commands, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(sorted(commands)) or 'none'}"
    raise NotFound(f"{mount} has no command {name!r}: {hint}", reason="COMMAND_UNKNOWN", field="command")


def check_timeout(timeout: float | None) -> float:
    """Return the seconds a command gets; raise `InvalidArgument` outside (0, `MAX_TIMEOUT`]."""
    if timeout is None:
        return DEFAULT_TIMEOUT
    if not 0 < timeout <= MAX_TIMEOUT:
        raise InvalidArgument(
            f"timeout is {timeout:g} s: it must be more than 0 and at most {MAX_TIMEOUT:g} s", field="timeout"
        )
    return timeout


def check_arguments(command: Command, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the arguments as the command wants them; raise `InvalidArgument` naming the wrong one.

    A whole number is taken where a double is wanted, and a list of numbers where a vector is.
    """
    known = {argument.name: argument for argument in command.arguments}
    for name in given:
        if name not in known:
            raise _wrong(command, name, "unknown argument", _known(command.arguments, name))
    checked: dict[str, Value] = {}
    for argument in command.arguments:
        if argument.name in given:
            checked[argument.name] = _fit(command, argument, given[argument.name])
        elif argument.required:
            raise _wrong(command, argument.name, "missing argument", argument.description or f"give {_kind(argument)}")
    return checked


def _fit(command: Command, argument: Argument, value: Value) -> Value:
    try:
        check_value(value, argument.name)
    except ValueError as error:
        raise _wrong(command, argument.name, "malformed argument", str(error)) from None
    if not argument.kind or kind_of(value) == argument.kind:
        return value
    if argument.kind == "double" and type(value) is int:
        return float(value)
    if argument.kind == "vector" and isinstance(value, list) and all(type(item) in (int, float) for item in value):
        return tuple(float(item) for item in value)
    raise _wrong(command, argument.name, "wrong argument", f"it must be {_kind(argument)}, not {kind_of(value)}")


def _kind(argument: Argument) -> str:
    return f"a value of kind {argument.kind}" if argument.kind else "a value"


def _known(arguments: Sequence[Argument], name: str) -> str:
    names = [argument.name for argument in arguments]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(names)}" if names else "it takes none"


def _wrong(command: Command, name: str, what: str, hint: str) -> InvalidArgument:
    return InvalidArgument(
        f"{command.name!r}: {what} {name!r}: {hint}", reason="ARGUMENT_INVALID", field=f"arguments.{name}"
    )
