"""One joined Ardour: from the first answer to the last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Hello, OscMessage, OscSender, Wish
from lightfast.sdk.pacing import Pacer
from lightfast.sdk.running import Running
from lightfast_bridges.ardour import commands
from lightfast_bridges.ardour.asking import Asker, NoAnswerError, Send
from lightfast_bridges.ardour.leaves import ROUTES, STRIP, declarations
from lightfast_bridges.ardour.playhead import MOVES, PLACES, RECENT, SETTLES, STOPS
from lightfast_bridges.ardour.strips import Strip
from lightfast_bridges.ardour.surface import Surface
from lightfast_bridges.ardour.wishes import Wishes

STRIP_TYPES = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128 | 512
"""Tracks, busses, VCAs, master, monitor, foldback, and hidden ones, so that hiding one renumbers none."""
REPLY = 16384
"""Answers come on `/reply`, not on `#reply`."""
FEEDBACK = 1 | 2 | 8 | 16 | 32 | 64 | 1024 | REPLY
"""Buttons, faders, heartbeat, transport, position in bars, timecode and samples."""
METERS = 128
BOTH = 2
"""Faders are told as positions and in dB; with 1, the name of a strip shows its gain for a second."""
BURST, PAUSE = 64, 0.005
"""Messages in one go, and seconds between two: its socket holds some 270, and what comes on top is lost."""
SUSPICIOUS = 1.5
"""Seconds without a word after which Ardour is asked; its heart beats once a second."""
LOOK = 0.25
"""Seconds between two looks at the heartbeat."""
TURN = 8
"""Strips whose sends and plugins are read again in each round."""
LULL, LULL_LIMIT = 0.2, 2.0
"""Seconds without a change before the surface is set up, and the most that are waited for them."""
NAMED = 0.01
"""Seconds between two looks for the session's name, which comes with the first things that are told."""
CLOCK = 1.0
"""The most seconds that are waited for the clock, which Ardour tells for the first time within 0.1 s."""
BLANKED = frozenset(("/master/name", "/monitor/name", "/session_name"))
"""What nobody has called a blank but Ardour, when it takes its leave."""
STARTS = 10.0
"""Seconds that Ardour has for telling everything for the first time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one Ardour is joined; *poll* and *silence* in seconds."""

    remote: tuple[str, int] = ("127.0.0.1", 3819)
    reply_port: int = 0
    name: str = ""
    meters: bool = False
    parameters: int = 64
    poll: float = 2.0
    silence: float = 6.0


class EndedError(Exception):
    """The session is over, for the reason it carries."""


class ArdourSession:
    """Joins Ardour, keeps it in step, and ends with `EndedError`; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, sender: OscSender, settings: Settings) -> None:
        self._host = host
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._direct = sender.send
        self._pacer = Pacer(sender.send, "ardour", burst=BURST, every=PAUSE)
        self._stopping = 0.0
        """When the transport was told to stop, or said that it does."""
        self._asker = Asker(self._send)
        self._surface = Surface(parameters=settings.parameters)
        self._feedback = FEEDBACK | (METERS if settings.meters else 0)
        self._session: AppSession | None = None
        self._wishes: Wishes | None = None
        self._heard = self._told = self._loop.time()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self.closed = False
        """The engine has ended it."""
        self._resync = asyncio.Event()
        self._running = Running()
        self._turn = 0
        self._listening = False
        """What is told before everything is asked for may be the end of an earlier session."""

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        self._heard = self._loop.time()
        if self._ended.done():
            return
        messages, farewell = _before_farewell(messages)
        for address, _, args in messages:
            if address.startswith(("/strip/", "/master/")):
                self._told = self._heard
            if address == "/transport_stop" and list(args) == [1.0]:
                self._stopping = self._heard
            if address == "/transport_stop" and self._session is not None:
                self._send("/transport_speed")
            elif address == "/set_surface" and self._session is not None and list(args[2:3]) != [self._feedback]:
                farewell = True
        if self._listening:
            self._surface.hear(messages)
        for address, _, args in messages:
            self._asker.hear(address, tuple(args))
        if farewell and self._listening:
            self._end("Ardour has quit, restarted, opened another session, or given our place to another surface")

    def _send(self, address: str, *args: Any) -> None:
        if address in STOPS:
            self._stopping = self._loop.time()
        self._pacer.send(address, *args)

    async def look(self) -> None:
        """Ask whether Ardour is there; raises `NoAnswerError`."""
        self._send("/set_surface/port", self._settings.reply_port)
        # Ardour answers with how the surface is set up; a program that sends back what it is sent does not.
        await self._asker.ask("/set_surface", tries=1, fits=lambda args: len(args) >= 3)

    async def run(self) -> None:
        """Join and stay; raises `EndedError` when Ardour is gone, `NoAnswerError` before it has joined."""
        try:
            hello = await self._introduce()
            session = self._session = self._host.hello(hello, self)
            self._wishes = Wishes(session, self._send, self._surface)
            self._surface.session = session
            self._surface.wishes = self._wishes
            try:
                await self._stay(session)
            finally:
                self._wishes.stop()
                if (self.closed or not self._ended.done()) and self._loop.time() > self._told + LULL:
                    self._direct("/set_surface/feedback", 0)  # else it goes on telling nobody
                if not self._ended.done():
                    self._ended.set_result("the bridge stops")
                if not self.closed:
                    session.lost(self._ended.result())
        finally:
            self._pacer.stop()

    async def _introduce(self) -> Hello:
        """Have Ardour tell everything, and return who it is."""
        surface = self._surface
        self._listening = True
        surface.alarm()
        await self._lull()
        quiet = ("/set_surface", 0, STRIP_TYPES, REPLY, BOTH, 0, 0)
        asked = (quiet, ("/transport_frame",), ("/transport_speed",), ("/strip/list",))
        told = await self._asker.gather_all(asked, "/reply", "#reply")
        for reply in (*told["/reply"], *told["#reply"]):
            if len(reply) >= 3 and reply[0] == "end_route_list":
                surface.news("session/sample_rate", int(reply[1]))
                surface.news("session/end", max(0, int(reply[2])))
        listed = await self._asker.gather_all([("/strip",), ("/set_surface/feedback", self._feedback)], "/strip")
        surface.stale.clear()
        surface.adopt(listed["/strip"])
        async with asyncio.timeout(STARTS):
            while not surface.session_name:
                await self._asker.mark()
                await asyncio.sleep(NAMED)
        for strip in surface.strips():
            await self._read(strip)
        surface.unread.clear()
        for _ in range(int(CLOCK / NAMED)):
            if "transport/bbt" in surface.held:
                break
            await asyncio.sleep(NAMED)
        host, port = self._settings.remote
        top_db = 20 * log10(surface.top)
        return Hello(
            kind="ardour",
            instance_id=f"ardour@{host}:{port}",
            name=self._settings.name,
            document_id=f"session-{surface.session_name}",
            generation=-1,
            transport="osc",
            parameters=tuple(declarations(round(top_db + 0.005, 2))),
            commands=tuple(commands.commands()),
            capabilities=frozenset({"readback", "rename"}),
        )

    async def _lull(self) -> None:
        """Wait until no strip has been told of for a moment.

        To set a surface up anew, Ardour throws away what watches the strips for it. Where a change is on its way to
        one of those (and it would be told of on this port, from an earlier time), Ardour 7 crashes. For the same
        reason nothing here sets the surface up a second time: what is to be read again is asked for.
        """
        end = self._loop.time() + LULL_LIMIT
        for _ in range(int(4 * LULL_LIMIT / LULL)):
            if self._loop.time() > min(self._told + LULL, end):
                return
            await asyncio.sleep(LULL / 4)

    async def _stay(self, session: AppSession) -> None:
        ended = False
        try:
            async with asyncio.TaskGroup() as tasks:
                self._running.group = tasks
                tasks.create_task(self._watch_end())
                tasks.create_task(self._keep_alive(session))
                self._surface.full()
                session.synced()
                tasks.create_task(self._keep_in_step(session))
                tasks.create_task(self._keep_polling())
        except* EndedError:
            ended = True
        finally:
            self._running.group = None
        if ended:
            raise EndedError(self._ended.result())

    # ------------------------------------------------------------------ staying in step

    async def _keep_in_step(self, session: AppSession) -> None:
        """Count the strips anew when they have changed; report everything when somebody asks."""
        while True:
            waits = [asyncio.ensure_future(one.wait()) for one in (self._surface.stale, self._resync)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            try:
                await self._renew()
                if self._resync.is_set():
                    self._resync.clear()
                    self._surface.full()
                    session.synced()
            except NoAnswerError:  # `_keep_alive` judges silence
                await asyncio.sleep(LOOK)

    async def _renew(self) -> None:
        """Take the list of strips, until it has held still long enough to be read, and read what is new."""
        surface = self._surface
        if self._resync.is_set():
            surface.alarm()
        while surface.stale.is_set():
            alarms = surface.alarms
            listed = await self._asker.gather("/strip")
            if alarms == surface.alarms:
                surface.stale.clear()
                surface.adopt(listed)
        for strip in surface.strips():
            if self._resync.is_set():
                asked = [leaf.name for leaf in STRIP if leaf.asked and f"{strip.base}/{leaf.name}" in surface.held]
                await self._asker.gather_all([(f"/strip/{strip.ssid}/{name}",) for name in asked])
            if self._resync.is_set() or strip.base in surface.unread:
                await self._read(strip)
                surface.unread.discard(strip.base)
        if self._resync.is_set():
            monitor = [f"/{path}" for path in ("monitor/mute", "monitor/dim", "monitor/mono") if path in surface.held]
            rest = (*monitor, "/transport_speed", "/record_enabled", "/transport_frame")
            await self._asker.gather_all([(address,) for address in rest])

    async def _read(self, strip: Strip) -> None:
        """Ask for what Ardour does not tell of a strip; the surface hears the answers."""
        ssid = strip.ssid
        if strip.code not in ROUTES:
            await self._asker.gather_all([(f"/strip/{ssid}/vca",)])
            return
        questions = [(f"/strip/{ssid}/{name}",) for name in ("polarity", "comment", "vca")]
        listed = ("/strip/plugin/list", ssid)
        told = await self._asker.gather_all([*questions, ("/strip/sends", ssid), listed], listed[0])
        plugins = [args[at] for args in told[listed[0]] if args[0] == ssid for at in range(1, len(args), 3)]
        if plugins:
            await self._asker.gather_all([("/strip/plugin/descriptor", ssid, number) for number in plugins])

    async def _keep_alive(self, session: AppSession) -> None:
        """Watch the heartbeat; ask where it stays away."""
        limit, problem = self._settings.silence, ""
        while True:
            await asyncio.sleep(LOOK)
            silent = self._loop.time() - self._heard
            if silent > limit:
                self._end(f"Ardour has been silent for {silent:.0f} s")
                return
            if silent > SUSPICIOUS:
                self._send("/set_surface/port", self._settings.reply_port)
                self._send("/set_surface")
            said = f"Ardour has been silent for more than {limit / 2:g} s" if silent > limit / 2 else ""
            if said != problem:
                problem = said
                session.degraded(said)

    async def _keep_polling(self) -> None:
        """Ask for what Ardour does not tell by itself; silence is for `_keep_alive` to judge."""
        while True:
            await asyncio.sleep(self._settings.poll)
            self._send("/transport_speed")
            strips = self._surface.strips()
            first = self._turn * TURN % len(strips) if strips else 0
            self._turn += 1
            with contextlib.suppress(NoAnswerError):
                for strip in (strips[first:] + strips[:first])[:TURN]:
                    if not self._surface.stale.is_set() and self._surface.by_base.get(strip.base) == strip:
                        await self._read(strip)

    async def _watch_end(self) -> None:
        raise EndedError(await asyncio.shield(self._ended))

    def _end(self, reason: str) -> None:
        self._running.group = None  # no command begins any more
        if not self._ended.done():
            self._ended.set_result(reason)

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to Ardour."""
        if self._wishes is not None and not self._ended.done():
            for wish in wishes:
                self._wishes.apply(wish)

    def invoke(self, call: Call) -> None:
        """Run a command; Ardour works them off in order."""
        self._running.invoke(self._session, call, self._call, "Ardour is gone")

    async def _call(self, session: AppSession, call: Call) -> None:
        verb = commands.VERBS.get(call.command)
        try:
            if verb is None:
                raise ValueError(f"Ardour has no command {call.command}")  # noqa: TRY301
            if verb.name in MOVES:
                await self._standing(call.timeout)
            await commands.run(self._asker, self._sender(verb.name), verb, call, self._surface.by_base)
        except (ValueError, NoAnswerError, BridgeError) as error:
            session.fail(call.call_id, str(error))
            return
        session.result(call.call_id, None)

    def _sender(self, command: str) -> Send:
        """Return what sends *command*: the playhead, where Ardour may drop it."""
        playhead = self._wishes.playhead if self._wishes is not None else None
        if playhead is not None and command == "locate":
            return lambda address, position, *roll: playhead.move((address, position, *roll), position)
        if playhead is not None and command in PLACES and self._loop.time() < self._stopping + RECENT:
            return lambda *message: playhead.move(message, None)
        return self._send

    async def _standing(self, timeout: float) -> None:
        """Wait until a transport that comes to a stop stands: until then Ardour drops what moves the playhead."""
        while (left := self._stopping + SETTLES - self._loop.time()) > 0:
            await asyncio.sleep(left)
            await commands.worked_off(self._asker, timeout)  # and has told by then that it stops

    def cancel(self, call_id: int) -> None:
        """Stop waiting for a command; Ardour cannot be stopped from carrying it out."""
        self._running.cancel(call_id)

    def resync(self) -> None:
        """Report everything again."""
        self._resync.set()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self.closed = True
        self._end(reason)


def _before_farewell(messages: Sequence[OscMessage]) -> tuple[Sequence[OscMessage], bool]:
    """Return the messages up to where Ardour takes its leave, and whether it does.

    When it drops a surface it sets everything on it to zero and to blanks, beginning with the names; none of that is
    true of the session. The first of them may have been lost on the way.
    """
    for at, (address, _, args) in enumerate(messages):
        if address in BLANKED and list(args) == [" "]:
            return messages[:at], True
    return messages, False
