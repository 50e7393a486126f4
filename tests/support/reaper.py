"""A REAPER simulator with its own loop turn, a bridge to it on a fake host, and the names of the default pattern file."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.ending import ended
from tests.support.ports import free_port

from lightfast.sdk import Call, Value, Wish
from lightfast.sdk.testing import FakeAppSession, FakeBridgeHost
from lightfast_bridges.reaper.bridge import ReaperBridge
from lightfast_bridges.reaper.pack import PATTERNS, files_folder
from lightfast_bridges.reaper.patterns import parse
from lightfast_bridges.reaper.project import Fx, Parameter, Project, Send, Track, demo_project
from lightfast_bridges.reaper.simulator import OscSurface

QUICK = {"poll": 0.2, "silence": 6.0}
PATIENCE = 120.0
OURS = (files_folder() / PATTERNS).read_text(encoding="utf-8")
DEFAULT = """
DEVICE_TRACK_COUNT 8
DEVICE_SEND_COUNT 4
DEVICE_RECEIVE_COUNT 4
DEVICE_FX_COUNT 8
DEVICE_FX_PARAM_COUNT 16
DEVICE_MARKER_COUNT 0
REAPER_TRACK_FOLLOWS REAPER
DEVICE_EQ INSERT
TIME f/time s/time/str
BEAT s/beat/str
SAMPLES f/samples s/samples/str
METRONOME t/click
REPEAT t/repeat
RECORD t/record
STOP t/stop
PLAY t/play
PAUSE t/pause
GOTO_MARKER i/marker t/marker/@
PLAY_RATE n/playrate f/playrate/raw r/playrate/rotary s/playrate/str
TEMPO n/tempo f/tempo/raw r/tempo/rotary s/tempo/str
MARKER_NAME s/marker/@/name
MARKER_NUMBER s/marker/@/number/str
MARKER_TIME f/marker/@/time
MARKERID_TIME f/marker_id/@/time
MASTER_VOLUME n/master/volume s/master/volume/str
MASTER_PAN n/master/pan s/master/pan/str
MASTER_VU n/master/vu
TRACK_NAME s/track/name s/track/@/name
TRACK_NUMBER s/track/number/str s/track/@/number/str
TRACK_MUTE b/track/mute b/track/@/mute t/track/mute/toggle t/track/@/mute/toggle
TRACK_SOLO b/track/solo b/track/@/solo t/track/solo/toggle t/track/@/solo/toggle
TRACK_REC_ARM b/track/recarm b/track/@/recarm
TRACK_SELECT b/track/select b/track/@/select
TRACK_VU n/track/vu n/track/@/vu
TRACK_VOLUME n/track/volume n/track/@/volume
TRACK_VOLUME s/track/volume/str s/track/@/volume/str
TRACK_VOLUME f/track/volume/db f/track/@/volume/db
TRACK_PAN n/track/pan n/track/@/pan s/track/pan/str s/track/@/pan/str
TRACK_SEND_NAME s/track/send/@/name s/track/@/send/@/name
TRACK_SEND_VOLUME n/track/send/@/volume n/track/@/send/@/volume
TRACK_SEND_VOLUME s/track/send/@/volume/str s/track/@/send/@/volume/str
TRACK_SEND_PAN n/track/send/@/pan n/track/@/send/@/pan
FX_NAME s/fx/name s/fx/@/name s/track/@/fx/@/name
FX_NUMBER s/fx/number/str s/fx/@/number/str s/track/@/fx/@/number/str
FX_BYPASS b/fx/bypass b/fx/@/bypass b/track/@/fx/@/bypass
FX_PARAM_NAME s/fxparam/@/name s/fx/@/fxparam/@/name
FX_PARAM_VALUE n/fxparam/@/value n/fx/@/fxparam/@/value n/track/@/fx/@/fxparam/@/value
FX_PARAM_VALUE s/fxparam/@/value/str s/fx/@/fxparam/@/value/str
ACTION i/action s/action/str t/action/@ f/action/@/cc
DEVICE_TRACK_COUNT i/device/track/count t/device/track/count/@
DEVICE_SEND_COUNT i/device/send/count t/device/send/count/@
DEVICE_FX_COUNT i/device/fx/count t/device/fx/count/@
DEVICE_FX_PARAM_COUNT i/device/fxparam/count t/device/fxparam/count/@
DEVICE_MARKER_COUNT i/device/marker/count t/device/marker/count/@
DEVICE_TRACK_BANK_SELECT i/device/track/bank/select t/device/track/bank/select/@
DEVICE_TRACK_SELECT i/device/track/select t/device/track/select/@
"""
"""What REAPER uses where the user chose no pattern file, as far as it matters here."""


class Reaper:
    """A running simulator; *surface* is in reach of the test, `surface.user` is the person in front of it."""

    def __init__(self, project: Project | None = None, patterns: str = OURS) -> None:
        self.device_port = free_port()
        self.port = free_port()
        self._patterns = patterns
        self._project = project if project is not None else demo_project()
        self.surface = self._made()
        self._task: asyncio.Task[None] | None = None

    def _made(self) -> OscSurface:
        return OscSurface(self._project, parse(self._patterns), self.device_port)

    @property
    def project(self) -> Project:
        return self._project

    @property
    def user(self) -> Any:
        return self.surface.user

    def start(self) -> None:
        self.surface = self._made()
        self.surface.open(("127.0.0.1", self.port))
        self.surface.telling.everything()
        self._task = asyncio.ensure_future(self._turn())

    async def _turn(self) -> None:
        while True:
            self.surface.tick(0.01)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if self._task is not None:
            await ended(self._task, "the simulator")
            if not self._task.cancelled():
                self._task.result()
        self.surface.close()


@contextlib.asynccontextmanager
async def running(project: Project | None = None, patterns: str = OURS) -> AsyncIterator[Reaper]:
    reaper = Reaper(project, patterns)
    reaper.start()
    try:
        yield reaper
    finally:
        await reaper.stop()


@contextlib.asynccontextmanager
async def bridged(reaper: Reaper, folder: Path, **config: Any) -> AsyncIterator[FakeBridgeHost]:
    table = {
        "remote": f"127.0.0.1:{reaper.port}",
        "reply_port": reaper.device_port,
        "resource_path": str(folder),
        **QUICK,
        **config,
    }
    host = FakeBridgeHost(table)
    task = asyncio.ensure_future(ReaperBridge().run(host))
    try:
        yield host
    finally:
        if task.done():
            task.result()
        await ended(task, "the bridge")
        host.close()


async def joined(host: FakeBridgeHost, number: int = 1) -> FakeAppSession:
    await host.until(lambda: len(host.sessions) >= number, f"join {number}", PATIENCE)
    session = host.sessions[number - 1]
    await session.until(lambda: session.syncs, "in step", PATIENCE)
    return session


@contextlib.asynccontextmanager
async def joint(
    folder: Path, project: Project | None = None, patterns: str = OURS, **config: Any
) -> AsyncIterator[tuple[Reaper, FakeAppSession]]:
    async with running(project, patterns) as reaper, bridged(reaper, folder, **config) as host:
        yield reaper, await joined(host)


async def wish(session: FakeAppSession, number: int, path: str, value: Value | None, moved_from: str = "") -> Any:
    """Wish, and return what it was settled with; fail where it is rejected."""
    session.channel.apply([Wish(number, path, value, number, moved_from=moved_from)])
    await session.until(
        lambda: number in session.settled or number in session.rejected, f"an answer to {path}", PATIENCE
    )
    assert number in session.settled, session.rejected
    return session.settled[number]


async def refusal(session: FakeAppSession, number: int, path: str, value: Value | None) -> str:
    """Wish, and return why it was rejected."""
    session.channel.apply([Wish(number, path, value, number)])
    await session.until(lambda: number in session.rejected or number in session.settled, f"{path}", PATIENCE)
    assert number in session.rejected, session.settled
    return session.rejected[number]


async def call(session: FakeAppSession, number: int, command: str, **arguments: Value) -> str:
    """Run a command and return the reason for its failure, empty where there is none."""
    session.channel.invoke(Call(number, command, arguments, PATIENCE))
    await session.until(lambda: number in session.results or number in session.failures, command, PATIENCE)
    return session.failures.get(number, "")


async def holds(session: FakeAppSession, path: str, value: Any, tolerance: float = 1e-3) -> None:
    """Wait until *value* was reported at *path*; None waits until there is nothing."""

    def there() -> bool:
        found = session.values.get(path)
        if isinstance(value, float) and isinstance(found, float):
            return abs(found - value) <= tolerance
        return bool(found == value)

    try:
        await session.until(there, f"{path} = {value!r}", PATIENCE)
    except TimeoutError as error:
        raise AssertionError(f"{error}; there is {session.values.get(path)!r}") from None


def song(count: int, fx: int = 1) -> Project:
    """Return a project of many tracks, each with some FX and a send."""
    return Project(
        tracks=[
            Track(
                f"T{number:03d}",
                fx=[Fx(f"Fx {one}", [Parameter("Mix", 0.5), Parameter("Gain", 0.25)]) for one in range(1, fx + 1)],
                sends=[Send("T001")],
            )
            for number in range(1, count + 1)
        ]
    )


def written(folder: Path, tracks: Sequence[Track], project: str = "/songs/one.rpp", sequence: int = 1) -> None:
    """Write what the script in REAPER writes."""
    target = folder / "lightfast" / "tracks.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    found = [{"guid": track.guid, "name": track.name} for track in tracks]
    text = json.dumps({"version": 1, "sequence": sequence, "project": project, "reaper": "7.22", "tracks": found})
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
