"""One joined Live: from the first answer to the last."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Hello, OscMessage, OscSender, Wish
from lightfast_bridges.ableton import commands
from lightfast_bridges.ableton.asking import Asker, NoAnswerError
from lightfast_bridges.ableton.layout import Layout, read_layout
from lightfast_bridges.ableton.paths import Target, declarations, target_of
from lightfast_bridges.ableton.surface import Surface
from lightfast_bridges.ableton.wishes import Wishes

log = structlog.get_logger("lightfast.bridges.ableton")

ALIVE = "/live/application/get/average_process_usage"
STARTUP = "/live/startup"
ROTATION = 32
"""Polled properties read again in each round."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one Live is joined; *poll* and *silence* in seconds."""

    remote: tuple[str, int] = ("127.0.0.1", 11_000)
    reply_port: int = 11_001
    name: str = ""
    meters: bool = False
    parameters: int = 64
    poll: float = 2.0
    silence: float = 6.0


class EndedError(Exception):
    """The session is over, for the reason it carries."""


class LiveSession:
    """Joins Live, keeps it in step, and ends with `EndedError`; the engine's `AppChannel` to it."""

    def __init__(
        self, host: BridgeHost, sender: OscSender, settings: Settings, asked: Counter[Target] | None = None
    ) -> None:
        """*asked* counts what clients want followed (`start_listen`); it outlives the session."""
        self._host = host
        self._asked = Counter[Target]() if asked is None else asked
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._send = sender.send
        self.asker = Asker(sender.send)
        self._surface = Surface(self.asker, sender.send, meters=settings.meters, parameters=settings.parameters)
        self._session: AppSession | None = None
        self._wishes: Wishes | None = None
        self._heard = self._loop.time()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self.closed = False  # by the engine
        """The engine has ended it."""
        self._resync = asyncio.Event()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._turn = 0

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        self._heard = self._loop.time()
        for address, _, args in messages:
            if address == STARTUP and self._session is not None:
                self._end("Live has restarted")
                return
            self.asker.hear(address, tuple(args))
        self._surface.hear(messages)

    async def run(self) -> None:
        """Join and stay; raises `EndedError` when Live is gone, `NoAnswerError` before it has joined."""
        layout = await read_layout(self.asker)
        session = self._session = self._host.hello(await self._hello(layout), self)
        self._wishes = Wishes(session, self.asker, self._send, self._surface.held)
        self._surface.session = session
        self._surface.wishes = self._wishes
        try:
            await self._stay(session, layout)
        finally:
            self._wishes.stop()
            if not self._ended.done():
                self._ended.set_result("the bridge stops")
            if not self.closed:
                session.lost(self._ended.result())

    async def _stay(self, session: AppSession, layout: Layout) -> None:
        ended = False
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._watch_end())
                tasks.create_task(self._keep_alive())
                await self._synchronize(session, layout)
                await self._listen_again()
                tasks.create_task(self._keep_in_step(session))
                tasks.create_task(self._keep_polling())
        except* EndedError:
            ended = True
        finally:
            self._tasks = None
        if ended:
            raise EndedError(self._ended.result())

    async def _hello(self, layout: Layout) -> Hello:
        version = await self.asker.probe("/live/application/get/version")
        simulator = await self.asker.probe("/live/simulator")
        host, port = self._settings.remote
        return Hello(
            kind="ableton",
            instance_id=f"ableton@{host}:{port}",
            name=self._settings.name,
            app_version=".".join(str(part) for part in version or ()),
            document_id=layout.fingerprint(),
            generation=-1,
            simulator=simulator is not None,
            transport="osc",
            parameters=tuple(declarations()),
            commands=tuple(commands.commands()),
            capabilities=frozenset({"readback"}),
        )

    # ------------------------------------------------------------------ staying in step

    async def _synchronize(self, session: AppSession, layout: Layout | None = None) -> None:
        """Report all, until Live has held still long enough to be read."""
        while True:
            try:
                await self._surface.synchronize(full=True, layout=layout)
            except NoAnswerError as error:
                layout = None
                session.degraded(f"{error}; trying again")
                await asyncio.sleep(self._settings.poll / 2)
            else:
                session.synced()
                return

    async def _keep_in_step(self, session: AppSession) -> None:
        """Read the set again when it has changed or when somebody asks."""
        while True:
            stale = asyncio.ensure_future(self._surface.stale.wait())
            asked = asyncio.ensure_future(self._resync.wait())
            try:
                await asyncio.wait((stale, asked), return_when=asyncio.FIRST_COMPLETED)
            finally:
                stale.cancel()
                asked.cancel()
            if self._resync.is_set():
                self._resync.clear()
                await self._synchronize(session)
                continue
            try:
                await self._surface.synchronize(full=False)
            except NoAnswerError as error:
                session.degraded(f"{error}; trying again")
                self._surface.stale.set()
                await asyncio.sleep(self._settings.poll / 2)

    async def _keep_alive(self) -> None:
        """Ask for a sign of life, whatever else is asked meanwhile."""
        while True:
            await asyncio.sleep(self._settings.poll)
            self._send(ALIVE)
            silent = self._loop.time() - self._heard
            if silent > self._settings.silence:
                self._end(f"Live has been silent for {silent:.0f} s")
                return

    async def _keep_polling(self) -> None:
        """Ask for what Live does not tell by itself; silence is for `_keep_alive` to judge."""
        while True:
            await asyncio.sleep(self._settings.poll)
            if not self._surface.stale.is_set():
                with contextlib.suppress(NoAnswerError):
                    await self._poll()

    async def _poll(self) -> None:
        """Compare the set's outline with what is known, and read some properties again."""
        layout = self._surface.layout
        names = await self.asker.ask("/live/song/get/track_names", tries=1)
        scenes = await self.asker.ask("/live/song/get/num_scenes", tries=1)
        devices = {}
        for index in self._turns(len(layout.tracks), 4):
            found = await self.asker.ask("/live/track/get/devices/name", index, tries=1)
            devices[index] = [str(name) for name in found[1:]]
        if layout is not self._surface.layout:
            return  # it was read anew meanwhile
        if (
            len(names) != len(layout.tracks)
            or scenes[0] != len(layout.scenes)
            or any(found != [one.name for one in layout.tracks[index].devices] for index, found in devices.items())
            or any(str(name) != self._surface.held(f"tracks/{index}/name") for index, name in enumerate(names))
        ) and not layout.problem:
            self._surface.stale.set()
        polled = self._surface.polled()
        await self._surface.read([polled[index] for index in self._turns(len(polled), ROTATION)])
        self._turn += 1

    def _turns(self, count: int, size: int) -> list[int]:
        """Return the indices whose turn it is, at most *size* of *count*."""
        first = self._turn * size % count if count else 0
        return sorted({(first + step) % count for step in range(min(size, count))})

    async def _watch_end(self) -> None:
        raise EndedError(await asyncio.shield(self._ended))

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes into Live."""
        if self._wishes is not None and not self._ended.done():
            for wish in wishes:
                self._wishes.apply(wish)

    def invoke(self, call: Call) -> None:
        """Run a command; Live works them off in order."""
        session = self._session
        if session is None:
            return
        if self._tasks is None or self._ended.done():
            session.fail(call.call_id, "Live is gone")
            return
        task = self._tasks.create_task(self._call(session, call))
        self._calls[call.call_id] = task
        task.add_done_callback(lambda _: self._calls.pop(call.call_id, None))

    async def _call(self, session: AppSession, call: Call) -> None:
        try:
            if call.command in ("start_listen", "stop_listen"):
                await self._listen(call)
                session.result(call.call_id, None)
                return
            verb = commands.VERBS.get(call.command)
            if verb is None:
                raise ValueError(f"Live has no command {call.command}")  # noqa: TRY301
            result = await commands.run(self.asker, verb, call)
        except (ValueError, NoAnswerError, BridgeError) as error:
            session.fail(call.call_id, str(error))
            return
        if verb.structural:
            self._surface.stale.set()
        session.result(call.call_id, result)

    async def _listen(self, call: Call) -> None:
        """Carry out `start_listen` and `stop_listen`."""
        path = call.arguments.get("path")
        if not isinstance(path, str):
            raise ValueError(f"{call.command} needs path: a property like tracks/0/output_meter_level")  # noqa: TRY004
        found = target_of(path)
        if found is None or not self._surface.layout.has(found.stem, found.verb, found.ids):
            raise ValueError(f"there is no property {path!r} in Live: write for example tracks/0/output_meter_level")
        if call.command == "stop_listen":
            self._asked.subtract([found])
            if self._asked[found] <= 0:
                del self._asked[found]
            await self._surface.listeners.release(found)
        elif await self._surface.listeners.acquire(found):
            self._asked[found] += 1
        else:
            await self._surface.listeners.release(found)
            raise ValueError(f"Live has no listener for {path}")

    async def _listen_again(self) -> None:
        """Follow what clients asked for before Live was restarted; what is not there any more is forgotten."""
        for found, count in list(self._asked.items()):
            if not self._surface.layout.has(found.stem, found.verb, found.ids):
                del self._asked[found]
                continue
            for _ in range(count):
                await self._surface.listeners.acquire(found)

    def cancel(self, call_id: int) -> None:
        """Stop waiting for a command; Live cannot be stopped from carrying it out."""
        if task := self._calls.get(call_id):
            task.cancel()

    def resync(self) -> None:
        """Report everything again."""
        self._resync.set()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self.closed = True
        self._end(reason)
