"""One joined device; the engine's `AppChannel` to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Change, Hello, Value, Wish
from lightfast_bridges.midi.calls import ended, run
from lightfast_bridges.midi.following import Following
from lightfast_bridges.midi.hands import Hands
from lightfast_bridges.midi.inbox import Inbox
from lightfast_bridges.midi.leading import Leading
from lightfast_bridges.midi.order import Order
from lightfast_bridges.midi.pairs import Pairs
from lightfast_bridges.midi.ports import Input, Output, Ports
from lightfast_bridges.midi.schedule import Schedule
from lightfast_bridges.midi.sender import MAX_WAITING, Sender
from lightfast_bridges.midi.settings import Settings
from lightfast_bridges.midi.surface import PLAYING, commands, heard, message_of, parameters
from lightfast_bridges.midi.threads import in_thread

log = structlog.get_logger("lightfast.bridges.midi")

LOOK_S = 1.0
"""Seconds between two looks at the ports."""
BEAT_S = 0.1
"""Seconds between two looks at what silence says, and between two reports of where we lead."""
NO_OUTPUT = "nothing is sent to this device: name its output in plugins.midi.output"
GRIEF_S = 10.0
"""Seconds that the loss of messages is shown after the last one."""


class EndedError(Exception):
    """The session is over, for the reason it carries."""


class MidiSession:
    """Carries messages between one device and the engine. *held* is what is known of it, and outlives the session."""

    def __init__(self, host: BridgeHost, ports: Ports, settings: Settings, held: dict[str, Value]) -> None:
        self._host = host
        self._ports = ports
        self._settings = settings
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._inbox = Inbox(self._loop, self._wake.set, ordered=settings.ordered)
        self._following = Following()
        self._hands = Hands(settings.hold)
        self._pairs = Pairs(settings.pairs)
        self._session: AppSession | None = None
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._closed = False
        self._sender: Sender | None = None
        self._leading: Leading | None = None
        self._order = Order()
        self._sounding: set[str] = set()
        """The notes that we made sound."""
        self._told_dropped = 0
        self._dropped_at = 0.0
        self._grief = ""
        self._looked = 0.0

    async def run(self, input_name: str, output_name: str) -> None:
        """Join and stay; raises `EndedError` when the device is gone, `BridgeError` where it does not open."""
        opened: list[Input | Output] = []
        failed = ""
        try:
            await self._open(input_name, output_name, opened)
            self._join(input_name, output_name)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_end())
                tasks.create_task(self._pump())
                tasks.create_task(self._keep_looking(input_name, output_name))
        except* EndedError:
            pass
        except* BridgeError as group:
            failed = str(group.exceptions[0])
        finally:
            self._end(failed or "the bridge stops")
            self._leave()
            for port in (self._sender, *opened):
                if port is not None:
                    await self._close_port(port)
        if self._session is None:
            raise BridgeError(failed)
        raise EndedError(self._ended.result())

    async def _open(self, input_name: str, output_name: str, opened: list[Input | Output]) -> None:
        virtual, ports = self._settings.virtual, self._ports
        if output_name:
            what = f"the output {output_name}"
            output = await in_thread(what, ports.open_output, output_name, virtual=virtual)
            opened.append(output)
            schedule = Schedule(clock=self._settings.clock, rate=self._settings.rate)
            self._sender = Sender(output.send, schedule, self._fail_later)
            self._leading = Leading(self._sender, self._settings)
            self._sender.start()
        if input_name:
            what = f"the input {input_name}"
            opened.append(await in_thread(what, ports.open_input, input_name, self._inbox.put, virtual=virtual))

    async def _close_port(self, port: Sender | Input | Output) -> None:
        try:
            await in_thread("the port", port.close)
        except BridgeError as error:  # it is given up, and what it was for is over
            log.warning("a MIDI port does not close", name=self._settings.name, reason=str(error))

    def _join(self, input_name: str, output_name: str) -> None:
        settings = self._settings
        self._held.update({"status/input": input_name, "status/output": output_name, "status/dropped": 0})
        session = self._session = self._host.hello(
            Hello(
                kind="midi",
                instance_id=f"midi@{settings.name or input_name or output_name}",
                name=settings.name,
                document_id=f"{settings.input}|{settings.output}",
                generation=-1,
                transport="midi",
                parameters=parameters(),
                commands=commands(),
            ),
            self,
        )
        if self._leading is not None:
            for path, value, _ in self._leading.values(time.monotonic()):
                self._held.setdefault(path, value)
        session.report([Change(path, value) for path, value in self._held.items()])
        session.synced()

    def _leave(self) -> None:
        """Say what is true of a device that is away: nothing sounds, nothing plays."""
        self._inbox.close()
        if self._sender is not None:
            for path in self._sounding:
                for message in message_of(path, 0, ()):
                    self._sender.post(message)
            if self._sender.place(time.monotonic())[0]:
                self._sender.steer(lambda schedule, now: schedule.stop(now))
        silent: dict[str, Value] = {}
        silent.update({path: 0 for path, value in self._held.items() if "/note/" in path and value})
        silent.update({path: False for path in PLAYING if self._held.get(path)})
        self._held |= silent
        if self._session is not None and not self._closed:
            self._session.report([Change(path, value) for path, value in silent.items()])
            self._session.lost(self._ended.result())

    # What the device says.

    async def _pump(self) -> None:
        while True:
            due = [at for at in (self._hands.next_due(), self._pairs.next_due()) if at is not None]
            pause = min([BEAT_S, *(at - time.monotonic() for at in due)])
            try:
                async with asyncio.timeout(max(0.0, pause)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._work(time.monotonic())

    def _work(self, now: float) -> None:
        out: list[Change] = []
        for item in self._inbox.take():
            out += self._hear(item.message, item.time)
        for path, value, at in self._pairs.due(now):
            out += self._moved(path, value, at)
        out += self._changes(self._following.look(now))
        if now - self._looked >= BEAT_S and self._leading is not None:
            self._looked = now
            out += self._changes(self._leading.look(now))
            self._leading.yields(self._following.clock.heard, now)
        out += self._count_dropped(now)
        if out and self._session is not None:
            self._session.report(out)
        for path, wished in self._hands.due(now):
            self._put_signal(path, wished)

    def _hear(self, message: bytes, at: float) -> list[Change]:
        news = self._following.take(message, at)
        if news is not None:
            if self._leading is not None and self._leading.active:
                self._mourn("it sends a clock or timecode of its own while it is led: switch one of them off", at)
                return []
            return self._changes(news)
        found = heard(message)
        if found is None:
            return []
        half, whole = self._pairs.heard(found[0], found[1] if isinstance(found[1], int) else 0, at)
        if half:
            return self._moved(*whole, at) if whole is not None else []
        return self._moved(*found, at)

    def _moved(self, path: str, value: Value, at: float) -> list[Change]:
        self._hands.moved(path, value, at)
        self._order.heard(path, at)
        return self._changes([(path, value, at)])

    def _changes(self, news: Sequence[tuple[str, Value, float]]) -> list[Change]:
        """Return what differs from what is known, or is a note: one may be struck twice. What we sent is newer."""
        behind = time.time_ns() - int(time.monotonic() * 1e9)
        out = []
        for path, value, at in news:
            note, sent = "/note/" in path, self._order.sent_after(path, at)
            if sent is not None:
                if note:  # it was struck, but what we sent is what holds
                    out.append(Change(path, value, int(at * 1e9) + behind, every=True))
                    out.append(Change(path, self._held[path], int(sent * 1e9) + behind))
            elif self._held.get(path) != value or note:
                self._held[path] = value
                out.append(Change(path, value, int(at * 1e9) + behind, every=note))
        return out

    def _count_dropped(self, now: float) -> list[Change]:
        dropped = self._inbox.dropped
        if dropped == self._told_dropped:
            if self._grief and now - self._dropped_at > GRIEF_S:
                self._grief = ""
                self._degraded("")
            return []
        self._told_dropped = dropped
        self._held["status/dropped"] = dropped
        notes = self._inbox.dropped_notes
        self._mourn(f"it sends faster than it is heard: {dropped} messages are lost, {notes} of them notes", now)
        return [Change("status/dropped", dropped)]

    def _mourn(self, reason: str, now: float) -> None:
        self._dropped_at = now
        if reason != self._grief:
            self._grief = reason
            self._degraded(reason)

    def _degraded(self, reason: str) -> None:
        if self._session is not None:
            self._session.degraded(reason)

    async def _keep_looking(self, input_name: str, output_name: str) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            inputs, outputs = await in_thread("the list of ports", self._ports.names)
            if not self._settings.virtual:
                for side, name, there in (("input", input_name, inputs), ("output", output_name, outputs)):
                    if name and name not in there:
                        self._end(f"the {side} {name} is gone: it is joined again when it is back")
                        return

    async def _watch_end(self) -> None:
        raise EndedError(await asyncio.shield(self._ended))

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def _fail_later(self, reason: str) -> None:
        """Take from the sender's thread that the port failed."""
        self._later(lambda: self._end(reason))

    def _later(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            log.warning("the loop has ended", name=self._settings.name)

    # What the engine wants.

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to the device."""
        session = self._session
        if session is None or self._ended.done():
            return
        for wish in wishes:
            try:
                self._apply(session, wish)
            except (ValueError, BridgeError) as error:
                if not wish.signal:
                    session.reject(wish.wish_id, str(error))

    def _apply(self, session: AppSession, wish: Wish) -> None:
        if wish.value is None:
            raise ValueError(f"{wish.path} cannot be deleted: the device has it, whatever is known of it")
        if self._sender is None or self._leading is None:
            raise ValueError(NO_OUTPUT)
        if not wish.path.startswith("ch/"):
            self._lead(session, self._leading, wish)
            return
        messages = message_of(wish.path, wish.value, self._settings.pairs)
        if wish.signal:
            if self._hands.wish(wish.path, wish.value, time.monotonic()):
                self._put_signal(wish.path, wish.value)
            return
        if not self._sender.post(*messages, done=self._done(wish, self._sender)):
            raise BridgeError(f"the device does not keep up: {MAX_WAITING} messages wait for it")

    def _done(self, wish: Wish, sender: Sender) -> Callable[[str], None]:
        """Return what the sender's thread calls when *wish* was sent."""

        def done(reason: str) -> None:
            began = sender.began
            self._later(lambda: self._sent(wish, reason, began))

        return done

    def _sent(self, wish: Wish, reason: str, began: float) -> None:
        if self._session is None or self._ended.done() or wish.value is None:
            return
        if reason:
            self._session.reject(wish.wish_id, reason)
            return
        if "/note/" in wish.path:
            (self._sounding.add if wish.value else self._sounding.discard)(wish.path)
        newer = self._order.sent(wish.path, began)
        if not newer:
            self._held[wish.path] = wish.value
        self._session.settle(wish.wish_id, wish.value)
        if newer:  # the device moved it while we sent: that was reported already, but before this answer
            self._session.report([Change(wish.path, self._held[wish.path])])

    def _put_signal(self, path: str, value: Value) -> None:
        """Send a signal; it takes the place of what still waits for the same controller."""
        if self._sender is None:
            return
        self._held[path] = value
        self._order.sent(path, time.monotonic())
        self._sender.post(*message_of(path, value, self._settings.pairs), key=path)

    def _lead(self, session: AppSession, leading: Leading, wish: Wish) -> None:
        """Steer the timeline that goes out, and say what it is then."""
        assert wish.value is not None  # noqa: S101  # the caller looked
        leading.steer(wish.path, wish.value)
        if not wish.signal:
            self._held[wish.path] = wish.value
            session.settle(wish.wish_id, wish.value)
        news = leading.values(time.monotonic())
        for path, _, at in news:
            self._order.sent(path, at)
        session.report(self._changes(news))

    def invoke(self, call: Call) -> None:
        """Run a command."""
        session = self._session
        if session is None:
            return
        if self._sender is None or self._ended.done():
            session.fail(call.call_id, NO_OUTPUT)
            return
        try:
            run(self._sender, call, self._held, lambda reason, sent: self._later(lambda: self._ran(call, reason, sent)))
        except ValueError as error:
            session.fail(call.call_id, str(error))

    def _ran(self, call: Call, reason: str, sent: int) -> None:
        session = self._session
        if session is None or self._ended.done():
            return
        if reason:
            session.fail(call.call_id, reason)
            return
        session.result(call.call_id, sent)
        notes = ended(call, self._held)
        self._sounding.difference_update(notes)
        session.report(self._changes([(path, 0, time.monotonic()) for path in notes]))

    def cancel(self, call_id: int) -> None:
        """Do nothing: commands take no time."""

    def resync(self) -> None:
        """Report what is known: a MIDI device cannot be asked."""
        if self._session is not None:
            self._session.report([Change(path, value) for path, value in self._held.items()])
            self._session.synced()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self._closed = True
        self._end(reason)
