"""Every group of AbletonOSC's table through the bridge, its forks, how deep the bridge looks, and what it declares."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.support.osc_live import bridged, joined, joint, simulated, until
from tests.support.ports import free_port

from lightfast.sdk import BridgeError
from lightfast.sdk.testing import check_bridge
from lightfast_bridges.ableton.bridge import AbletonBridge
from lightfast_bridges.ableton.layout import Depth
from lightfast_bridges.ableton.live_set import LiveSet, demo_set
from lightfast_bridges.ableton.live_tables import LiveTables
from lightfast_bridges.ableton.names import KINDS
from lightfast_bridges.ableton.settings import settings_of
from lightfast_bridges.ableton.simulator import LEFT_OUT, AbletonSimulator


async def test_contract() -> None:
    await check_bridge(
        AbletonBridge(),
        config={"remote": f"127.0.0.1:{free_port()}", "reply_port": free_port()},
        simulator=AbletonSimulator(0.005),
        configure=lambda address, reply_port: {
            "remote": f"{address[0]}:{address[1]}", "reply_port": reply_port, "poll": 0.1,
        },
        reply_port=free_port(),
        wish=("song/tempo", 97.0),
        patience=60.0,
    )  # fmt: skip


async def test_application_and_song() -> None:
    async with joint() as (live, _, session):
        values = session.values
        assert values["application/version"] == "12.0"
        assert values["application/average_process_usage"] == pytest.approx(0.05)
        assert values["song/cue_points"] == [{"name": "Intro", "time": 0.0}, {"name": "Drop", "time": 32.0}]
        await session.call("song.set_cue_name", cue=1, name="Break")
        await until(lambda: session.values["song/cue_points"][1]["name"] == "Break")  # type: ignore[index]
        session.wish(1, "song/current_song_time", 16.0, signal=True)
        await until(lambda: live.live.song["current_song_time"] == 16.0)
        await session.call("song.add_or_delete_cue")
        await until(lambda: len(session.values["song/cue_points"]) == 3)  # type: ignore[arg-type]


async def test_playing_is_a_value_that_plays_and_stops() -> None:
    async with joint() as (live, host, session):
        session.wish(1, "song/current_song_time", 8.0, signal=True)
        session.wish(2, "song/is_playing", True)
        await until(lambda: 2 in session.settled)
        assert live.live.song["is_playing"]
        assert live.live.song["current_song_time"] >= 8.0, "it plays from where it was, not from the start"
        session.wish(3, "song/is_playing", False)
        await until(lambda: 3 in session.settled)
        assert not live.live.song["is_playing"]
        timeline = AbletonBridge.timeline
        declared = {one.pattern: one for one in host.sessions[0].hello.parameters}
        assert timeline is not None
        for path in (timeline.playing, timeline.position, timeline.tempo):
            assert declared[path].access == "rw"
        assert (timeline.unit, declared[timeline.playing].kind) == ("beats", "bool")


async def test_routings_are_choices() -> None:
    async with joint() as (live, _, session):
        assert session.values["tracks/0/input_routing_type"] == "All Ins"
        assert session.values["tracks/3/available_input_routing_types"] == ["Ext. In", "Resampling", "No Input"]
        await until(lambda: session.declared.get("tracks/3/output_routing_type"))
        assert session.declared["tracks/3/output_routing_type"].choices == ("Main", "Ext. Out", "Sends Only")
        session.wish(1, "tracks/3/output_routing_type", "Sends Only")
        await until(lambda: 1 in session.settled)
        assert live.live.tracks[3]["output_routing_type"] == "Sends Only"
        session.wish(2, "tracks/3/output_routing_type", "The Moon")
        assert "Live offers Main, Ext. Out, Sends Only" in session.rejected[2]


async def test_arrangement_clips_and_the_selection() -> None:
    async with joint() as (live, _, session):
        assert session.values["tracks/0/arrangement_clips/name"] == ["Intro beat", "Drop beat"]
        assert session.values["tracks/0/arrangement_clips/start_time"] == [0.0, 32.0]
        assert session.values["tracks/1/arrangement_clips/length"] == []
        assert "view/selected_clip" not in session.values
        assert await session.call("read", path="view/selected_clip") == [0, 0]
        assert session.values["view/selected_clip"] == [0, 0]
        session.wish(1, "view/selected_clip", [2, 1])
        await until(lambda: 1 in session.settled)
        assert (live.live.view["selected_track"], live.live.view["selected_scene"]) == (2, 1)
        session.wish(2, "view/selected_device", [3, 0])
        await until(lambda: 2 in session.settled)
        assert live.live.view["device"] == (3, 0)


async def test_notes_are_a_value_once_they_were_read() -> None:
    async with joint() as (_, _, session):
        path = "tracks/1/clips/1/notes"
        assert path not in session.values
        notes = await session.call("read", path=path)
        assert session.values[path] == notes
        assert [note["pitch"] for note in notes] == [36, 43]  # type: ignore[union-attr, index]
        await session.call("clip.add_notes", track=1, scene=1, notes=[[50, 1.0, 0.5, 90]])
        await until(lambda: len(session.values[path]) == 3)  # type: ignore[arg-type]
        await session.call("clip.remove_notes_by_id", track=1, scene=1, ids=[1, 2])
        await until(lambda: [note["pitch"] for note in session.values[path]] == [50])  # type: ignore[union-attr, index]


async def test_more_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # AbletonOSC has one name for what it exports
    async with joint() as (live, _, session):
        tracks = live.live.tracks
        tracks[0].slots[1].clip["name"] = "riff_C-E"  # type: ignore[index]
        await session.call("clips.filter", names=["C", "G"])
        await until(lambda: session.values["tracks/0/clips/1/muted"] is True)
        await session.call("clips.unfilter")
        await until(lambda: session.values["tracks/0/clips/1/muted"] is False)
        await session.call("device.set_parameters", track=1, device=0, values=[1, 0.25])
        await until(lambda: session.values["tracks/1/devices/0/parameters/1/value"] == 0.25)
        await session.call("midimap.map_cc", track=1, device=0, parameter=1, channel=0, cc=20)
        with pytest.raises(RuntimeError, match=r"Live refused midimap\.map_cc"):
            await session.call("midimap.map_cc", track=1, device=0, parameter=1, channel=0, cc=200)
        await session.call("song.duplicate_track", track=1)
        await until(lambda: session.values.get("tracks/2/devices/0/name") == "Operator")
        await session.call("song.duplicate_scene", scene=1)
        await until(lambda: session.values.get("scenes/2/name") == "Verse")
        assert session.values["tracks/0/clips/2/name"] == session.values["tracks/0/clips/1/name"]
        await session.call("song.export_structure")
        written = json.loads((tmp_path / "abletonosc-song-structure.json").read_text())
        assert [track["name"] for track in written["tracks"]] == ["Drums", "Bass", "Bass", "Keys", "Vocals"]


async def test_parameters_declare_their_own_range_and_keep_it_when_they_move() -> None:
    async with joint() as (live, _, session):

        def range_at(path: str) -> tuple[float | None, float | None]:
            declared = session.declared.get(path)
            return (declared.minimum, declared.maximum) if declared is not None else (None, None)

        frequency = "tracks/3/devices/0/parameters/1/value"
        assert range_at(frequency) == (20, 135)
        steps = session.declared["tracks/3/devices/0/parameters/3/value"]
        assert (steps.minimum, steps.maximum) == (0, 9)
        assert "whole steps" in steps.description
        assert session.values["tracks/3/devices/0/parameters/1/value_string"] == "90.00"
        live.live.add_track(0, midi=True, name="New")
        await until(lambda: range_at(frequency.replace("3", "4", 1)) == (20, 135))
        assert range_at(frequency)[1] != 135


async def test_upstream_has_no_returns_and_is_asked_once() -> None:
    async with joint() as (live, _, session):
        assert not [path for path in session.values if path.startswith(("returns/", "master/"))]
        asked: list[str] = []
        session.wish(1, "master/volume", 0.5)
        assert "there is no master/volume" in session.rejected[1]
        original = LiveTables._find

        def find(self: LiveTables, stem: str, params: tuple[Any, ...]) -> Any:
            asked.extend(str(one) for one in params[:1] if isinstance(one, str))
            return original(self, stem, params)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LiveTables, "_find", find)
            session.channel.resync()
            await until(lambda: session.syncs == 2)
        assert "master" not in asked
        assert live.live.song["tempo"] == 120.0


async def test_a_fork_with_returns_and_the_main_track() -> None:
    async with joint(fork=True) as (live, _, session):
        values = session.values
        assert values["master/name"] == "Main"
        assert values["master/volume"] == pytest.approx(0.85)
        assert [values[f"returns/{number}/name"] for number in (0, 1)] == ["A-Reverb", "B-Delay"]
        assert "returns/0/arm" not in values
        assert "master/mute" not in values
        session.wish(1, "master/volume", 0.5)
        session.wish(2, "returns/1/panning", -0.5)
        await until(lambda: len(session.settled) == 2)
        assert live.live.main["volume"] == 0.5
        assert live.live.return_tracks[1]["panning"] == -0.5
        live.live.return_tracks[0]["mute"] = True
        await until(lambda: session.values["returns/0/mute"] is True)
        assert "A-Reverb" in session.declared["tracks/*/sends/0"].description
        live.live.tracks[2].sends[1] = 0.75
        await until(lambda: session.values["tracks/2/sends/1"] == 0.75)
        live.live.delete_return(0)
        await until(lambda: "returns/1/name" not in session.values)
        assert session.values["returns/0/name"] == "B-Delay"
        assert session.values["returns/0/panning"] == -0.5
        assert session.values["tracks/2/sends/0"] == 0.75
        assert "tracks/2/sends/1" not in session.values


async def test_a_fork_with_chains_in_racks() -> None:
    async with joint(fork=True, depth="chains") as (live, _, session):
        chain, inner = "tracks/2/devices/1/chains/0", "tracks/2/devices/1/chains/0/devices/0/parameters/1"
        assert session.values[f"{chain}/name"] == "Pad"
        assert session.values[f"{inner}/name"] == "Cutoff"
        assert session.values[f"{inner}/max"] == 1.0
        session.wish(1, f"{inner}/value", 0.875)
        session.wish(2, f"{chain}/volume", 0.25)
        session.wish(3, f"{inner}/value", 7.0)
        await until(lambda: {1, 2} <= session.settled.keys())
        assert live.live.tracks[2].devices[1].chains[0].devices[0].knobs[1]["value"] == 0.875
        assert "outside 0 to 1" in session.rejected[3]
        live.live.tracks[2].devices[1].chains[0]["mute"] = True
        await until(lambda: session.values[f"{chain}/mute"] is True)


async def test_depth_chains_where_there_are_none_costs_one_question() -> None:
    async with joint(depth="chains") as (_, _, session):
        assert not [path for path in session.values if "/chains/" in path]
        assert session.values["tracks/2/devices/1/name"] == "Instrument Rack"


@pytest.mark.parametrize(
    ("depth", "there", "absent"),
    [
        ("song", "scenes/0/name", "tracks/"),
        ("tracks", "tracks/0/volume", "tracks/0/clip_slots/"),
        ("clips", "tracks/0/clips/1/name", "tracks/0/devices/"),
        ("parameters", "tracks/0/devices/0/parameters/1/value", "tracks/0/devices/0/chains/"),
    ],
)
async def test_depth_bounds_what_is_followed(depth: str, there: str, absent: str) -> None:
    async with joint(depth=depth) as (live, _, session):
        assert there in session.values
        assert not [path for path in session.values if path.startswith(absent)]
        live.live.song["tempo"] = 133.0
        await until(lambda: session.values["song/tempo"] == 133.0)
        live.live.scenes[0]["name"] = "Opening"
        await until(lambda: session.values["scenes/0/name"] == "Opening")


async def test_no_more_messages_are_under_way_than_the_budget_says() -> None:
    def large() -> LiveSet:
        live = LiveSet()
        for number in range(12):
            live.add_scene(-1, f"scene {number}")
        for _ in range(24):
            live.add_track(-1, midi=True)
        return live

    reply_port = free_port()
    async with simulated(reply_port=reply_port, make=large, tick=0.02) as live:
        most = 0
        with pytest.MonkeyPatch.context() as patch:
            from lightfast_bridges.ableton import simulator

            original, counted = simulator.LiveSurface._handle, [0]

            def tick(self: Any, seconds: float) -> None:
                nonlocal most
                counted[0] = 0
                self._work_off()
                most = max(most, counted[0])
                self.live.advance(seconds)

            def handle(self: Any, message: Any) -> None:
                counted[0] += 1
                original(self, message)

            patch.setattr(simulator.LiveSurface, "tick", tick)
            patch.setattr(simulator.LiveSurface, "_handle", handle)
            table: dict[str, Any] = {
                "remote": f"127.0.0.1:{live.port}",
                "reply_port": reply_port,
                "silence": 30.0,
                "budget": 20,
            }
            async with bridged(**table) as host:
                await until(lambda: host.sessions and host.sessions[0].syncs)
                assert host.sessions[0].values["tracks/23/name"] == "24-MIDI"
        assert 5 < most < 60  # those of one tick, and a few that came while it was worked off


async def test_two_instances_share_one_bridge_object() -> None:
    bridge = AbletonBridge()
    ports = [free_port(), free_port()]
    async with contextlib.AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(simulated(reply_port=port)) for port in ports]
        hosts = [
            await stack.enter_async_context(
                bridged(remote=f"127.0.0.1:{live.port}", reply_port=port, name=name, silence=5.0, bridge=bridge)
            )
            for live, port, name in zip(lives, ports, ("foh", "monitors"), strict=True)
        ]
        foh, monitors = [await joined(host) for host in hosts]
        assert [one.hello.name for one in (foh, monitors)] == ["foh", "monitors"]
        assert foh.hello.instance_id != monitors.hello.instance_id
        await foh.call("start_listen", path="tracks/0/output_meter_level")
        assert lives[1].live.tracks[0]._watchers.get("output_meter_level", []) == []
        await lives[1].stop()
        await until(lambda: monitors.gone)
        assert foh.gone == ""
        await lives[1].start()
        await joined(hosts[1], 2)
        assert lives[1].live.tracks[0]._watchers.get("output_meter_level", []) == [], "the other one's business"


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"depth": "deep"}, "one of song, tracks, clips, parameters, chains"),
        ({"share": "11010"}, "ableton.share"),
        ({"budget": 0}, "at least one message"),
        ({"share_reply_port": "x"}, "ableton.share_reply_port"),
        ({"shar": "127.0.0.1:1"}, "did you mean 'share'"),
    ],
)
def test_wrong_settings_are_named(config: dict[str, object], wrong: str) -> None:
    with pytest.raises(BridgeError, match=wrong):
        settings_of(config)


def test_settings() -> None:
    found = settings_of({"depth": "clips", "share": "127.0.0.1:11010", "enabled": True, "instances": []})
    assert (found.depth, found.share) == (Depth.CLIPS, ("127.0.0.1", 11_010))


def test_the_simulator_says_what_it_leaves_out() -> None:
    simulator = AbletonSimulator()
    assert all(one in simulator.description for one in LEFT_OUT)
    known = {name for kind in KINDS.values() for name in kind.properties}
    assert {"tempo", "volume", "notes", "selected_device", "input_routing_type"} <= known
    assert demo_set().tracks[0].arrangement


async def test_diagnosis() -> None:
    bridge, reply_port, port = AbletonBridge(), free_port(), free_port()
    table: dict[str, Any] = {"remote": f"127.0.0.1:{port}", "reply_port": reply_port}
    first = (await bridge.diagnose(table))[0]
    assert (first.level, first.what) == ("error", "nothing listens there")
    assert "control surface" in first.remedy
    async with simulated(reply_port=reply_port, port=port):
        first = (await bridge.diagnose(table))[0]
        assert (first.level, first.what) == ("ok", "AbletonOSC answers, in Live 12.0")
        async with bridged(**table) as host:
            await joined(host)
            first = (await bridge.diagnose(table))[0]
            assert (first.level, first.what.split(",")[0]) == ("ok", "this daemon holds it")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
        squatter.bind(("127.0.0.1", port))
        first = (await bridge.diagnose(table))[0]
        assert first.level == "error"
        assert "does not answer" in first.what
    assert (await bridge.diagnose({"remot": "x"}))[0].level == "error"
