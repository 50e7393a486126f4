"""One joined REAPER: from the first answer to the last."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Hello, OscMessage, OscSender, Wish
from lightfast.sdk.pacing import Pacer
from lightfast.sdk.ports import is_open
from lightfast.sdk.silence import Silence
from lightfast_bridges.reaper import commands
from lightfast_bridges.reaper.counts import Counts
from lightfast_bridges.reaper.guids import Sheet, SheetFile, resource_path
from lightfast_bridges.reaper.leaves import declarations
from lightfast_bridges.reaper.mirror import Mirror
from lightfast_bridges.reaper.pacing import BURST, PAUSE
from lightfast_bridges.reaper.probing import NoAnswerError, Prober
from lightfast_bridges.reaper.settings import Settings
from lightfast_bridges.reaper.target import Known
from lightfast_bridges.reaper.wishes import Wishes, presets_first

WHO = "/lightfast/simulator"
"""What only a simulator answers."""
QUIET = 0.15
"""Seconds without news after which REAPER is taken to have told all it was asked for."""
LONGEST = 30.0
"""Seconds after its answer in which REAPER may still tell what it was asked for."""
GRACE = 1.5
"""Seconds that the script has to write down what has changed."""
LOOK = 0.05
BEAT = 0.5
"""Seconds between two looks at the port: one that was started again is another REAPER, however soon it answers."""
MAX_KEPT = 10_000
"""The most wishes that are kept back while tracks are counted anew; the oldest is refused."""
FOREIGN = (
    "REAPER uses another pattern file than Lightfast's: send volumes and the master can only be read, FX parameters "
    "are left out, and it tells meters and clocks that nobody asked for. Run `lightfast pack reaper --output FOLDER`, "
    "copy Lightfast.ReaperOSC into the folder OSC of REAPER's resource path, choose the pattern config Lightfast in "
    "Preferences > Control/OSC/web, and press OK: REAPER reads it only then"
)


class EndedError(Exception):
    """The session is over, for the reason it carries."""


class ReaperSession:
    """Joins REAPER, keeps it in step, and ends with `EndedError`; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, sender: OscSender, settings: Settings) -> None:
        self._host, self._settings = host, settings
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(sender.send, "reaper", burst=BURST, every=PAUSE)
        self._send = self._pacer.send
        self.prober = Prober(self._send)
        self._mirror = Mirror(tracks=settings.tracks)
        self._counts = Counts(settings, self._mirror, self._send)
        self._sheets = SheetFile(resource_path(settings.resource_path))
        self._sheet: Sheet | None = None
        self._misfit: Sheet | None = None
        """What the script said last of other tracks than there are."""
        self._session: AppSession | None = None
        self._wishes: Wishes | None = None
        self._kept: list[Wish] = []
        self._silence = Silence()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self.closed = False
        """The engine has ended it."""
        self._resync = asyncio.Event()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._simulator = False
        self._problem = ""

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        self._silence.heard()
        if self._ended.done():
            return
        self._mirror.hear(messages)
        for address, _, args in messages:
            if address == WHO:
                self._simulator = True
            else:
                self.prober.hear(address, args)

    async def look(self) -> None:
        """Ask whether REAPER is there; raises `NoAnswerError`."""
        await self.prober.count(timeout=1.0, tries=1, longest=2.0)

    async def run(self) -> None:
        """Join and stay; raises `EndedError` when REAPER is gone, `NoAnswerError` before it has joined."""
        try:
            count = await self._introduce()
            names = self._mirror.names(count)
            self._sheet = await self._fitting(names)
            session = self._session = self._host.hello(self._hello(names), self)
            self._wishes = Wishes(session, self._send, self._known, self._counts.refresh)
            self._mirror.session, self._mirror.wishes = session, self._wishes
            try:
                await self._stay(session, count)
            finally:
                self._wishes.stop()
                if not self._ended.done():
                    self._ended.set_result("the bridge stops")
                if not self.closed:
                    session.lost(self._ended.result())
        finally:
            self._pacer.stop()

    async def _introduce(self) -> int:
        """Have REAPER tell everything, and return how many tracks there are."""
        self._send(WHO)
        count = await self._counted()
        self._counts.ask(count, parameters=False)
        self._send("/action", commands.REFRESH)
        await self._told()
        while self._counts.grow():
            self._counts.ask(count, parameters=False)
            await self._told()
        self._counts.ask(count)
        count = await self._told()
        while self._counts.grow():
            self._counts.ask(count)
            count = await self._told()
        if self._counts.ask_missing(count):
            count = await self._told()
        if "transport/position" not in self._mirror.held:
            self._mirror.held["transport/position"] = 0.0  # REAPER tells any other
        return count

    async def _counted(self) -> int:
        return min(await self.prober.count(), self._settings.tracks)

    async def _told(self) -> int:
        """Return when REAPER has told what it was asked for, with the number of tracks."""
        count = await self._counted()
        end, heard = self._loop.time() + LONGEST, -1
        while heard != self._mirror.heard and self._loop.time() < end:
            heard = self._mirror.heard
            await asyncio.sleep(QUIET)
        return count

    def _hello(self, names: Sequence[str]) -> Hello:
        host, port = self._settings.remote
        if self._sheet is not None:
            document = self._sheet.project or "unsaved"
        else:
            document = "tracks-" + hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        return Hello(
            kind="reaper",
            instance_id=f"reaper@{host}:{port}",
            name=self._settings.name,
            app_version=self._sheet.version if self._sheet is not None else "",
            document_id=document,
            generation=-1,
            simulator=self._simulator,
            transport="osc",
            parameters=tuple(declarations(self._settings.top)),
            commands=commands.COMMANDS,
            capabilities=frozenset({"readback", "rename"}),
        )

    async def _stay(self, session: AppSession, count: int) -> None:
        ended = False
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._watch_end())
                tasks.create_task(self._keep_alive())
                tasks.create_task(self._keep_looking())
                self._adopt(count)
                self._mirror.full()
                self._judge(count)
                session.synced()
                tasks.create_task(self._keep_in_step(session))
                tasks.create_task(self._keep_polling())
        except* EndedError:
            ended = True
        finally:
            self._tasks = None
        if ended:
            raise EndedError(self._ended.result())

    # ------------------------------------------------------------------ staying in step

    async def _keep_in_step(self, session: AppSession) -> None:
        """Count the tracks anew when they have changed, make room when it is wanted, report all when somebody asks."""
        while True:
            waits = [
                asyncio.ensure_future(one.wait()) for one in (self._mirror.stale, self._mirror.crowded, self._resync)
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            try:
                await self._renew(session)
            except NoAnswerError:  # `_keep_alive` judges silence
                await asyncio.sleep(LOOK)

    async def _renew(self, session: AppSession) -> None:
        wanted = self._resync.is_set()
        if wanted:
            self._mirror.alarm()
            self._send("/action", commands.REFRESH)
            await self._told()
        if self._mirror.crowded.is_set():
            self._mirror.crowded.clear()
            self._mirror.alarm()
        while self._mirror.stale.is_set():
            alarms = self._mirror.alarms
            count = await self._counted()
            if self._counts.ask(count):
                count = await self._told()
            if self._counts.grow():
                continue
            sheet = await self._fitting(self._mirror.names(count))
            if alarms == self._mirror.alarms:
                self._take(sheet)
                self._adopt(count)
                self._judge(count)
        if wanted:
            self._resync.clear()
            self._mirror.full()
            session.synced()

    def _take(self, sheet: Sheet | None) -> None:
        if sheet is not None and self._sheet is not None and sheet.project != self._sheet.project:
            self._end("another project is in front in REAPER, or it has another name")
        self._sheet = sheet

    def _adopt(self, count: int) -> None:
        """Lay the tracks out, and let go the wishes that were kept back meanwhile."""
        self._counts.report()
        self._mirror.news("surface/patterns", "Lightfast" if self.prober.ours else "other")
        self._mirror.adopt(count, self._sheet.guids if self._sheet is not None else None)
        if self._wishes is not None:
            self._wishes.renumbered()
            kept, self._kept = self._kept, []
            for wish in kept:
                self._wishes.apply(wish)

    async def _fitting(self, names: Sequence[str]) -> Sheet | None:
        """Return what the script says of tracks of these names; None where it does not run, or says something else."""
        sheet: Sheet | None = None
        for _ in range(int(GRACE / LOOK)):
            sheet = self._sheets.look()
            if sheet is None or sheet.fits(names):
                return sheet
            if sheet is self._misfit:
                return None  # left behind by a REAPER that has crashed: it was waited for once
            await asyncio.sleep(LOOK)
        self._misfit = sheet
        return None

    def _judge(self, count: int) -> None:
        """Say what is wrong, or that all is well."""
        reasons = [] if self.prober.ours else [FOREIGN]
        if count >= self._settings.tracks:
            reasons.append(f"only the first {count} tracks are followed: raise plugins.reaper.tracks")
        self._complain("; ".join(reasons))

    def _complain(self, problem: str) -> None:
        if problem != self._problem and self._session is not None:
            self._problem = problem
            self._session.degraded(problem)

    async def _keep_alive(self) -> None:
        limit, said = self._settings.silence, ""
        self._silence.begin()
        while True:
            await asyncio.sleep(limit / 10)
            silent = self._silence.look(limit / 10)
            if silent > limit:
                self._end(f"REAPER has been silent for {silent:.0f} s")
                return
            if silent > limit / 2 and not said:
                said = self._problem
                self._complain(f"REAPER has been silent for more than {limit / 2:g} s")
            elif silent <= limit / 2 and self._problem.startswith("REAPER has been silent"):
                self._complain(said)
                said = ""

    async def _keep_looking(self) -> None:
        """Notice that it is gone from this machine before it is back with other values."""
        while self._settings.remote[0].startswith("127."):
            await asyncio.sleep(BEAT)
            if not await is_open(self._settings.remote):
                self._end("nothing listens on REAPER's port any more")
                return

    async def _keep_polling(self) -> None:
        """Ask for the number of tracks, and look what the script says."""
        while True:
            await asyncio.sleep(self._settings.poll)
            with contextlib.suppress(NoAnswerError):
                count = await self._counted()
                sheet = self._sheets.look()
                other = sheet is not None and sheet != self._sheet and sheet.fits(self._mirror.names(count))
                if count != len(self._mirror.places) or other:
                    self._mirror.alarm()

    async def _watch_end(self) -> None:
        raise EndedError(await asyncio.shield(self._ended))

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def _known(self) -> Known:
        mirror = self._mirror
        marks = {base: at for which in mirror.marks for base, at in mirror.mark_places(which).items()}
        return Known(mirror.by_base, mirror.held, marks, self._settings.top, self.prober.ours)

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to REAPER; while it is not known which track is which, those for tracks wait."""
        if self._wishes is None or self._ended.done():
            return
        for wish in presets_first(wishes):
            if self._mirror.stale.is_set() and wish.path.startswith("tracks/"):
                if len(self._kept) >= MAX_KEPT and self._session is not None:
                    self._session.reject(
                        self._kept.pop(0).wish_id, "too much was wished while REAPER counts its tracks"
                    )
                self._kept.append(wish)
            else:
                self._wishes.apply(wish)

    def invoke(self, call: Call) -> None:
        """Run a command; REAPER works them off in order."""
        session = self._session
        if session is None:
            return
        if self._tasks is None or self._ended.done():
            session.fail(call.call_id, "REAPER is gone")
            return
        task = self._tasks.create_task(self._call(session, call))
        self._calls[call.call_id] = task
        task.add_done_callback(lambda _: self._calls.pop(call.call_id, None))

    async def _call(self, session: AppSession, call: Call) -> None:
        try:
            self._send(*commands.message_of(call.command, call.arguments, self._mirror.held))
            await self.prober.count(timeout=max(0.1, min(call.timeout, 10.0) / 2), tries=2)
        except NoAnswerError:
            session.fail(
                call.call_id, f"REAPER does not answer after {call.command}: does a window wait for an answer?"
            )
        except (ValueError, BridgeError) as error:
            session.fail(call.call_id, str(error))
        else:
            session.result(call.call_id, None)

    def cancel(self, call_id: int) -> None:
        """Stop waiting for a command; REAPER cannot be stopped from carrying it out."""
        if task := self._calls.get(call_id):
            task.cancel()

    def resync(self) -> None:
        """Report everything again."""
        self._resync.set()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self.closed = True
        self._end(reason)
