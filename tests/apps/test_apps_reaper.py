"""The REAPER bridge against the simulator, over real UDP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.osc_live import until
from tests.support.ports import free_port
from tests.support.reaper import OURS, QUICK, bridged, call, holds, joined, joint, refusal, running, song, wish

from lightfast.sdk import BridgeError, Wish
from lightfast.sdk.testing import check_bridge
from lightfast_bridges.reaper.bridge import ReaperBridge
from lightfast_bridges.reaper.project import Fx, Marker, Parameter, Project, Send, Track, to_db, to_volume
from lightfast_bridges.reaper.settings import settings_of
from lightfast_bridges.reaper.simulator import ReaperSimulator


async def test_contract(tmp_path: Path) -> None:
    reply_port = free_port()
    await check_bridge(
        ReaperBridge(),
        config={"remote": f"127.0.0.1:{free_port()}", "reply_port": free_port(), "resource_path": str(tmp_path)},
        simulator=ReaperSimulator(tick=0.01),
        configure=lambda address, reply_port: {
            "remote": f"127.0.0.1:{address[1]}",
            "reply_port": reply_port,
            "resource_path": str(tmp_path),
            **QUICK,
        },
        reply_port=reply_port,
        wish=("tracks/Drums/volume", -6.0),
        patience=60.0,
    )


async def test_the_project_is_reported(tmp_path: Path) -> None:
    async with joint(tmp_path) as (_, session):
        hello, values = session.hello, session.values
        assert (hello.kind, hello.simulator, hello.generation) == ("reaper", True, -1)
        assert hello.document_id.startswith("tracks-")
        assert values["tracks/Drums/volume"] == pytest.approx(-3.0, abs=1e-3)
        assert values["tracks/Drums/volume_text"] == "-3.00dB"
        assert values["tracks/Bass/pan"] == pytest.approx(-0.1)
        assert values["tracks/Bass/number"] == 2
        assert values["tracks/Reverb/mute"] is False
        assert values["tracks/Drums/sends/1/name"] == "Reverb"
        assert values["tracks/Drums/sends/1/volume"] == pytest.approx(-12.0)
        assert values["tracks/Drums/fx/1/name"] == "ReaComp (Cockos)"
        assert values["tracks/Drums/fx/1/enabled"] is True
        assert values["tracks/Bass/fx/1/parameters/3/name"] == "Cutoff"
        assert values["tracks/Bass/fx/1/parameters/3/value"] == 0.75
        assert values["tracks/Bass/fx/1/parameters/3/text"] == "75.0%"
        assert values["markers/2/name"] == "Verse"
        assert values["regions/1/length"] == 64.0
        assert (values["transport/tempo"], values["transport/playing"]) == (120.0, False)
        assert values["transport/position"] == 0.0
        assert values["master/volume"] == 0.0
        assert values["surface/patterns"] == "Lightfast"
        # nothing of the places that REAPER tells of though nothing is there
        assert not [
            path for path in values if path.startswith(("tracks/Track", "tracks/Bass/sends", "tracks/Bass/fx/2"))
        ]
        assert "tracks/Bass/fx/1/parameters/5/value" not in values
        assert session.trouble == ""


@pytest.mark.parametrize("count", [1, 3, 20])
async def test_all_tracks_are_reached_not_the_first_eight(count: int, tmp_path: Path) -> None:
    async with joint(tmp_path, song(count)) as (reaper, session):
        assert session.values["surface/tracks"] == count
        last = f"tracks/T{count:03d}"
        assert session.values[f"{last}/number"] == count
        await wish(session, 1, f"{last}/volume", -20.0)
        assert to_db(reaper.project.tracks[-1].volume) == pytest.approx(-20.0)
        reaper.user.volume(count, -31.5)
        await holds(session, f"{last}/volume", -31.5)
        await wish(session, 2, f"{last}/fx/1/enabled", False)  # told with the wrong number outside the first bank
        assert reaper.project.tracks[-1].fx[0].enabled is False


@pytest.mark.slow
@pytest.mark.limit(400)
async def test_two_hundred_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast_bridges.reaper.wishes.ANSWER", 10.0)  # both share one processor, which may be busy
    async with joint(tmp_path, song(200, fx=2), silence=20.0) as (reaper, session):
        assert session.values["surface/tracks"] == 200
        assert session.values["tracks/T200/fx/2/parameters/2/value"] == 0.25
        fx, parameters = session.values["surface/fx"], session.values["surface/parameters"]
        assert isinstance(fx, int)
        assert isinstance(parameters, int)
        assert 201 * fx * parameters <= 4096
        await wish(session, 1, "tracks/T137/pan", 0.5)
        assert reaper.project.tracks[136].pan == pytest.approx(0.5)
        session.channel.apply([Wish(number, f"tracks/T{number:03d}/volume", -1.0, number) for number in range(2, 201)])
        await session.until(lambda: len(session.settled) == 200, "all settled", 150.0)
        assert {round(to_db(track.volume), 3) for track in reaper.project.tracks[1:]} == {-1.0}


WISHES: list[tuple[str, Any, Any]] = [
    ("tracks/Drums/volume", -12.5, lambda p: to_db(p.tracks[0].volume)),
    ("tracks/Drums/volume", -150.0, lambda p: to_db(p.tracks[0].volume)),
    ("tracks/Drums/pan", 0.25, lambda p: p.tracks[0].pan),
    ("tracks/Drums/width", -0.5, lambda p: p.tracks[0].width),
    ("tracks/Bass/mute", True, lambda p: p.tracks[1].mute),
    ("tracks/Bass/solo", True, lambda p: p.tracks[1].solo),
    ("tracks/Bass/recarm", True, lambda p: p.tracks[1].recarm),
    ("tracks/Bass/monitor", 2, lambda p: p.tracks[1].monitor),
    ("tracks/Bass/select", True, lambda p: p.tracks[1].selected),
    ("tracks/Drums/sends/1/volume", -7.25, lambda p: to_db(p.tracks[0].sends[0].volume)),
    ("tracks/Drums/sends/1/pan", -1.0, lambda p: p.tracks[0].sends[0].pan),
    ("tracks/Bass/fx/1/enabled", False, lambda p: p.tracks[1].fx[0].enabled),
    ("tracks/Bass/fx/1/preset", "Warm", lambda p: p.tracks[1].fx[0].preset),
    ("tracks/Bass/fx/1/parameters/3/value", 0.125, lambda p: p.tracks[1].fx[0].parameters[2].value),
    ("master/volume", -2.0, lambda p: to_db(p.master.volume)),
    ("master/pan", 0.1, lambda p: p.master.pan),
    ("transport/tempo", 98.7, lambda p: p.tempo),
    ("transport/play_rate", 1.5, lambda p: p.play_rate),
    ("transport/repeat", True, lambda p: p.repeat),
    ("transport/metronome", True, lambda p: p.metronome),
    ("transport/loop_end", 8.0, lambda p: p.loop[1]),
    ("transport/position", 12.5, lambda p: p.position),
    ("transport/playing", True, lambda p: p.playing),
    ("markers/2/name", "Chorus", lambda p: p.markers[1].name),
    ("markers/2/time", 24.0, lambda p: p.markers[1].time),
    ("regions/1/length", 32.0, lambda p: p.regions[0].length),
]


def _is(look: Callable[[Project], Any], project: Project, wanted: Any) -> bool:
    return bool(look(project) == wanted)


async def test_wishes_of_every_kind_are_settled(tmp_path: Path) -> None:
    """Each twice: the second time nothing changes, and REAPER tells nothing by itself."""
    async with joint(tmp_path) as (reaper, session):
        number = 0
        for path, value, look in WISHES:
            wanted = value if isinstance(value, (bool, str)) else pytest.approx(value, abs=1e-3)
            for _ in range(2):
                number += 1
                assert await wish(session, number, path, value) == wanted, path
                await until(partial(_is, look, reaper.project, wanted))
        assert session.rejected == {}


async def test_many_wishes_on_one_path_all_get_an_answer(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        for number in range(1, 301):
            path = "tracks/Drums/volume" if number % 2 else "tracks/Bass/fx/1/parameters/1/value"
            session.channel.apply([Wish(number, path, number / 300 if number % 2 == 0 else -number / 10, number)])
        await session.until(lambda: len(session.settled) == 300, "all settled")
        assert to_db(reaper.project.tracks[0].volume) == pytest.approx(-29.9, abs=1e-3)
        assert reaper.project.tracks[1].fx[0].parameters[0].value == 1.0


async def test_changes_in_reaper_are_reported(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        user = reaper.user
        user.volume(1, -9.0)
        user.pan(2, 0.75)
        user.switch(3, "solo", on=True)
        user.parameter(2, 1, 4, 0.875)
        user.tempo(133.0)
        user.play()
        await holds(session, "tracks/Drums/volume", -9.0)
        await holds(session, "tracks/Bass/pan", 0.75)
        await holds(session, "tracks/Reverb/solo", True)
        await holds(session, "tracks/Bass/fx/1/parameters/4/value", 0.875)
        await holds(session, "transport/tempo", 133.0)
        await holds(session, "transport/playing", True)
        await session.until(lambda: session.values["transport/position"] > 0.05, "the position")  # type: ignore[operator]
        user.play(on=False)
        await holds(session, "transport/playing", False)
        assert all(not change.path.startswith("tracks/Track") for change in session.changes)


async def test_what_is_selected_moves_together_and_is_told(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        for index in (1, 2):
            reaper.user.switch(index, "selected", on=True)
        await holds(session, "tracks/Bass/select", True)
        await wish(session, 1, "tracks/Drums/mute", True)
        await holds(session, "tracks/Bass/mute", True)
        assert session.values["tracks/Reverb/mute"] is False


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("tracks/Drums/colour", 1.0, "a track has name, volume"),
        ("tracks/Keys/volume", -1.0, "there are tracks/Drums, tracks/Bass"),
        ("tracks/Drums/volume", 40.0, "outside -150.0 to 12.0"),
        ("tracks/Drums/volume", "loud", "wants a number"),
        ("tracks/Drums/volume", None, "cannot be removed"),
        ("tracks/Drums/volume", float("nan"), "wants a number"),
        ("tracks/Drums/mute", 1, "wants a bool"),
        ("tracks/Drums/name", "", "needs a name"),
        ("tracks/Drums/name", "a\0b", "NUL"),
        ("tracks/Drums/name", "x" * 600, "600 bytes"),
        ("tracks/Drums/number", 2, "only be read"),
        ("tracks/Drums/fx/9/enabled", True, "there is no tracks/Drums/fx/9/enabled"),
        ("tracks/Drums/fx/one/enabled", True, "there is no"),
        ("tracks/Drums/fx/1/parameters/1/value", 2.0, "outside 0 to 1"),
        ("tracks/Drums/fx/1/parameters/99/value", 0.5, "there is no"),
        ("tracks/Drums/monitor", 1.5, "whole number"),
        ("transport/recording", True, "only be read"),
        ("markers/9/name", "x", "there is no markers/9"),
        ("surface/tracks", 4, "lightfast.toml"),
        ("items/1", 4, "nothing to set"),
    ],
)
async def test_impossible_wish_is_rejected_at_once(path: str, value: Any, reason: str, tmp_path: Path) -> None:
    async with joint(tmp_path) as (_, session):
        assert reason in await refusal(session, 1, path, value)


async def test_what_reaper_does_not_take_is_rejected(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        taking: Any = reaper.surface._taking
        taking._slide = lambda *_: None  # a REAPER that takes no volume and no pan
        reason = await refusal(session, 1, "tracks/Drums/volume", -30.0)
        assert "REAPER kept -3.0" in reason
        assert "asked for -30.0" in reason


async def test_a_value_that_reaper_adjusts_is_settled_with_what_it_holds(tmp_path: Path) -> None:
    async with joint(tmp_path, top=24.0) as (reaper, session):
        taking: Any = reaper.surface._taking
        slide = taking._slide
        taking._slide = lambda action, flag, track, value: slide(action, flag, track, min(value, 12.0))
        found = await wish(session, 1, "tracks/Drums/volume", 20.0)
        assert found == pytest.approx(12.0, abs=1e-3)


async def test_commands(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        assert await call(session, 1, "play") == ""
        await holds(session, "transport/playing", True)
        assert await call(session, 2, "stop") == ""
        await holds(session, "transport/playing", False)
        assert await call(session, 3, "goto_marker", marker=2) == ""
        assert reaper.project.position == 16.0
        assert await call(session, 4, "save") == ""
        assert await call(session, 5, "undo") == ""
        assert await call(session, 6, "action", action=40157) == ""
        assert await call(session, 7, "action", action="_SWS_ABOUT") == ""
        assert reaper.project.actions == ["40026", "40029", "40157", "_SWS_ABOUT"]
        reaper.user.switch(1, "solo", on=True)
        assert await call(session, 8, "solo_reset") == ""
        assert not reaper.project.tracks[0].solo


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("explode", {}, "REAPER has no command explode"),
        ("goto_marker", {}, "needs marker"),
        ("goto_marker", {"marker": 7}, "there is no markers/7 in REAPER: there are 1, 2"),
        ("goto_marker", {"marker": "Verse"}, "wants a number"),
        ("play", {"loud": True}, "takes no loud"),
        ("action", {"action": 0}, "above 0"),
        ("action", {"action": "Save"}, "wants a number"),
        ("action", {"action": 1 << 40}, "no command ID"),
    ],
)
async def test_wrong_command_fails_with_the_reason(
    command: str, arguments: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    async with joint(tmp_path) as (_, session):
        assert reason in await call(session, 1, command, **arguments)


async def test_fx_and_sends_that_come_and_go(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        track = reaper.project.tracks[2]
        track.fx += [Fx(f"Fx {number}", [Parameter("Mix", 0.5)]) for number in range(1, 6)]
        track.sends += [Send("Drums", to_volume(-1.0)), Send("Bass")]
        reaper.user.fx_changed()
        await holds(session, "tracks/Reverb/fx/5/name", "Fx 5")
        await holds(session, "tracks/Reverb/fx/5/parameters/1/value", 0.5)
        await holds(session, "tracks/Reverb/sends/2/name", "Bass")
        track.fx[0].parameters += [Parameter(f"P{number}", number / 100) for number in range(2, 21)]
        reaper.user.fx_changed()
        await holds(session, "tracks/Reverb/fx/1/parameters/20/value", 0.2)
        reaper.user.parameter(3, 1, 20, 0.9)
        await holds(session, "tracks/Reverb/fx/1/parameters/20/value", 0.9)
        await wish(session, 1, "tracks/Reverb/fx/5/parameters/1/value", 0.75)
        assert track.fx[4].parameters[0].value == 0.75
        del track.fx[1:]
        del track.sends[0]
        reaper.user.fx_changed()
        await holds(session, "tracks/Reverb/fx/5/name", None)
        await holds(session, "tracks/Reverb/fx/2/parameters/1/value", None)
        await holds(session, "tracks/Reverb/sends/1/name", "Bass")
        await holds(session, "tracks/Reverb/sends/2/name", None)
        assert "no tracks/Reverb/fx/5" in (await refusal(session, 2, "tracks/Reverb/fx/5/enabled", True))


async def test_an_fx_of_many_parameters(tmp_path: Path) -> None:
    project = song(2)
    project.tracks[1].fx[0].parameters[:] = [Parameter(f"P{number}", number / 100) for number in range(1, 51)]
    async with joint(tmp_path, project) as (_, session):
        assert session.values["surface/parameters"] == 64
        assert session.values["tracks/T002/fx/1/parameters/50/value"] == pytest.approx(0.5)
        await wish(session, 1, "tracks/T002/fx/1/parameters/50/value", 1.0)
        assert project.tracks[1].fx[0].parameters[49].value == 1.0
    async with joint(tmp_path, project, parameter_slots=60) as (_, session):
        assert session.values["surface/parameters"] == 60 // (3 * 2)
        assert "tracks/T002/fx/1/parameters/11/value" not in session.values
    async with joint(tmp_path, project, parameters=0) as (_, session):
        assert not [path for path in session.values if "/parameters/" in path]


async def test_markers_come_move_and_are_more_than_there_is_room_for(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        for number in range(3, 25):
            reaper.user.mark(Marker(number, f"M{number}", number * 10.0))
        await holds(session, "markers/24/time", 240.0)
        assert await wish(session, 1, "markers/24/time", 5.0) == 5.0  # now it is the second in time
        assert session.values["markers/2/name"] == "Verse"
        assert await call(session, 1, "goto_marker", marker=2) == ""
        assert reaper.project.position == 16.0
        reaper.project.markers[:] = reaper.project.markers[:1]
        reaper.user.mark(Marker(1, "Again", 1.0))  # a second one of that number: the first counts
        await holds(session, "markers/24/time", None)
        assert session.values["markers/1/name"] == "Intro"


async def test_a_flood_of_meters_does_not_drown_the_rest(tmp_path: Path) -> None:
    noisy = OURS.replace("#TRACK_VU", "TRACK_VU").replace("#MASTER_VU", "MASTER_VU")
    async with joint(tmp_path, song(20), patterns=noisy) as (reaper, session):
        reaper.project.playing = True

        async def play() -> None:
            for turn in range(10_000):
                for number, track in enumerate(reaper.project.tracks):
                    track.level = (turn * 7 + number) % 100 / 100
                reaper.project.master.level = turn % 10 / 10
                await asyncio.sleep(0.002)

        noise = asyncio.ensure_future(play())
        try:
            for number in range(1, 21):
                await wish(session, number, f"tracks/T{number:03d}/volume", -number / 2)
            level = session.values["tracks/T020/vu"]
            assert isinstance(level, float)
            assert 0 <= level <= 1
            assert next(leaf for leaf in session.hello.parameters if leaf.pattern == "tracks/*/vu").signal
        finally:
            await ended(noise, "the noise")


async def test_one_that_says_nothing_any_more_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs, or runs on another machine: then the system does not say that nobody has its port."""
    monkeypatch.setattr("lightfast_bridges.reaper.session.BEAT", 60.0)
    async with running() as reaper, bridged(reaper, tmp_path, silence=1.5) as host:
        session = await joined(host)
        await reaper.stop()
        await session.until(lambda: session.lost_reason, "the loss")
        assert "silent" in str(session.lost_reason)


async def test_a_standstill_of_everything_loses_nobody(tmp_path: Path) -> None:
    """As of a machine that sleeps: REAPER has said nothing meanwhile, but nobody could have heard it."""
    async with joint(tmp_path, silence=1.0) as (reaper, session):
        for number in range(1, 4):
            time.sleep(2.5)  # the loop stands still, and with it both
            reaper.user.volume(1, -float(number))
            await holds(session, "tracks/Drums/volume", -float(number))
        assert session.lost_reason is None


async def test_kill_and_return(tmp_path: Path) -> None:
    """It is missed at once: who is back before it would count as silent holds other values, and no wish of ours."""
    async with running() as reaper, bridged(reaper, tmp_path, silence=60.0) as host:
        first = await joined(host)
        await reaper.stop()
        await first.until(lambda: first.lost_reason, "the loss")
        assert "nothing listens" in str(first.lost_reason)
        await host.until(lambda: host.absences, "the reason")
        assert "pattern config Lightfast" in host.absences[-1]
        reaper.project.tracks[0].volume = to_volume(-33.0)
        reaper.start()
        second = await joined(host, 2)
        assert second.values["tracks/Drums/volume"] == pytest.approx(-33.0, abs=1e-3)
        assert second.hello.document_id == first.hello.document_id
        assert second.hello.instance_id == first.hello.instance_id


async def test_resync_reports_everything_again(tmp_path: Path) -> None:
    async with joint(tmp_path) as (_, session):
        first = set(session.values)
        session.changes.clear()
        session.channel.resync()
        await session.until(lambda: session.syncs == 2, "the second report")
        assert {change.path for change in session.changes} >= first


async def test_engine_closes_the_session(tmp_path: Path) -> None:
    async with running() as reaper, bridged(reaper, tmp_path) as host:
        session = await joined(host)
        session.channel.close("mount removed")
        session.lost_reason = "closed"  # the engine knows
        await joined(host, 2)


async def test_an_empty_project(tmp_path: Path) -> None:
    async with joint(tmp_path, Project()) as (reaper, session):
        assert session.values["surface/tracks"] == 0
        reaper.user.insert(1, Track("First"))
        await holds(session, "tracks/First/volume", 0.0)


async def test_too_many_tracks_is_said(tmp_path: Path) -> None:
    async with joint(tmp_path, song(6), tracks=4) as (_, session):
        assert session.values["surface/tracks"] == 4
        assert "tracks/T005/volume" not in session.values
        assert "raise plugins.reaper.tracks" in session.trouble


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"remote": "localhost"}, "HOST:PORT"),
        ({"reply_port": "x"}, "reaper.reply_port"),
        ({"tracks": 0}, "write 1 or more, up to 2000"),
        ({"poll": True}, "reaper.poll"),
        ({"replyport": 1}, "did you mean 'reply_port'"),
    ],
)
def test_wrong_setting_is_named(config: dict[str, object], wrong: str) -> None:
    with pytest.raises(BridgeError, match=wrong):
        settings_of(config)
