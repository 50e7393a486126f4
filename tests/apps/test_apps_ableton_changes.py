"""The Ableton bridge while the set changes, datagrams are lost, and Live goes and returns; over real UDP."""

from __future__ import annotations

import random
import time

import pytest
from tests.support.osc_live import bridged, joined, joint, simulated, until
from tests.support.ports import free_port

from lightfast_bridges.ableton.live_set import Clip, LiveSet, demo_set


async def test_a_large_set_is_read_whole() -> None:
    def make() -> LiveSet:
        live = LiveSet()
        for number in range(24):
            live.add_scene(-1, f"scene {number}")
        for number in range(20):
            track = live.add_track(-1, midi=True)
            for slot in track.slots[::2]:
                slot.fill(Clip(f"clip {number}", 4.0))
        return live

    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port, make=make) as live,
        bridged(remote=f"127.0.0.1:{live.port}", reply_port=reply_port, silence=5.0) as host,
    ):
        session = await joined(host)
        assert sum(path.endswith("/has_clip") for path in session.values) == 20 * 24
        assert session.values["tracks/19/clips/22/name"] == "clip 19"
        live.live.tracks[19].slots[22].clip["name"] = "turned"  # type: ignore[index]
        await until(lambda: session.values["tracks/19/clips/22/name"] == "turned")


async def test_lost_datagrams_are_asked_for_again() -> None:
    chance = random.Random(3)
    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port) as live,
        bridged(remote=f"127.0.0.1:{live.port}", reply_port=reply_port, silence=5.0, loss=chance) as host,
    ):
        session = await joined(host)
        assert session.values["tracks/3/name"] == "Vocals"
        for number in range(1, 21):
            session.wish(number, f"tracks/{number % 4}/panning", number / 40)
        await until(lambda: len(session.settled) == 20)
        assert live.live.tracks[3]["panning"] == pytest.approx(19 / 40)
        assert host.lost > 5


async def test_tracks_that_come_and_go() -> None:
    async with joint() as (live, _, session):
        await session.call("song.create_midi_track", index=0)
        await until(lambda: session.values.get("tracks/1/name") == "Drums")
        await until(lambda: session.values.get("tracks/0/name") == "1-MIDI")
        live.live.tracks[1]["volume"] = 0.25  # its old listener said 0
        await until(lambda: session.values["tracks/1/volume"] == 0.25)
        assert session.values["tracks/0/volume"] == pytest.approx(0.85)
        del live.live.tracks[4]  # a person deletes the last one in Live
        await until(lambda: "tracks/4/name" not in session.values)
        assert not [path for path in session.values if path.startswith("tracks/4/")]


async def test_clip_deleted_in_live_is_gone() -> None:
    async with joint() as (live, _, session):
        live.live.tracks[0].slots[1].fill(None)
        await until(lambda: "tracks/0/clips/1/name" not in session.values)
        await until(lambda: session.values["tracks/0/clip_slots/1/has_clip"] is False)


async def test_listeners_are_counted() -> None:
    async with joint() as (live, _, session):
        path = "tracks/0/output_meter_level"
        before = live.live.tracks[0]._watchers.get("output_meter_level", [])
        assert before == []
        for _ in range(2):
            await session.call("start_listen", path=path)
        await session.call("stop_listen", path=path)
        live.live.tracks[0]["output_meter_level"] = 0.5
        await until(lambda: session.values.get(path) == 0.5)
        await session.call("stop_listen", path=path)
        await until(lambda: not live.live.tracks[0]._watchers["output_meter_level"])


async def test_listeners_come_back_with_live() -> None:
    async with joint() as (live, host, session):
        for path in ("tracks/0/output_meter_level", "tracks/3/output_meter_level"):
            for _ in range(2):
                await session.call("start_listen", path=path)
        await live.stop()
        await until(lambda: session.gone)
        live.live = demo_set()
        del live.live.tracks[3]  # another set than before: what was listened to there is gone
        await live.start()
        back = await joined(host, 2)
        live.live.tracks[0]["output_meter_level"] = 0.5
        await until(lambda: back.values.get("tracks/0/output_meter_level") == 0.5)
        assert len(live.live.tracks[0]._watchers["output_meter_level"]) == 1, "two watchers are one listener"
        for _ in range(2):
            await back.call("stop_listen", path="tracks/0/output_meter_level")
        await until(lambda: not live.live.tracks[0]._watchers["output_meter_level"])


async def test_meters_when_wanted() -> None:
    async with joint(meters=True) as (live, _, session):
        live.live.tracks[2]["output_meter_level"] = 0.25
        await until(lambda: session.values.get("tracks/2/output_meter_level") == 0.25)


async def test_resync_reports_everything_again() -> None:
    async with joint() as (_, _, session):
        first = {one.path for one in session.reports}
        session.reports.clear()
        session.channel.resync()
        await until(lambda: session.syncs == 2)
        assert {one.path for one in session.reports} == first


async def test_live_killed_and_started_again() -> None:
    async with joint() as (live, host, first):
        await live.stop()
        await until(lambda: first.gone)
        assert "silent" in first.gone
        await until(lambda: host.reasons)
        assert "start Live" in host.reasons[-1]
        await live.start()
        second = await joined(host, 2)
        assert second.hello.document_id == first.hello.document_id
        assert second.hello.instance_id == first.hello.instance_id
        live.live.song["tempo"] = 77.0
        await until(lambda: second.values["song/tempo"] == 77.0)


async def test_quick_restart_is_noticed_by_its_startup_message() -> None:
    async with joint(silence=60.0) as (live, host, first):
        await live.stop()
        await live.start()
        await until(lambda: first.gone == "Live has restarted")
        await joined(host, 2)


async def test_a_standstill_of_everything_loses_nobody() -> None:
    """As of a machine that sleeps: Live has said nothing meanwhile, but nobody could have heard it."""
    async with joint(silence=1.0) as (live, host, session):
        for _ in range(3):
            time.sleep(2.5)  # the loop stands still, and with it both
            live.live.song["tempo"] += 1.0
            await until(lambda: session.values["song/tempo"] == live.live.song["tempo"])
        assert session.gone == ""
        assert len(host.sessions) == 1


async def test_another_set_is_another_document() -> None:
    async with joint() as (live, host, session):
        await live.stop()
        live.live.tracks[0]["name"] = "Other"
        await live.start()
        second = await joined(host, 2)
        assert second.hello.document_id != session.hello.document_id


async def test_taken_reply_port_is_explained() -> None:
    async with joint() as (live, host, _):
        reply_port = host.config["reply_port"]
        async with bridged(remote=f"127.0.0.1:{live.port}", reply_port=reply_port) as second:
            await until(lambda: second.reasons)
            assert f"UDP 127.0.0.1:{reply_port} is taken by" in second.reasons[0]
            assert not second.sessions


async def test_engine_closes_the_session() -> None:
    async with joint() as (_, host, session):
        session.channel.close("mount removed")
        await joined(host, 2)
        assert session.gone == ""
