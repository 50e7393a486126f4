"""One joined patch: what it says is reported, what the context wants is sent and read back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Change, Hello, Value, Wish
from lightfast.sdk.patience import Patience
from lightfast.sdk.silence import Silence
from lightfast_bridges.puredata.parameter import (
    KINDS,
    Shape,
    as_argument,
    as_name,
    as_value,
    commands,
    is_number,
    read,
    same,
)
from lightfast_bridges.puredata.settings import Settings

log = structlog.get_logger("lightfast.bridges.puredata")

MAX_PARAMETERS = 4096
"""The most parameters of one patch."""
ANSWER = 0.6
"""Seconds until a wish that Pd has not answered is sent again."""
TRIES = 3
CALL_TIMEOUT = 5.0
"""The most seconds that Pd has to answer a bang."""

Send = Callable[..., None]
_TOKENS = itertools.count(1)

UNNAMED = "patch"
"""What a patch is called whose `[lightfast]` gives no name."""


@dataclass(slots=True)
class _Pending:
    """The wishes for one parameter that Pd has not answered yet; the newest counts."""

    sent: float | str
    ids: list[int] = field(default_factory=list)
    tries: int = 1
    seen: Value | None = None
    timer: Patience | None = None


class Patch:
    """One patch, by the object `[lightfast NAME]` in it; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, settings: Settings, name: str, port: int, send: Send) -> None:
        """*port* is the UDP port that Pd sends from, *send* sends a message there."""
        self.name, self.port = name, port
        self._host, self._settings, self._send = host, settings, send
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()
        self._silence = Silence()
        self.session: AppSession | None = None
        self.ended = False
        """It is to be forgotten; a patch that is still there says hello again."""
        self._shapes: dict[str, Shape] = {}
        self._values: dict[str, Value] = {}
        self._names: dict[str, str] = {}
        self._pending: dict[str, _Pending] = {}
        self._calls: dict[int, tuple[str, asyncio.TimerHandle]] = {}
        self._token = 0
        self._listing: dict[str, tuple[Shape, Value | None]] = {}
        self._asked = 0.0
        self._full = False
        self._silent = False

    # ------------------------------------------------------------------ from Pd

    def hear(self, address: str, arguments: Sequence[Any]) -> None:
        """Take one message; what is malformed is dropped."""
        self.heard = self._loop.time()
        self._silence.heard()
        if self._silent:
            self._silent = False
            self.ask(full=True)  # what was turned meanwhile may have been lost
            if self.session is not None:
                self.session.degraded("")
        try:
            if address == "/lightfast/value" and len(arguments) >= 2:
                self._value(arguments[0], arguments[1])
            elif address == "/lightfast/param":
                self._param(arguments)
            elif address == "/lightfast/listed" and arguments:
                self._listed(arguments[0])
            elif address == "/lightfast/done" and arguments:
                self._done(arguments[0])
        except ValueError as error:
            log.debug("a message of a patch was dropped", patch=self.name, address=address, reason=str(error))

    def _value(self, name: Any, value: Any) -> None:
        shape = self._shapes.get(name) if isinstance(name, str) else None
        if shape is None or shape.kind == "bang":
            as_name(name)
            self.ask()  # a new object in the patch
            return
        held = self._values[shape.name] = as_value(shape.kind, value)
        pending = self._pending.get(shape.name)
        if self.session is None:
            return
        if pending is not None and same(shape.kind, held, pending.sent):
            self._settle(shape.name, held)
        elif pending is not None:
            pending.seen = held
        self.session.report([Change(shape.path, held)])

    def _param(self, arguments: Sequence[Any]) -> None:
        shape, value = read(arguments)
        if not self._token:
            return
        if len(self._listing) >= MAX_PARAMETERS:
            raise ValueError(f"a patch may have {MAX_PARAMETERS} parameters")
        other = next((one for one, _ in self._listing.values() if one.path == shape.path and one != shape), None)
        if other is not None:
            raise ValueError(f"{shape.name} is there twice, with different arguments")
        self._listing[shape.name] = (shape, value)

    def _listed(self, token: Any) -> None:
        if not self._token or token != self._token:
            return
        self._token = 0
        listing, self._listing = self._listing, {}
        shapes = {name: shape for name, (shape, _) in listing.items()}
        values = {name: value for name, (_, value) in listing.items() if value is not None}
        if shapes != self._shapes or self.session is None:
            self._shapes = shapes
            self._names = {shape.path: name for name, shape in shapes.items() if shape.kind != "bang"}
            self._values = values
            self._join()
            return
        changed = [name for name, value in values.items() if self._full or self._values.get(name) != value]
        self._values = values
        for name in list(self._pending):
            if name in values and same(shapes[name].kind, values[name], self._pending[name].sent):
                self._settle(name, values[name])
        self.session.report([Change(shapes[name].path, values[name]) for name in changed])
        if self._full:
            self._full = False
            self.session.synced()

    def _done(self, name: Any) -> None:
        for call_id in [call_id for call_id, (called, _) in self._calls.items() if called == name][:1]:
            self._calls.pop(call_id)[1].cancel()
            if self.session is not None:
                self.session.result(call_id, None)

    # ------------------------------------------------------------------ joining and leaving

    def ask(self, *, full: bool = False) -> None:
        """Ask for all parameters; with *full* the answer ends a full report."""
        self._full = self._full or full
        now = self._loop.time()
        if self._token and now - self._asked < self._settings.ping:
            return  # an answer is on its way
        self._token, self._listing, self._asked = next(_TOKENS) % (1 << 23) + 1, {}, now
        self._send("/lightfast/query", float(self._token))

    def _join(self) -> None:
        """Say hello, also again when the parameters have changed: they are declared anew."""
        self._forget_wishes()
        shapes = self._shapes.values()
        hello = Hello(
            kind="puredata",
            instance_id=f"puredata:{self.name}@{self.port}",
            name=self._settings.name or (self.name if self.name != UNNAMED else ""),
            document_id=self.name,
            generation=-1,
            transport="osc",
            parameters=tuple(shape.declaration() for shape in shapes if KINDS[shape.kind]),
            commands=commands(shapes),
            capabilities=frozenset({"readback"}),
        )
        try:
            session = self._host.hello(hello, self)
        except BridgeError as error:
            log.warning("a patch could not join", patch=self.name, reason=str(error))
            self._host.absent(f"the patch {self.name!r} could not join: {error}")
            self.ended = True
            return
        self.session, self._full = session, False
        session.report([Change(self._shapes[name].path, value) for name, value in self._values.items()])
        session.synced()

    def tick(self) -> None:
        """Ask for a sign of life, read everything again when it is time, and judge the silence."""
        now = self._loop.time()
        silent = self._silence.look(self._settings.ping)
        if silent > self._settings.gone:
            self.lose(f"Pd has been silent for {silent:.0f} s: it was closed, has crashed or hangs")
            return
        self._send("/lightfast/ping", float(int(now) % (1 << 20)))
        if silent > self._settings.silence and not self._silent:
            self._silent = True
            if self.session is not None:
                self.session.degraded(f"Pd has not answered for {silent:.0f} s: it hangs, or was closed")
        if self._token or now - self._asked >= self._settings.refresh:
            self.ask()

    def lose(self, reason: str) -> None:
        """End the session."""
        self.ended = True
        self._forget_wishes()
        session, self.session = self.session, None
        if session is not None:
            session.lost(reason)

    def _forget_wishes(self) -> None:
        """Forget what waits: the end of the session, or its successor, speaks for the wishes."""
        for pending in self._pending.values():
            if pending.timer is not None:
                pending.timer.cancel()
        self._pending.clear()
        for call_id, (name, timer) in list(self._calls.items()):
            timer.cancel()
            if self.session is not None:
                self.session.fail(call_id, f"the patch changed before {name} was answered")
        self._calls.clear()

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to the patch."""
        for wish in wishes:
            try:
                shape = self._shapes[self._names[wish.path]]
                argument = as_argument(shape, wish.value)
            except KeyError:
                self._reject([wish.wish_id], f"there is no parameter {wish.path} in the patch now")
            except ValueError as error:
                self._reject([wish.wish_id], str(error))
            else:
                pending = self._pending.setdefault(shape.name, _Pending(argument))
                pending.sent, pending.tries, pending.seen = argument, 1, None
                pending.ids.append(wish.wish_id)
                self._set(shape.name, pending)

    def _set(self, name: str, pending: _Pending) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = Patience(ANSWER * pending.tries, self._unanswered, name)
        try:
            self._send("/lightfast/set", name, pending.sent)
        except BridgeError as error:
            self._reject(self._take(name), str(error))

    def _unanswered(self, name: str) -> None:
        """Send again what was not answered by its own value; Pd answers each message that reaches it."""
        pending = self._pending.get(name)
        if pending is None:
            return
        if pending.tries < TRIES:
            pending.tries += 1
            self._set(name, pending)
        elif pending.seen is not None:
            self._settle(name, pending.seen)  # the patch has made something else of it
        else:
            self._reject(self._take(name), f"Pd did not answer when {name} was set")

    def _settle(self, name: str, value: Value) -> None:
        for wish_id in self._take(name):
            if self.session is not None:
                self.session.settle(wish_id, value)

    def _take(self, name: str) -> list[int]:
        pending = self._pending.pop(name)
        if pending.timer is not None:
            pending.timer.cancel()
        return pending.ids

    def _reject(self, ids: Sequence[int], reason: str) -> None:
        for wish_id in ids:
            if self.session is not None:
                self.session.reject(wish_id, reason)

    def invoke(self, call: Call) -> None:
        """Send a bang."""
        name = call.arguments.get("name") if call.command == "bang" else call.command
        shape = self._shapes.get(name) if isinstance(name, str) else None
        if self.session is None:
            return
        if shape is None or shape.kind != "bang":
            bangs = ", ".join(sorted(one.name for one in self._shapes.values() if one.kind == "bang")) or "none"
            what = f"bang {name!r}" if call.command == "bang" else f"command {call.command!r}"
            self.session.fail(call.call_id, f"the patch {self.name} has no {what}: its bangs are {bangs}")
            return
        seconds = min(call.timeout, CALL_TIMEOUT)
        timer = self._loop.call_later(seconds, self._no_answer, call.call_id)
        self._calls[call.call_id] = (shape.name, timer)
        self._send("/lightfast/trigger", shape.name)

    def _no_answer(self, call_id: int) -> None:
        name, _ = self._calls.pop(call_id)
        if self.session is not None:
            self.session.fail(call_id, f"Pd did not answer the bang {name}; it may have been carried out")

    def cancel(self, call_id: int) -> None:
        """Stop waiting: a bang cannot be taken back."""
        if call_id in self._calls:
            self._calls.pop(call_id)[1].cancel()

    def resync(self) -> None:
        """Report everything again."""
        self.ask(full=True)

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self.session = None
        self.lose(reason)


def is_hello(arguments: Sequence[Any]) -> bool:
    """Say whether these are the arguments of `/lightfast/hello`: the version of the abstractions, and a name."""
    return len(arguments) == 2 and is_number(arguments[0]) and (isinstance(arguments[1], str) or arguments[1] == 0)
