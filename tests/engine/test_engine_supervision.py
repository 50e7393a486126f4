"""Applications under supervision: every state with its reason in the context, and none that blocks another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import App, Desk, bounded, hello, open_desk, until
from tests.support.link import KEY, tcp_door
from tests.support.link import App as LinkApp
from tests.support.link_raw import Raw

from lightfast.context.entry import Status
from lightfast.context.watch import WatchSpec, watch
from lightfast.core.clock import SYSTEM
from lightfast.engine.apps.link_server import LinkServer
from lightfast.engine.apps.records import AppState
from lightfast.sdk import Change
from lightfast_link.messages import Change as LinkChange

TEMPO = "/live/song/tempo"
QUICK = {"live": {"wish_timeout_s": 0.15}}
FROZEN = """
import os, sys
from lightfast_link.client import LinkClient
from lightfast_link.messages import Change
from lightfast_link.tcp import TcpTransport

host, port, key = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
client = LinkClient(TcpTransport(host, port), {"app": "frozen", "instance_id": "f", "document_id": "d"}, key=key)
client.start()
while True:
    client.wait(0.5)
    for event in client.poll():
        if event[0] in ("welcome", "resync"):
            client.report([Change("x", 1.0)])
            client.synced()
        elif event[0] == "apply":
            for wish in event[1]:
                client.settled(wish.id, wish.value)
"""


def shown(desk: Desk, mount: str) -> dict[str, Any]:
    """Return what stands below `/lightfast/apps/<mount>`."""
    root = f"/lightfast/apps/{mount}/"
    return {entry.path[len(root) :]: entry.value for entry in desk.store.select(root + "/")}


@asynccontextmanager
async def door(desk: Desk) -> AsyncIterator[tuple[LinkServer, str, int]]:
    """Open a TCP door for link clients of *desk*."""
    server = LinkServer(
        desk.registry,
        position=lambda: (desk.store.store_id, desk.store.revision),
        tasks=desk.tasks,
        clock=SYSTEM,
        key=KEY,
    )
    async with tcp_door(server) as (_, host, port):
        yield server, host, port


async def test_a_watcher_sees_every_state_with_its_reason(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        states: list[str] = []

        async def look() -> None:
            batches = watch(desk.store, WatchSpec(patterns=("/lightfast/apps/live/state",)))
            async for batch in batches:
                states.extend(str(event.entry.value) for event in batch.events)

        looking = asyncio.ensure_future(look())
        await asyncio.sleep(0)
        desk.registry.absent("live", "nothing answers on UDP port 11000: start Live")
        await until(lambda: "absent" in states)
        found = shown(desk, "live")
        assert (found["state"], found["reason"]) == ("absent", "nothing answers on UDP port 11000: start Live")
        absent_since = found["since"]
        assert absent_since > 0
        desk.registry.absent("live", "still nothing")
        await until(lambda: shown(desk, "live")["reason"] == "still nothing")
        assert shown(desk, "live")["since"] == absent_since, "the state began when it began"
        app = App({"song/tempo": 120.0})
        session = desk.join(app, hello(pid=42), snapshot=False)
        await until(lambda: states[-2:] == ["connecting", "resyncing"], lambda: states)
        app.report_all()
        await bounded(session.live.wait())
        await until(lambda: states[-1] == "live")
        found = shown(desk, "live")
        assert (found["instance_id"], found["document_id"], found["pid"]) == ("i1", "a", 42)
        assert found["recovery_s"] >= 0
        assert found["since"] > absent_since
        session.degraded("it renders")
        await until(lambda: states[-1] == "degraded")
        assert shown(desk, "live")["reason"] == "it renders"
        session.degraded("")
        await until(lambda: states[-1] == "live")
        await desk.leave(app, "it crashed")
        await until(lambda: states[-1] == "gone")
        assert shown(desk, "live")["reason"] == "it crashed"
        looking.cancel()
        await asyncio.wait([looking])


async def test_a_frozen_application_is_named_and_blocks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.engine.apps.link_pulse.SILENT_AFTER", 1.5)
    monkeypatch.setattr("lightfast.engine.apps.link_pulse.DEAD_AFTER", 4.0)
    monkeypatch.setattr("lightfast.engine.apps.link_pulse.PING_EVERY", 0.3)
    script = tmp_path / "frozen.py"
    script.write_text(FROZEN)
    (tmp_path / "store").mkdir()
    async with open_desk(tmp_path / "store") as desk, door(desk) as (_, host, port):
        with LinkApp.tcp(host, port) as other:
            process = subprocess.Popen([sys.executable, str(script), host, str(port), KEY.hex()])
            try:
                await until(lambda: "/frozen" in {app.mount for app in desk.registry.list()})
                await until(lambda: desk.registry.get("/frozen").state is AppState.LIVE)
                await other.until("welcome")
                other.client.report([LinkChange("objects/Cube/location", (0.0, 0.0, 0.0))])
                other.client.synced()
                await until(lambda: desk.registry.get("/blender").state is AppState.LIVE)
                os.kill(process.pid, signal.SIGSTOP)
                await until(lambda: desk.registry.get("/frozen").state is AppState.DEGRADED)
                assert "it may be frozen" in desk.registry.get("/frozen").state_reason
                revision = await desk.set("/blender/objects/Cube/location", (1.0, 2.0, 3.0))
                wishes = (await other.until("apply"))[1]
                assert wishes[0].revision == revision, "the other one is served while this one is frozen"
                other.client.settled(wishes[0].id)
                await desk.status("/blender/objects/Cube/location", Status.SETTLED)
                os.kill(process.pid, signal.SIGCONT)
                await until(lambda: desk.registry.get("/frozen").state is AppState.LIVE)
                os.kill(process.pid, signal.SIGSTOP)
                await until(lambda: desk.registry.get("/frozen").state is AppState.GONE)
                assert desk.registry.get("/frozen").state_reason == "the application was silent for 4 s"
                await desk.status("/frozen/x", Status.STALE)
                os.kill(process.pid, signal.SIGCONT)
                await until(lambda: desk.registry.get("/frozen").state is AppState.LIVE)
            finally:
                process.kill()
                process.wait(10)


async def test_one_that_answers_garbage_over_the_link_is_counted_not_obeyed(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, door(desk) as (server, host, port):
        raw = await Raw.open(host, port)
        await raw.join()
        raw.send("state", {"sequence": 1, "changes": [{"path": "objects/A/location", "value": [1.0, 2.0, 3.0]}]})
        raw.send("applied", {"wishes": [{"id": 999}]})
        raw.send("result", {"id": 5, "result": "unasked"})
        raw.send("rejected", {"id": "x"})
        raw.send("applied", {})
        raw.send("nonsense", {})
        raw.send("state", {"sequence": 2, "changes": [{"path": "objects//A", "value": 1}], "synced": True})
        await until(lambda: server.counters["bad_frames"] >= 3)
        await until(lambda: desk.registry.get("/blender").state in {AppState.LIVE, AppState.DEGRADED})
        assert desk.registry.session("/blender").vitals().bad_frames >= 3
        found = await desk.registry.diagnose("blender")
        assert any("frames were malformed" in finding.what for finding in found)
        raw.close()
        await until(lambda: desk.registry.get("/blender").state is AppState.GONE)


async def test_a_flood_of_malformed_reports_is_told_not_repeated(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        session = await desk.live(app, hello())
        before = desk.store.revision
        for number in range(500):
            session.report([Change(f"song//{number}", 1.0)])
        session.report([Change("song/name", "good")])
        await desk.holds("/live/song/name", "good")
        assert session.vitals().malformed == 500
        assert desk.registry.get("live").state is AppState.DEGRADED
        assert desk.store.revision - before < 20, "what is wrong is said, not written five hundred times"
        await bounded(desk.registry.resync("live"))
        assert desk.registry.get("live").state is AppState.LIVE, "it reported everything, and all of it was good"


async def test_a_read_back_that_got_lost_is_asked_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0}, answers=False)
        await desk.live(app, hello())
        app.deaf = True
        await desk.set(TEMPO, 90.0)
        await desk.status(TEMPO, Status.REJECTED)
        await desk.holds("/lightfast/apps/live/state", "degraded")
        app.deaf = False
        asked = app.resyncs
        await desk.set(TEMPO, 80.0)
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert entry.value == 80.0
        assert app.resyncs > asked
        await until(lambda: desk.registry.get("live").state is AppState.LIVE)


async def test_one_that_answers_late_is_believed(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.deaf = True
        await desk.set(TEMPO, 90.0)
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert "no answer within 0.15 s" in entry.status_reason
        app.joined.settle(app.wishes[-1].wish_id, 90.0)
        await desk.status(TEMPO, Status.SETTLED)


async def test_one_that_floods_does_not_keep_another_from_its_wish(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        noisy, quiet = App({"song/tempo": 1.0}), App({"song/tempo": 2.0})
        await desk.live(noisy, hello("i1", "a"))
        await desk.live(quiet, hello("i2", "b"))
        flooding = True

        async def flood() -> None:
            number = 0
            while flooding:
                number += 1
                noisy.joined.report(
                    [Change(f"tracks/{n % 50}/meter", float(number)) for n in range(50)]
                    + [Change("song/tempo", 20.0 + number % 900)]
                )
                await asyncio.sleep(0.001)  # it is another process, which leaves this one some of the machine

        task = asyncio.ensure_future(flood())
        try:
            for value in (50.0, 60.0, 70.0):
                await desk.set("/live-2/song/tempo", value)
                await desk.status("/live-2/song/tempo", Status.SETTLED)
                assert quiet.values["song/tempo"] == value
        finally:
            flooding = False
            await bounded(task)
        assert desk.registry.get("/live-2").state is AppState.LIVE


class Shared(App):
    """One application that two daemons drive: what one sets, the other hears as a change of its own."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.others: list[Shared] = []

    def _take(self, wish: Any) -> None:
        before = self.values.get(wish.path)
        super()._take(wish)
        after = self.values.get(wish.path)
        for other in self.others:
            other.values = self.values
            if after != before:
                other.joined.report([Change(wish.path, after)])


async def test_two_daemons_on_one_application_agree(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with open_desk(tmp_path / "one") as one, open_desk(tmp_path / "two") as two:
        values: dict[str, Any] = {"song/tempo": 120.0}
        left, right = Shared(values), Shared(values)
        left.values = right.values = values
        left.others, right.others = [right], [left]
        await one.live(left, hello())
        await two.live(right, hello())
        await one.set(TEMPO, 90.0)
        await two.holds(TEMPO, 90.0)
        assert two.entry(TEMPO).origin == "app:live", "for the other daemon it is the application's own"
        assert right.wishes == [], "which wishes nothing back"
        await asyncio.gather(one.set(TEMPO, 100.0), two.set(TEMPO, 110.0))
        await until(lambda: one.entry(TEMPO).status is two.entry(TEMPO).status is Status.SETTLED)
        await until(
            lambda: one.entry(TEMPO).value == two.entry(TEMPO).value == values["song/tempo"],
            lambda: (one.entry(TEMPO).value, two.entry(TEMPO).value, values),
        )
        assert len(left.wishes) + len(right.wishes) <= 3, "nobody plays ping-pong"
