"""One joined Live: from the first answer to the last."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from lightfast.sdk import AppSession, BridgeHost, Call, Hello, OscMessage, OscSender, Wish
from lightfast.sdk.silence import Silence
from lightfast_bridges.ableton import commands
from lightfast_bridges.ableton.asking import Asker, NoAnswerError
from lightfast_bridges.ableton.calls import Runner
from lightfast_bridges.ableton.declared import declared
from lightfast_bridges.ableton.layout import Depth, Layout, read_layout
from lightfast_bridges.ableton.objects import Objects
from lightfast_bridges.ableton.paths import Target
from lightfast_bridges.ableton.settings import Settings
from lightfast_bridges.ableton.share import Share
from lightfast_bridges.ableton.surface import Heard, Surface
from lightfast_bridges.ableton.wishes import Wishes

log = structlog.get_logger("lightfast.bridges.ableton")

ALIVE = "/live/application/get/average_process_usage"
STARTUP = "/live/startup"
ROTATION = 32
"""Polled properties read again in each round."""


class EndedError(Exception):
    """The session is over, for the reason it carries."""


@dataclass(slots=True)
class Lasting:
    """What outlives one session with a Live: what clients follow, which object is which, who else listens."""

    asked: Counter[Target] = field(default_factory=Counter)
    """What clients want followed (`start_listen`)."""
    objects: Objects = field(default_factory=Objects)
    share: Share = field(default_factory=Share)


class LiveSession:
    """Joins Live, keeps it in step, and ends with `EndedError`; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, sender: OscSender, settings: Settings, lasting: Lasting | None = None) -> None:
        lasting = lasting or Lasting()
        self._host = host
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._send = sender.send
        self._share = lasting.share
        self.asker = Asker(sender.send, settings.budget)
        self._surface = Surface(
            self.asker,
            sender.send,
            lasting.objects,
            meters=settings.meters,
            parameters=settings.parameters,
            depth=settings.depth,
            held_elsewhere=self._share.holds,
        )
        self._share.held = lambda one: self._surface.listeners.holders(one) > 0
        self._share.stuck = self._surface.doubts.is_stuck
        self._share.reloaded = self._surface.reloaded
        self._runner = Runner(self.asker, self._surface, lasting.asked)
        self._session: AppSession | None = None
        self._wishes: Wishes | None = None
        self._silence = Silence()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self.closed = False  # by the engine
        """The engine has ended it."""
        self._resync = asyncio.Event()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._turn = 0

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        self._silence.heard()
        heard: list[Heard] = []
        for address, _, args in messages:
            if address == STARTUP and self._session is not None:
                self._end("Live has restarted")
                return
            if address == STARTUP:
                continue
            arguments = tuple(args)
            mine = self._share.hear(address, arguments)
            answered = mine and self.asker.hear(address, arguments)
            heard.append((address, arguments, answered))
        self._surface.hear(heard)

    async def run(self) -> None:
        """Join and stay; raises `EndedError` when Live is gone, `NoAnswerError` before it has joined."""
        layout = await read_layout(self.asker, self._settings.depth)
        session = self._session = self._host.hello(await self._hello(layout), self)
        self._wishes = Wishes(session, self.asker, self._send, self._surface.held, max(1, self._settings.budget // 2))
        self._surface.session = session
        self._surface.wishes = self._wishes
        try:
            await self._stay(session, layout)
        finally:
            self._wishes.stop()
            self._share.detach()
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
                await self._runner.listen_again()
                self._share.attach()
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
            parameters=tuple(declared(layout, lambda _: None)),
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
                self._share.attach()
            except NoAnswerError as error:
                session.degraded(f"{error}; trying again")
                self._surface.stale.set()
                await asyncio.sleep(self._settings.poll / 2)

    async def _keep_alive(self) -> None:
        """Ask for a sign of life, whatever else is asked meanwhile."""
        self._silence.begin()
        while True:
            await asyncio.sleep(self._settings.poll)
            self._send(ALIVE)
            silent = self._silence.look(self._settings.poll)
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
        if layout is not self._surface.layout:
            return  # it was read anew meanwhile
        if not layout.problem and self._differs(layout, names, int(scenes[0])):
            self._surface.stale.set()
            return
        if layout.send_names:
            returns = await self.asker.ask("/live/song/get/return_track_names", tries=1)
            if [str(name) for name in returns] != layout.send_names:
                self._surface.stale.set()
                return
        self._turn += 1
        for index in self._turns(len(layout.tracks) if layout.depth >= Depth.PARAMETERS else 0, 4):
            found = await self.asker.ask("/live/track/get/devices/name", index, tries=1)
            if layout is not self._surface.layout:
                return
            if [str(name) for name in found[1:]] != [one.name for one in layout.tracks[index].devices]:
                self._surface.stale.set()
        polled = self._surface.polled()
        await self._surface.read([polled[index] for index in self._turns(len(polled), ROTATION)])

    def _differs(self, layout: Layout, names: Sequence[object], scenes: int) -> bool:
        """Say whether the set has other tracks or scenes than *layout*."""
        if scenes != len(layout.scenes):
            return True
        if layout.depth is Depth.SONG:
            return False
        held = self._surface.held
        return len(names) != len(layout.tracks) or any(
            str(name) != held(f"tracks/{index}/name") for index, name in enumerate(names)
        )

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
        task = self._tasks.create_task(self._runner.run(session, call))
        self._calls[call.call_id] = task
        task.add_done_callback(lambda _: self._calls.pop(call.call_id, None))

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
