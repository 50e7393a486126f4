"""One joined OBS: from the first full reading to the end of the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Change, Hello, Value, Wish
from lightfast.sdk.running import Running
from lightfast.sdk.settings import capabilities_at
from lightfast.sdk.silence import Silence
from lightfast_bridges.obs import commands, events
from lightfast_bridges.obs.lanes import Lanes
from lightfast_bridges.obs.reading import Reader, some
from lightfast_bridges.obs.settings import Settings
from lightfast_bridges.obs.socket import (
    UNREADABLE,
    ClosedError,
    Connection,
    RefusedError,
    SilentError,
    first_of,
    why_closed,
)
from lightfast_bridges.obs.surface import declarations, input_path, roots_of, scene_path
from lightfast_bridges.obs.wishes import setting_of
from lightfast_link.path import is_under

log = structlog.get_logger("lightfast.bridges.obs")

CALM = 0.1
"""Seconds after news of the structure until it is read: many come at once."""
SOON = 1.0
"""Seconds in which two things that OBS tells of one value may have come in the wrong order."""
_STUDIO = "studioModeEnabled"
_TROUBLE = (RefusedError, SilentError, ClosedError, BridgeError, *UNREADABLE)


class ObsSession:
    """Keeps one OBS in step, and ends with `ClosedError`; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, settings: Settings, connection: Connection) -> None:
        self._host, self._settings, self._connection = host, settings, connection
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(connection)
        self._session: AppSession | None = None
        self._running = Running()
        self._values: dict[str, Value] = {}
        self._touched: dict[str, float] = {}
        self._looks: list[float] = []
        """When the looks began that are under way."""
        self._doubtful: set[str] = set()
        """What was told twice at once: OBS tells side by side, and the last word may be the older one."""
        self._unsure = asyncio.Event()
        self._stale = asyncio.Event()
        self._resync = False
        self._renamed = False
        """A name has changed since the full reading began."""
        self._resume = asyncio.Event()
        self._resume.set()
        self._lanes = Lanes(self._running.begin, self._carry_out)
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._turn = 0
        self.closed = False
        """The engine has ended it."""

    @property
    def joined(self) -> bool:
        """Say whether it came as far as joining."""
        return self._session is not None

    async def run(self) -> None:
        """Join and stay; raises `ClosedError` when OBS is gone."""
        self._connection.on_event = self._on_event
        gone: ClosedError | None = None
        reason = "the bridge stops"
        try:
            async with asyncio.TaskGroup() as tasks:
                self._running.group = tasks
                tasks.create_task(self._connection.read())
                tasks.create_task(self._watch_end())
                await self._join()
                tasks.create_task(self._keep_alive())
                tasks.create_task(self._keep_in_step())
                tasks.create_task(self._keep_sure())
        except* (ClosedError, RefusedError, SilentError) as group:
            gone = why_closed(group)
            reason = str(gone)
        except* UNREADABLE as group:
            log.debug("obs said what cannot be read", exc_info=group)
            gone = gone or ClosedError(f"OBS says what no OBS says, which cannot be read ({first_of(group)!r:.200})")
            reason = str(gone)
        finally:
            self._running.group = None
            if self._session is not None and not self.closed:
                self._session.lost(reason)
        if gone is not None:
            raise gone

    async def _join(self) -> None:
        version = await self._connection.ask("GetVersion")
        began = self._loop.time()
        values = await self._reader.everything()
        host, port = self._settings.address
        session = self._host.hello(
            Hello(
                kind="obs",
                instance_id=f"obs@{host}:{port}",
                name=self._settings.name,
                app_version=str(version.get("obsVersion", "")),
                document_id=str(values["currentSceneCollectionName"]),
                generation=-1,
                transport="websocket",
                parameters=declarations(),
                commands=commands.COMMANDS,
                capabilities=frozenset({"readback", "rename"}) | capabilities_at(self._settings.url),
            ),
            self,
        )
        self._session = session
        self._merge(values, began, full=True)
        session.synced()

    # ------------------------------------------------------------------ values

    def _merge(self, values: Mapping[str, Value], began: float, *, full: bool = False) -> None:
        """Take a full reading that began at *began*: what an event told after that is newer."""
        newer = {path for path, when in self._touched.items() if when >= began}
        gone = [path for path in self._values if path not in values and path not in newer and not _is_stat(path)]
        for path in gone:
            del self._values[path]
        self._report_gone(gone)
        found = {path: value for path, value in values.items() if path not in newer}
        if full:  # it is told as a whole
            found |= {path: self._values[path] for path in newer if path in self._values}
        self._report(found, full=full)
        since = min(began, self._loop.time() - SOON, *self._looks)
        self._touched = {path: when for path, when in self._touched.items() if when >= since}

    def _report(self, values: Mapping[str, Value], *, full: bool = False) -> None:
        """Report what is not known yet."""
        changed = {path: value for path, value in values.items() if full or not _same(self._values.get(path), value)}
        self._values.update(changed)
        if self._session is not None and changed:
            self._session.report([Change(path, value, object_id=self._id_of(path)) for path, value in changed.items()])

    def _report_gone(self, gone: Sequence[str]) -> None:
        """Report what is gone, an object as a whole."""
        if self._session is not None and gone:
            self._session.report([Change(root, None) for root in sorted(roots_of(gone, self._values))])

    def _id_of(self, path: str) -> str:
        parts = path.split("/", 2)
        return self._reader.ids.get("/".join(parts[:2]), "") if len(parts) == 3 else ""

    # ------------------------------------------------------------------ events

    def _on_event(self, event: str, data: Mapping[str, Any]) -> None:
        news = events.read(event, data)
        if news.paused:
            self._resume.clear()
        if news.ended and not self._ended.done():
            self._ended.set_result(news.ended)
        base = self._base_of(news.of)
        if news.renamed is not None and base is not None:
            self._rename(base + news.renamed[0], base + news.renamed[1])
        now = self._loop.time()
        for path, value in news.values.items():
            at = f"{base}{path}"
            if base is None or (at.startswith(("inputs/", "scenes/")) and at not in self._values):
                news.structure = True  # of something that is not known yet
                continue
            soon = now - self._touched.get(base + path, now - SOON) < SOON
            if soon and not _same(self._values.get(base + path), value):
                self._doubtful.add(base + path)
                self._unsure.set()
            self._touched[base + path] = now
            if self._session is not None:
                self._report({base + path: value})
            else:
                self._values[base + path] = value
        if news.structure:
            self._stale.set()

    def _base_of(self, source: str) -> str | None:
        """Return where a source lies, with a slash at the end; None where it is not known."""
        if not source:
            return ""
        if source in self._reader.inputs:
            return input_path(source) + "/"
        return scene_path(source) + "/" if source in self._reader.scenes else None

    def _rename(self, old: str, new: str) -> None:
        """Let everything below *old* lie below *new*."""
        moved = [path for path in self._values if is_under(f"/{path}", f"/{old}")]
        for path in moved:
            self._values[new + path[len(old) :]] = self._values.pop(path)
        if old in self._reader.ids:
            self._reader.ids[new] = self._reader.ids.pop(old)
        self._renamed = self._renamed or bool(moved)
        if moved and self._session is not None:
            self._session.report([Change(new, None, moved_from=old)])

    # ------------------------------------------------------------------ staying

    async def _watch_end(self) -> None:
        raise ClosedError(await asyncio.shield(self._ended))

    async def _keep_alive(self) -> None:
        """Ask how OBS is, and look at what it does not tell; judge it by whether it answers."""
        silence, trouble = Silence(), False
        while True:
            silence.begin()
            await asyncio.sleep(self._settings.poll)
            await self._resumed()
            try:
                self._report(await self._reader.stats())
                if not trouble:
                    await self._look_at_some()
                silence.heard()
                if trouble and self._session is not None:
                    trouble = False
                    self._session.degraded("")
                    self._stale.set()
            except RefusedError as error:
                log.debug("obs refused a look", reason=str(error))
            except SilentError as error:
                silent = silence.look(self._settings.poll + self._settings.patience)
                if silent > self._settings.gone:
                    raise ClosedError(f"OBS has not answered for {silent:.0f} s: it hangs") from None
                trouble = True
                if self._session is not None:
                    self._session.degraded(f"{error}: it hangs, or is busy")

    async def _resumed(self) -> None:
        """Wait while another scene collection is opened, and say so if that takes long; its being open is the end."""
        try:
            async with asyncio.timeout(self._settings.gone):
                await self._resume.wait()
        except TimeoutError:
            if self._session is not None:  # who joined now might read one that is half open
                long = f"for {self._settings.gone:g} s: it hangs, or is busy"
                self._session.degraded(f"OBS has been opening another scene collection {long}")
            await self._resume.wait()

    async def _look_at_some(self) -> None:
        """Read the settings of some inputs, and the filters of some sources, again."""
        sources = [(name, input_path(name)) for name in self._reader.inputs]
        scenes = [(name, scene_path(name)) for name in self._reader.scenes]
        for name, base in some(sources, self._turn):
            with self._looking() as began:
                found = await self._reader.input_settings(name) | await self._reader.filters(name, base)
                self._report(self._settled(found, began))
        for name, base in some(scenes, self._turn):
            with self._looking() as began:
                self._report(self._settled(await self._reader.filters(name, base), began))
        self._turn += 1

    @contextlib.contextmanager
    def _looking(self) -> Iterator[float]:
        """Note for the length of a block that something is looked at, and give the time when that began."""
        began = self._loop.time()
        self._looks.append(began)
        try:
            yield began
        finally:
            self._looks.remove(began)

    def _settled(self, found: Mapping[str, Value], began: float) -> dict[str, Value]:
        """Leave out what is not known yet, what was told after the look began, and what is about to be set."""
        return {
            path: value
            for path, value in found.items()
            if path in self._values and self._touched.get(path, -1.0) < began and not self._lanes.wants(path)
        }

    async def _keep_sure(self) -> None:
        """Look at what is doubtful, once it is calm."""
        while True:
            await self._unsure.wait()
            await asyncio.sleep(CALM)
            await self._resume.wait()
            self._unsure.clear()
            paths, self._doubtful = self._doubtful, set()
            try:
                with self._looking() as began:
                    self._report(self._settled(await self._reader.again(paths), began))
                # What was told since the look began may be as old as what was told before.
                left = {path for path in paths if self._lanes.wants(path) or self._touched.get(path, -1.0) >= began}
            except (SilentError, RefusedError):  # it is not ready; `_keep_alive` judges the silence
                left = paths
                await asyncio.sleep(self._settings.poll)
            if left:
                self._doubtful |= left
                self._unsure.set()

    async def _keep_in_step(self) -> None:
        """Read everything again whenever something came or went."""
        while True:
            await self._stale.wait()
            await asyncio.sleep(CALM)
            await self._resume.wait()
            self._stale.clear()
            full, self._resync = self._resync, False
            began, self._renamed = self._loop.time(), False
            try:
                values = await self._reader.everything()
                if self._renamed:  # what goes by the old name is not gone, and is no other thing
                    self._stale.set()
                    self._resync |= full
                    continue
                self._merge(values, began, full=full)
            except (SilentError, RefusedError) as error:  # it is not ready; `_keep_alive` judges the silence
                log.debug("obs could not be read", reason=str(error))
                self._stale.set()
                self._resync |= full
                await asyncio.sleep(self._settings.poll)
                continue
            if full and self._session is not None:
                self._session.synced()

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to OBS; that there is a preview comes before what it shows."""
        if self._session is not None:
            on = any(wish.path == _STUDIO and wish.value for wish in wishes)
            for wish in sorted(wishes, key=lambda wish: on and wish.path != _STUDIO):
                self._lanes.take(wish)

    async def _carry_out(self, wishes: Sequence[Wish]) -> None:
        """Carry out the newest of *wishes* for one value, which answers for all; another document gets none."""
        await self._resume.wait()
        wish, session = wishes[-1], self._session
        try:
            setting = setting_of(wish, self._values.get)
            held, twin = await setting.carry_out(self._connection)
        except ClosedError:
            return  # the end of the session speaks for the wishes
        except _TROUBLE as error:
            for each in wishes:
                if session is not None and not each.signal:
                    session.reject(each.wish_id, str(error))
            return
        now: dict[str, Value] = {}
        if wish.moved_from:
            self._rename(wish.moved_from, wish.path)  # what is wished next goes by the new name
        elif wish.value is None:
            self._stale.set()
        else:
            now[wish.path] = wish.value if held is None else held
        if twin is not None and setting.twin in self._values:
            now[setting.twin] = twin
        told = {each.path for each in wishes if not each.signal}
        self._report({path: value for path, value in now.items() if path not in told})
        self._values.update(now)
        self._touched |= dict.fromkeys(now, self._loop.time())
        for each in wishes:
            if session is not None and not each.signal:
                session.settle(each.wish_id, now.get(each.path))
        if wish.moved_from and session is not None and not any(one.startswith(f"{wish.path}/") for one in self._values):
            session.report([Change(wish.path, None)])  # it is gone already, which was said before the answer

    def invoke(self, call: Call) -> None:
        """Run a command."""
        self._running.invoke(self._session, call, self._call, "OBS is gone")

    async def _call(self, session: AppSession, call: Call) -> None:
        on_air = self._values.get("currentProgramSceneName")
        try:
            session.result(call.call_id, await commands.run(self._connection, self._host, on_air, call))
        except _TROUBLE as error:
            session.fail(call.call_id, str(error))

    def cancel(self, call_id: int) -> None:
        """Stop waiting; OBS cannot be stopped from carrying it out."""
        self._running.cancel(call_id)

    def resync(self) -> None:
        """Report everything again."""
        self._resync = True
        self._stale.set()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self.closed = True
        if not self._ended.done():
            self._ended.set_result(reason)


def _is_stat(path: str) -> bool:
    return path.startswith("stats/")


def _same(left: Value | None, right: Value) -> bool:
    return type(left) is type(right) and left == right
