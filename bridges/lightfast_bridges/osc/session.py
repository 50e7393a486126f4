"""A joined device: its full report, its life, and the channel through which the engine reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.sdk import AppSession, BridgeHost, Call, Change, Hello, OscMessage, OscSender, Value, Wish
from lightfast.sdk.oscmap import MapParameter, OscMap, Refusal
from lightfast.sdk.oscmap.convert import to_value
from lightfast.sdk.patience import Patience
from lightfast.sdk.silence import Silence
from lightfast_bridges.osc.calls import Calls
from lightfast_bridges.osc.matching import Index, matches
from lightfast_bridges.osc.pacing import Pacer
from lightfast_bridges.osc.wishes import Wishes

QUIET = 0.5
"""A full report is complete when nothing that was asked for came for this long, in seconds."""
LONGEST = 20.0
"""Seconds a full report may take."""
REFRESH = 0.05
"""After a message that announces a change, the values are asked for this much later, in seconds."""


class DeviceSession:
    """One device that answers; implements `sdk.AppChannel`."""

    def __init__(self, host: BridgeHost, sender: OscSender, found: OscMap) -> None:
        self._host = host
        self._map = found
        self._loop = asyncio.get_running_loop()
        self._index = Index(found)
        self._pacer = Pacer(sender.send, found.rate)
        self._parameters = {parameter.path: parameter for parameter in found.parameters}
        self._held: dict[str, Value] = {}
        self._asked: set[str] = set()
        self._silence = Silence()
        self._heard = asyncio.Event()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._refreshing: dict[str, asyncio.TimerHandle] = {}
        self._reading: asyncio.Future[None] | None = None
        self._trouble = ""
        self.session: AppSession | None = None
        self._wishes: Wishes | None = None
        self._calls: Calls | None = None
        self.closed = False
        """The engine closed the channel: somebody else has the mount."""

    async def run(self) -> str:
        """Join and live; return why it ended."""
        found = self._map
        asks = any(parameter.query is not None for parameter in found.parameters)
        hello = Hello(
            found.kind,
            f"osc:{found.kind}",
            name=found.kind,
            document_id=found.kind,
            # A device that can be asked may have been played on while the daemon was away; one that cannot holds
            # what was last written to it, as far as anybody can know.
            generation=-1 if asks else 0,
            parameters=tuple(parameter.parameter for parameter in found.parameters),
            commands=tuple(command.command for command in found.commands),
        )
        session = self.session = self._host.hello(hello, self)
        self._wishes = Wishes(session, self._parameters, self._pacer, self._held, self._ask, found.timeout)
        self._calls = Calls(session, found, self._pacer)
        if self._trouble:
            session.degraded(self._trouble)
        pulse = asyncio.ensure_future(self._pulse())
        try:
            for number, message in enumerate(found.start):
                self._pacer.send(f"start {number}", message)
            await self._report_all()
            return await self._over
        finally:
            pulse.cancel()
            self._stop()

    def degraded(self, reason: str) -> None:
        """Say that something is wrong, or (empty) that all is well again."""
        self._trouble = reason
        if self.session is not None:
            self.session.degraded(reason)

    def end(self, reason: str) -> None:
        """End the session."""
        if not self._over.done():
            self._over.set_result(reason)
            if self.session is not None:
                self.session.lost(reason)
            self._stop()

    def _stop(self) -> None:
        if not self._over.done():
            self._over.cancel()
        self._pacer.stop()
        if self._wishes is not None:
            self._wishes.stop()
        if self._calls is not None:
            self._calls.stop()
        if self._reading is not None:
            self._reading.cancel()
        for timer in self._refreshing.values():
            timer.cancel()
        self._refreshing.clear()

    # ------------------------------------------------------------------ what it says

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        if self.session is None or self._over.done():
            return
        changes: dict[str, Change] = {}
        latest: dict[str, OscMessage] = {}
        listening = self._calls is None or self._calls.waiting or self._wishes is None
        for message in messages:
            # A flood is thinned out before anything is done about it: of a plain value the last one counts.
            path = "" if listening else self._index.plain(message[0])
            if path and self._wishes is not None and not self._wishes.waits(path):
                latest[message[0]] = message
            else:
                self._take(message, changes)
        for message in latest.values():
            self._take(message, changes)
        if changes:
            self.session.report(list(changes.values()))

    def _take(self, message: OscMessage, changes: dict[str, Change]) -> None:
        address, _tags, arguments = message
        if matches(self._map.alive.answer, address):
            self._silence.heard()
        if self._calls is not None:
            self._calls.hear(address, arguments)
        carried, refreshed = self._index.find(address)
        for parameter, layout in carried:
            raw = layout.extract(arguments, len(parameter.tags))
            if raw is None:
                continue
            if isinstance(raw, Refusal):
                self._refused(parameter, raw)
                continue
            value = to_value(parameter, raw)
            if value is not None:
                self._told(parameter, value, changes)
        for parameter in refreshed:
            self._refresh(parameter)

    def _told(self, parameter: MapParameter, value: Value, changes: dict[str, Change]) -> None:
        path = parameter.path
        self._answered(path)
        if self._wishes is None:
            return
        settled = self._wishes.hear(path, value)
        self._held[path] = value
        if settled:
            changes.pop(path, None)  # what was told before it would be reported after it
        else:
            changes[path] = Change(path, value)

    def _refused(self, parameter: MapParameter, refusal: Refusal) -> None:
        self._answered(parameter.path)
        if self._wishes is not None:
            self._wishes.refuse(parameter.path, refusal.reason)

    def _answered(self, path: str) -> None:
        if path in self._asked:
            self._asked.discard(path)
            self._heard.set()

    def _ask(self, parameter: MapParameter) -> None:
        if parameter.query is not None:
            self._pacer.send(f"?{parameter.path}", parameter.query)

    def _refresh(self, parameter: MapParameter) -> None:
        if parameter.path not in self._refreshing:
            self._refreshing[parameter.path] = self._loop.call_later(REFRESH, self._ask_again, parameter)

    def _ask_again(self, parameter: MapParameter) -> None:
        self._refreshing.pop(parameter.path, None)
        self._ask(parameter)

    # ------------------------------------------------------------------ its life

    async def _report_all(self) -> None:
        """Ask for everything, wait until it has come or no more comes, and report what is held."""
        self._asked = {path for path, parameter in self._parameters.items() if parameter.query is not None}
        for path in list(self._asked):
            self._ask(self._parameters[path])
        latest = self._loop.time() + LONGEST
        while self._asked and self._loop.time() < latest and not self._over.done():
            self._heard.clear()
            try:
                async with asyncio.timeout(None) as scope:
                    patience = Patience(QUIET + len(self._asked) / self._map.rate, scope.reschedule, 0.0)
                    try:
                        await self._heard.wait()
                    finally:
                        patience.cancel()
            except TimeoutError:
                break  # what did not answer is not there: a layer of a smaller composition
        if self.session is not None and not self._over.done():
            self.session.report([Change(path, value) for path, value in self._held.items()])
            self.session.synced()

    async def _pulse(self) -> None:
        """Keep it alive, and notice when it is gone."""
        alive, keep = self._map.alive, self._map.keep_alive
        self._silence.heard()  # it has just been found
        self._silence.begin()
        now, pause = self._loop.time(), 0.0
        ping_at = now + alive.every if alive.ping is not None else float("inf")
        keep_at = now + keep.every if keep is not None else float("inf")
        while True:
            now = self._loop.time()
            left = (alive.silence or float("inf")) - self._silence.look(pause)
            if left <= 0:
                self.end(f"it has been silent for {alive.silence:g} s")
                return
            if now >= ping_at and alive.ping is not None:
                self._pacer.send("ping", alive.ping)
                ping_at = now + alive.every
            if now >= keep_at and keep is not None:
                for number, message in enumerate(keep.send):
                    self._pacer.send(f"keep {number}", message)
                keep_at = now + keep.every
            # Not much longer than it takes to tell its silence from a standstill of ours.
            pause = min(5.0, (alive.silence or 50.0) / 10, max(0.01, min(ping_at - now, keep_at - now, left)))
            await asyncio.sleep(pause)

    # ------------------------------------------------------------------ the channel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes."""
        if self._wishes is not None and not self._over.done():
            for wish in wishes:
                self._wishes.apply(wish)

    def invoke(self, call: Call) -> None:
        """Run a command."""
        if self._calls is not None and not self._over.done():
            self._calls.invoke(call)

    def cancel(self, call_id: int) -> None:
        """Stop waiting for an answer: what was sent cannot be taken back."""
        if self._calls is not None:
            self._calls.cancel(call_id)

    def resync(self) -> None:
        """Ask for everything again."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._report_all())

    def close(self, reason: str) -> None:
        """Drop the session."""
        self.closed = True
        if not self._over.done():
            self._over.set_result(reason)
