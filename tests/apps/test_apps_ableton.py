"""The Ableton bridge against the Live simulator, over real UDP: values, wishes, commands, settings."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.osc_live import bridged, joined, joint, simulated, until
from tests.support.ports import free_port

from lightfast.sdk import BridgeError
from lightfast_bridges.ableton.live_set import LiveSet, demo_set
from lightfast_bridges.ableton.settings import settings_of


async def test_hello_says_what_it_joined() -> None:
    async with joint() as (_, host, session):
        hello = session.hello
        assert (hello.kind, hello.simulator, hello.app_version, hello.transport) == ("ableton", True, "12.0", "osc")
        assert hello.document_id.startswith("set-")
        declared = {one.pattern: one for one in hello.parameters}
        tempo = declared["song/tempo"]
        assert (tempo.minimum, tempo.maximum, tempo.unit, tempo.kind) == (20, 999, "time.bpm", "double")
        assert declared["song/current_song_time"].signal
        assert "clip.fire" in {one.name for one in hello.commands}
        assert host.reasons == []


async def test_full_report() -> None:
    async with joint() as (_, _, session):
        values = session.values
        assert values["song/tempo"] == 120.0
        assert values["song/is_playing"] is False
        assert values["tracks/0/name"] == "Drums"
        assert values["tracks/1/volume"] == pytest.approx(0.85)
        assert values["tracks/3/mute"] is False
        assert values["tracks/0/sends/1"] == 0.0
        assert "tracks/0/sends/2" not in values
        assert values["tracks/1/devices/0/name"] == "Operator"
        assert values["tracks/1/devices/0/parameters/1/name"] == "Filter Freq"
        assert values["tracks/1/devices/0/parameters/1/value"] == pytest.approx(0.6)
        assert values["tracks/3/devices/0/parameters/1/max"] == 135.0
        assert values["tracks/0/clip_slots/0/has_clip"] is False
        assert values["tracks/0/clip_slots/1/has_clip"] is True
        assert values["tracks/0/clips/1/name"] == "Drums Verse"
        assert "tracks/0/clips/0/name" not in values
        assert values["scenes/2/name"] == "Chorus"
        assert session.problem == ""


async def test_change_in_live_is_reported() -> None:
    async with joint() as (live, _, session):
        live.live.song["tempo"] = 98.5
        live.live.tracks[2]["name"] = "Lead"
        await until(lambda: session.values["song/tempo"] == 98.5)
        await until(lambda: session.values["tracks/2/name"] == "Lead")


async def test_wish_is_settled_by_the_echo() -> None:
    async with joint() as (live, _, session):
        before = len(session.reports)
        session.wish(1, "song/tempo", 141.25)
        session.wish(2, "tracks/0/mute", True)
        session.wish(3, "tracks/0/name", "Бас ✓")
        await until(lambda: len(session.settled) == 3)
        assert session.settled == {1: 141.25, 2: True, 3: "Бас ✓"}
        assert live.live.song["tempo"] == 141.25
        assert live.live.tracks[0]["mute"] is True
        assert [one for one in session.reports[before:] if one.path == "song/tempo"] == []


async def test_wish_for_the_present_value_is_settled_by_reading_back() -> None:
    async with joint() as (_, _, session):
        session.wish(1, "song/tempo", 120.0)  # Live tells nothing: nothing changes
        await until(lambda: 1 in session.settled)
        assert session.settled[1] == 120.0


async def test_send_is_settled_by_reading_back() -> None:
    async with joint() as (live, _, session):
        session.wish(1, "tracks/1/sends/0", 0.5)
        await until(lambda: 1 in session.settled)
        assert live.live.tracks[1].sends[0] == 0.5


async def test_what_live_refuses_is_rejected_with_its_error() -> None:
    async with joint() as (live, _, session):
        session.wish(7, "song/tempo", 1000.0)
        await until(lambda: 7 in session.rejected)
        assert "kept 120.0" in session.rejected[7]
        assert "Invalid value 1000" in session.rejected[7]
        assert session.values["song/tempo"] == 120.0
        assert live.live.song["tempo"] == 120.0


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("song/tempi", 1.0, "no property"),
        ("song/song_length", 3.0, "only be read"),
        ("tracks/9/volume", 0.5, "4 tracks and 4 scenes"),
        ("tracks/0/clips/0/name", "x", "there is no tracks/0/clips/0/name"),
        ("tracks/0/volume", "loud", "wants a double"),
        ("song/tempo", None, "cannot be removed"),
        ("tracks/3/devices/0/parameters/1/value", 5.0, "outside 20 to 135"),
        ("tracks/0/name", "a\0b", "NUL"),
        ("song/root_note", 1.5, "wants a int"),
        ("song/root_note", 1 << 40, "wants a int"),
        ("song/loop_length", 1e300, "32 bits"),
        ("song/loop_length", float("nan"), "32 bits"),
        ("tracks/0/name", "x" * 5000, "5000 characters"),
        ("tracks/00/volume", 0.5, "no property"),
    ],
)
async def test_impossible_wish_is_rejected_at_once(path: str, value: object, reason: str) -> None:
    async with joint() as (_, _, session):
        session.wish(1, path, value)  # type: ignore[arg-type]
        assert reason in session.rejected[1]


async def test_many_wishes_on_one_path_all_get_an_answer() -> None:
    async with joint() as (live, _, session):
        for number in range(1, 301):
            session.wish(number, "tracks/0/volume", number / 300)
        await until(lambda: len(session.settled) == 300)
        assert live.live.tracks[0]["volume"] == 1.0
        assert session.rejected == {}


async def test_wishes_for_many_paths_are_not_lost() -> None:
    async with joint() as (live, _, session):
        wishes = [(f"tracks/{t}/clips/{s}/name", f"clip {t} {s}") for t in range(4) for s in (1, 2)]
        wishes += [(f"scenes/{s}/name", f"scene {s}") for s in range(4)]
        for number, (path, value) in enumerate(wishes, 1):
            session.wish(number, path, value)
        await until(lambda: len(session.settled) == len(wishes))
        assert live.live.scenes[3]["name"] == "scene 3"


async def test_signal_wish_is_sent_and_not_answered() -> None:
    async with joint() as (live, _, session):
        session.wish(1, "song/current_song_time", 12.0, signal=True)
        await until(lambda: live.live.song["current_song_time"] == 12.0)
        assert session.settled == {}


async def test_song_position_and_beats_are_signals() -> None:
    async with joint() as (_, _, session):
        session.wish(1, "song/tempo", 960.0)
        await session.call("song.start_playing")
        await until(lambda: session.values.get("song/beat") not in (None, 0))
        await until(lambda: session.values["song/is_playing"] is True)
        await until(lambda: session.values["song/current_song_time"] > 0)  # type: ignore[operator]
        await session.call("song.stop_playing")
        await until(lambda: session.values["song/is_playing"] is False)


async def test_clips_and_scenes_are_fired() -> None:
    async with joint() as (_, _, session):
        await session.call("clip.fire", track=1, scene=2)
        await until(lambda: session.values["tracks/1/clips/2/is_playing"] is True)
        await until(lambda: session.values["tracks/1/playing_slot_index"] == 2)
        await session.call("scene.fire", scene=1)
        await until(lambda: session.values["tracks/0/clips/1/is_playing"] is True)
        await until(lambda: session.values["tracks/1/clips/2/is_playing"] is False)
        await session.call("clip.stop", track=0, scene=1)
        await until(lambda: session.values["tracks/0/clips/1/is_playing"] is False)


async def test_notes_go_in_and_come_back() -> None:
    async with joint() as (_, _, session):
        await session.call("clip_slot.create_clip", track=0, scene=0, length=4.0)
        await until(lambda: session.values.get("tracks/0/clips/0/length") == 4.0)
        await session.call(
            "clip.add_notes", track=0, scene=0, notes=[[60, 0.0, 0.5, 100], {"pitch": 64, "start": 1, "duration": 1}]
        )
        notes = await session.call("clip.get_notes", track=0, scene=0)
        assert notes == [
            {"pitch": 60, "start": 0.0, "duration": 0.5, "velocity": 100.0, "mute": False},
            {"pitch": 64, "start": 1.0, "duration": 1.0, "velocity": 100.0, "mute": False},
        ]
        await session.call("clip.remove_notes", track=0, scene=0, pitch=60, pitch_span=1, time=0, time_span=4.0)
        assert [note["pitch"] for note in await session.call("clip.get_notes", track=0, scene=0)] == [64]  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("song.explode", {}, "no command song.explode"),
        ("clip.fire", {"track": 0}, "needs scene"),
        ("clip.fire", {"track": 0, "scene": 1, "loud": 1}, "takes no loud"),
        ("clip.fire", {"track": "x", "scene": 1}, "track wants a int"),
        ("clip.fire", {"track": 0, "scene": 0}, "Live refused clip.fire"),
        ("clip.fire", {"track": 40, "scene": 0}, "Index out of range"),
        ("clip.add_notes", {"track": 0, "scene": 1, "notes": [[1, 2]]}, r"notes\[0\]"),
        ("clip.remove_notes", {"track": 0, "scene": 1, "time": 1.0}, "give all of them or none"),
        ("start_listen", {"path": "tracks/0/colour"}, "no property"),
        ("start_listen", {}, "needs path"),
    ],
)
async def test_wrong_command_fails_with_the_reason(command: str, arguments: dict[str, object], reason: str) -> None:
    async with joint() as (_, _, session):
        with pytest.raises(RuntimeError, match=reason):
            await session.call(command, **arguments)  # type: ignore[arg-type]


async def test_track_that_cannot_be_armed() -> None:
    def make() -> LiveSet:
        live = demo_set()
        live.tracks[2].values["can_be_armed"] = False
        return live

    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port, make=make) as live,
        bridged(remote=f"localhost:{live.port}", reply_port=reply_port) as host,
    ):
        session = await joined(host)
        assert session.values["tracks/1/arm"] is False
        assert "tracks/2/arm" not in session.values
        session.wish(1, "tracks/2/arm", True)
        assert "track 2 cannot be armed" in session.rejected[1]


async def test_an_error_belongs_to_its_command_only() -> None:
    async with joint() as (_, _, session):
        session.wish(1, "song/tempo", 5000.0)  # its error comes while the commands run
        good, bad = session.call("song.start_playing"), session.call("clip.fire", track=0, scene=0)
        outcome = await asyncio.gather(good, bad, return_exceptions=True)
        assert outcome[0] is None
        assert "Live refused clip.fire" in str(outcome[1])
        await until(lambda: 1 in session.rejected)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"remote": "localhost"}, "HOST:PORT"),
        ({"reply_port": "x"}, "ableton.reply_port"),
        ({"meters": 1}, "ableton.meters"),
        ({"poll": True}, "ableton.poll"),
    ],
)
def test_wrong_setting_is_named(config: dict[str, object], wrong: str) -> None:
    with pytest.raises(BridgeError, match=wrong):
        settings_of(config)


def test_an_unknown_setting_is_named_with_the_one_that_is_meant() -> None:
    with pytest.raises(BridgeError, match=r"ableton\.remot is no setting of this plugin: did you mean 'remote'"):
        settings_of({"remot": "127.0.0.1:11000"})
