"""The Ableton bridge in the house: real store, registry, bridge runner and UDP; the Live is simulated."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import Desk, open_desk, until
from tests.support.osc_live import Live, simulated
from tests.support.ports import free_port

from lightfast.context.entry import Set, Status
from lightfast.core.errors import LightfastError, NotFound, OutOfBounds
from lightfast.core.osc_build import encode
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.records import AppState, Result
from lightfast.sdk import AppSession, OscSender, OscServer
from lightfast.wire.osc.door import OscDoor
from lightfast.wire.osc.port import OscPort
from lightfast_bridges.ableton.bridge import AbletonBridge


class Port:
    """What the daemon gives the runner."""

    def __init__(self) -> None:
        self.port = OscPort()

    async def open(self, remote: tuple[str, int], local: tuple[str, int], receive: Any) -> OscSender:
        return await self.port.open_osc(remote, local, receive)

    async def serve(self, local: tuple[str, int], receive: Any) -> OscServer:
        return await self.port.serve_osc(local, receive)


@contextlib.asynccontextmanager
async def house(folder: Path, **config: Any) -> AsyncIterator[tuple[Desk, Live]]:
    reply_port = free_port()
    async with simulated(reply_port=reply_port) as live, open_desk(folder) as desk:
        port = Port()
        runner = BridgeRunner(desk.registry, port)
        settings = {"remote": f"127.0.0.1:{live.port}", "reply_port": reply_port, "poll": 0.1, "silence": 5.0}
        runner.add(AbletonBridge({**settings, **config}))
        try:
            await in_state(desk, AppState.LIVE)
            yield desk, live
        finally:
            await runner.close()
            port.port.close()


async def in_state(desk: Desk, state: AppState) -> None:
    def there() -> bool:
        with contextlib.suppress(NotFound):
            return desk.registry.get("/ableton").state is state
        return False

    await until(there, desk.registry.list)


async def invoke(desk: Desk, command: str, **arguments: Any) -> Any:
    steps = [step async for step in await desk.registry.invoke("/ableton", command, arguments, 60.0, "client:test")]
    assert isinstance(steps[-1], Result)
    return steps[-1].value


async def test_the_set_lies_in_the_tree(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, _):
        record = desk.registry.get("/ableton")
        assert (record.kind, record.simulator, record.app_version) == ("ableton", True, "12.0")
        tempo = desk.entry("/ableton/song/tempo")
        assert (tempo.value, tempo.status, tempo.origin) == (120.0, Status.SETTLED, "app:ableton")
        declared = desk.store.declaration("/ableton/song/tempo")
        assert declared is not None
        assert (declared.minimum, declared.maximum, declared.unit) == (20, 999, "time.bpm")
        assert desk.entry("/ableton/tracks/3/name").value == "Vocals"


async def test_a_wish_arrives_and_is_settled(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        await desk.set("/ableton/song/tempo", 98.7)
        entry = await desk.status("/ableton/song/tempo", Status.SETTLED)
        await until(lambda: live.live.song["tempo"] == pytest.approx(98.7))
        assert entry.value == 98.7
        await desk.set("/ableton/tracks/0/volume", 0.5)
        await until(lambda: live.live.tracks[0]["volume"] == 0.5)
        with pytest.raises(OutOfBounds):
            await desk.set("/ableton/song/tempo", 5000.0)
        with pytest.raises(LightfastError, match="Did you mean /ableton/song/tempo"):
            await desk.set("/ableton/song/tempi", 1.0)


async def test_turned_in_live_seen_in_the_tree(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        live.live.song["tempo"] = 133.0
        await desk.holds("/ableton/song/tempo", 133.0)


async def test_values_come_back_after_a_crash_of_live(tmp_path: Path) -> None:
    async with house(tmp_path, silence=0.5) as (desk, live):
        await desk.set("/ableton/song/tempo", 88.0)
        await desk.status("/ableton/song/tempo", Status.SETTLED)
        await live.stop()
        await desk.status("/ableton/song/tempo", Status.STALE)
        live.live.song.values["tempo"] = 120.0  # what was not saved is gone with the crash
        await live.start()
        await in_state(desk, AppState.LIVE)
        await until(lambda: live.live.song["tempo"] == 88.0)
        await desk.status("/ableton/song/tempo", Status.SETTLED)


async def test_another_set_brings_its_own_values(tmp_path: Path) -> None:
    async with house(tmp_path, silence=0.5) as (desk, live):
        await desk.set("/ableton/song/tempo", 88.0)
        await desk.status("/ableton/song/tempo", Status.SETTLED)
        await live.stop()
        await desk.status("/ableton/song/tempo", Status.STALE)
        live.live.song.values["tempo"] = 101.0
        live.live.tracks[0].values["name"] = "Another song's drums"
        await live.start()
        await in_state(desk, AppState.LIVE)
        await desk.holds("/ableton/song/tempo", 101.0)
        assert live.live.song["tempo"] == 101.0


async def test_commands(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        await invoke(desk, "song.start_playing")
        await desk.holds("/ableton/song/is_playing", True)
        assert await invoke(desk, "clip.get_notes", track=1, scene=1) == [
            {"pitch": 36, "start": 0.0, "duration": 0.5, "velocity": 100.0, "mute": False},
            {"pitch": 43, "start": 2.0, "duration": 0.5, "velocity": 90.0, "mute": False},
        ]
        with pytest.raises(LightfastError, match=r"Live refused clip\.fire"):
            await invoke(desk, "clip.fire", track=0, scene=0)
        await invoke(desk, "song.create_midi_track", index=-1)
        await desk.holds("/ableton/tracks/4/name", "5-MIDI")
        assert len(live.live.tracks) == 5


async def test_undo_reaches_live(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        revision = await desk.set("/ableton/song/tempo", 88.0)
        await desk.status("/ableton/song/tempo", Status.SETTLED)
        await desk.store.undo(revision=revision, origin="client:test")
        await until(lambda: live.live.song["tempo"] == 120.0)
        await desk.holds("/ableton/song/tempo", 120.0)


async def test_osc_from_outside_reaches_live(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        door = OscDoor(desk.store, listen="127.0.0.1:0", grants=["/ableton/song//", "/free//"])
        host, _, port = (await door.start()).rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for message in (
                ("/ableton/song/tempo", 4000.0),  # clamped to 999
                ("/ableton/tracks/0/volume", 0.1),  # not granted
                ("/ableton/song/tempi", 1.0),
                ("/ableton/song/song_length", 3.0),
                ("/free/xy", 0.25, 0.75),
            ):
                sender.sendto(encode(*message), (host, int(port)))
        await until(lambda: live.live.song["tempo"] == 999.0)
        await desk.holds("/free/xy", (0.25, 0.75))
        assert desk.entry("/free/xy").origin == "osc:127.0.0.1"
        counts = door.stats()
        assert (counts["clamped"], counts["not_granted"], counts["undeclared"], counts["read_only"]) == (1, 1, 1, 1)
        await door.stop()


async def test_door_signals_reach_the_bus(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        seen: list[Any] = []
        stop = desk.registry._desk.bus.listen(
            ["/ableton/song/current_song_time"], lambda batch: seen.extend(batch.events)
        )
        await desk.store.apply([Set("/ableton/song/current_song_time", 16.0)], origin="client:test")
        await until(lambda: live.live.song["current_song_time"] == 16.0)
        await until(lambda: seen and seen[-1].entry.signal)
        stop()


async def test_one_session_at_a_time_answers_the_contract(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, _):
        session: AppSession = desk.registry.session("/ableton")
        assert session.mount == "/ableton"
        report = await desk.registry.resync("/ableton")
        assert not report.lost_paths
        assert len(desk.registry.list()) == 1


async def test_ranges_of_parameters_go_with_them(tmp_path: Path) -> None:
    def minimum(desk: Desk, path: str) -> float | None:
        declared = desk.store.declaration(path)
        return declared.minimum if declared is not None else None

    async with house(tmp_path) as (desk, live):
        frequency = "/ableton/tracks/{}/devices/0/parameters/1/value"
        assert minimum(desk, frequency.format(3)) == 20
        live.live.add_track(0, midi=True, name="New")
        await until(lambda: minimum(desk, frequency.format(4)) == 20)
        await desk.holds(frequency.format(4), 90.0)
        with pytest.raises(OutOfBounds):
            await desk.set(frequency.format(4), 5.0)
        await desk.set(frequency.format(3), 0.5)  # Wavetable's, from 0 to 1
        await desk.status(frequency.format(3), Status.SETTLED)
        assert live.live.tracks[3].devices[0].knobs[1]["value"] == 0.5
