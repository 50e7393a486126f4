"""Pattern files, and the simulator of REAPER's OSC surface: its manners, each as REAPER's own source has them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.osc_live import until
from tests.support.ports import free_port
from tests.support.reaper import DEFAULT, OURS, song

from lightfast.sdk import PluginError
from lightfast.sdk.osc import decode, encode
from lightfast_bridges.reaper.leaves import HEARD, SCOPES, decibels
from lightfast_bridges.reaper.patterns import PatternError, parse
from lightfast_bridges.reaper.project import Marker, demo_project
from lightfast_bridges.reaper.simulator import ENVIRON, LEFT_OUT, PACKET, OscSurface, ReaperSimulator

# ---------------------------------------------------------------------- pattern files


def test_settings_and_patterns() -> None:
    found = parse(DEFAULT)
    assert found.count("DEVICE_TRACK_COUNT", 1) == 8
    assert found.count("DEVICE_MARKER_COUNT", 3) == 3, "REAPER leaves a count of 0 as it is"
    assert found.settings["DEVICE_EQ"] == "INSERT"
    assert [one.flag for one in found.by_action["TRACK_VOLUME"]] == ["n", "n", "s", "s", "f", "f"]


@pytest.mark.parametrize(
    ("address", "action", "targets"),
    [
        ("/track/3/volume", "TRACK_VOLUME", [(3,)]),
        ("/track/volume", "TRACK_VOLUME", [()]),
        ("/track/1,2,5/mute", "TRACK_MUTE", [(1,), (2,), (5,)]),
        ("/track/3/fx/1,2,5/fxparam/6,7,7/value", "FX_PARAM_VALUE", [(3, 1, 6), (3, 2, 7), (3, 5, 7)]),
        ("/action/40757", "ACTION", [(40757,)]),
    ],
)
def test_addresses_are_matched(address: str, action: str, targets: list[tuple[int, ...]]) -> None:
    matched = parse(DEFAULT).match(address)
    assert matched is not None
    assert (matched[0].action, matched[1]) == (action, targets)


@pytest.mark.parametrize(
    "address", ["/track/3", "/track/x/volume", "/track/1,2/fx/1,2,3/bypass", "/nothing", "/track/3/volume/", "x"]
)
def test_addresses_that_mean_nothing(address: str) -> None:
    assert parse(DEFAULT).match(address) is None


def test_a_wildcard_within_a_word_and_the_later_of_two_flags() -> None:
    found = parse("TRACK_MUTE b/mute@\nTRACK_MONITOR b/mon/@ i/mon/@")
    matched = found.match("/mute12")
    assert matched is not None
    assert matched[1] == [(12,)]
    later = found.match("/mon/1")
    assert later is not None
    assert later[0].flag == "i"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("TRACK_MUTE x/track/@/mute", "line 1: .* begins with 'x'"),
        ("# first\nTRACK_MUTE btrack", "line 2: .* no '/'"),
        ("track_mute b/track", "written in capitals"),
        ("DEVICE_EQ EXISTING", "begins with 'E'"),
        (f"TRACK_MUTE b/{'x' * 600}", "602 characters"),
    ],
)
def test_what_reaper_would_refuse_is_refused_with_the_line(text: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        parse(text)


def test_our_file_and_the_bridge_agree() -> None:
    """Every address that the bridge sets or hears is in the file, and nothing floods unless it is wanted."""
    ours = parse(OURS)
    there = {one.address: one for patterns in ours.by_action.values() for one in patterns}
    text_only = {"/tempo/str", "/playrate/str"}  # of other files
    meters = {"/track/@/vu", "/master/vu"}
    assert set(HEARD) - text_only - meters <= there.keys()
    for _, leaves in SCOPES.values():
        for leaf in leaves:
            assert not leaf.address or leaf.address in there, leaf
            assert not leaf.told or there[leaf.told].flag == there[leaf.heard].flag, leaf
    assert not {"BEAT", "SAMPLES", "FRAMES", "TRACK_VU", "MASTER_VU", "LAST_MARKER_NAME"} & ours.by_action.keys()
    assert {there[one].flag for one in ("/play", "/stop", "/pause", "/record")} == {"t"}
    assert {there[one].flag for one in ("/repeat", "/click", "/track/@/mute")} == {"b"}
    assert [one.address for one in ours.by_action["TRACK_VOLUME"] if one.flag == "n"] == []
    assert all(ours.count(f"DEVICE_{kind}_COUNT", 99) == 1 for kind in ("TRACK", "SEND", "FX", "FX_PARAM"))


def test_volumes_are_read_from_text() -> None:
    assert [decibels(text) for text in ("-6.00dB", "+1.5 dB", "-inf dB", "-infdB", "loud", 3)] == [
        -6.0, 1.5, -150.0, -150.0, None, None,
    ]  # fmt: skip


# ---------------------------------------------------------------------- manners


def surface(patterns: str = DEFAULT, count: int = 0) -> OscSurface:
    made = OscSurface(song(count) if count else demo_project(), parse(patterns), 9)
    made.telling.everything()
    made.telling.queue.clear()
    return made


def told(made: OscSurface, address: str, *values: Any) -> dict[str, Any]:
    """Send a message, and return what is told because of it."""
    made._taking.take(address, values)
    found = dict(made.telling.queue)
    made.telling.queue.clear()
    return found


def test_a_value_is_not_told_on_the_address_that_set_it() -> None:
    made = surface()
    found = told(made, "/track/2/volume/db", -9.0)
    assert "/track/2/volume/db" not in found
    assert found["/track/2/volume/str"] == "-9.00dB"
    assert told(made, "/track/2/volume/db", -9.0) == {}, "nothing has changed"
    assert told(made, "/track/2/mute", 1.0)["/track/2/mute"] == 1.0, "switches are"
    assert told(made, "/track/2/mute", 1.0) == {}


def test_a_message_without_an_argument_has_it_told_again() -> None:
    made = surface()
    assert told(made, "/track/2/volume/db") == {}
    assert told(made, "/device/track/count", 8)["/track/2/volume/db"] == pytest.approx(-6.0)
    assert told(made, "/device/track/count", 8) == {}


def test_the_selected_track_is_told_twice() -> None:
    made = surface()
    told(made, "/device/track/select", 3)
    made.user.volume(3, -20.0)
    assert {"/track/volume/db", "/track/3/volume/db"} <= dict(made.telling.queue).keys()


def test_selecting_beyond_the_end_selects_the_last() -> None:
    made = surface(count=12)
    assert told(made, "/device/track/select", 9999)["/track/number/str"] == "12"


def test_banks_shift_what_a_number_means_and_hide_the_rest() -> None:
    made = surface(count=20)
    made.user.volume(9, -5.0)
    assert not made.telling.queue, "eight tracks by default"
    assert told(made, "/device/track/bank/select", 2)["/track/1/name"] == "T009"
    told(made, "/track/1/volume/db", -7.0)
    assert made.project.tracks[8].volume == pytest.approx(10 ** (-7 / 20))
    assert made.project.tracks[0].volume == 1.0
    assert told(made, "/track/1/fx/1/bypass", 0.0) == {}, "told with the wrong number: REAPER's own fault"


def test_several_targets_take_one_argument_each() -> None:
    made = surface(count=3)
    told(made, "/track/2/fx/1/fxparam/1,2/value", 0.9, 0.8)
    assert [one.value for one in made.project.tracks[1].fx[0].parameters] == [pytest.approx(0.9), pytest.approx(0.8)]
    told(made, "/track/1,3/pan", 0.0, 1.0)
    assert [track.pan for track in made.project.tracks] == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("flag", "values", "playing"),
    [("t", [], True), ("t", [1.0], True), ("t", [0.0], False), ("b", [0.0], True), ("b", [], False)],
)
def test_triggers(flag: str, values: list[float], playing: bool) -> None:
    made = surface(OURS.replace("PLAY t/play", f"PLAY {flag}/play"))
    told(made, "/play", *values)
    assert made.project.playing is playing


def test_toggles_and_switches() -> None:
    made = surface("REPEAT t/repeat\nMETRONOME b/click\nTEMPO n/tempo r/tempo/rotary f/tempo/raw")
    told(made, "/repeat", 1.0)
    told(made, "/repeat", 1.0)
    assert not made.project.repeat
    told(made, "/click", 1.0)
    assert told(made, "/click", 1.0) == {}
    assert made.project.metronome
    assert set(told(made, "/tempo/raw", 130.0)) == {"/tempo"}, "neither where it was set, nor on a rotary"


def test_ints_floats_and_strings() -> None:
    made = surface()
    told(made, "/track/1/volume/db", -3)
    told(made, "/track/1/name", "Kit")
    told(made, "/track/1/volume/db", "loud")
    assert made.project.tracks[0].name == "Kit"
    assert made.project.tracks[0].volume == pytest.approx(10 ** (-3 / 20))
    told(made, "/device/marker/count", 4)
    made.user.mark(Marker(7, "Out", 30.0))
    assert dict(made.telling.queue)["/marker/3/number/str"] == "7"


def test_what_it_leaves_out_is_listed() -> None:
    made = surface(OURS)
    told(made, "/action", 40001)
    assert made.project.actions == ["40001"]
    assert any("41743" in line for line in LEFT_OUT)


# ---------------------------------------------------------------------- on the wire


@contextlib.asynccontextmanager
async def served(simulator: ReaperSimulator) -> AsyncIterator[tuple[socket.socket, tuple[str, int]]]:
    """Run a simulator; the socket is its device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind(("127.0.0.1", 0))
        device.setblocking(False)
        ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(simulator.run(("127.0.0.1", 0), device.getsockname()[1], ready.set_result))
        try:
            await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            yield device, ready.result()
        finally:
            await ended(task, "the simulator")


def drain(device: socket.socket, found: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    while True:
        try:
            data = device.recv(65_536)
        except BlockingIOError:
            return found
        sizes.append(len(data))
        found.update({message.address: message.args[0] for message in decode(data)})


async def test_it_speaks_to_its_device_only_and_not_to_strangers() -> None:
    async with served(ReaperSimulator(patterns=OURS, tick=0.01)) as (device, address):
        found: dict[str, Any] = {}
        sizes: list[int] = []
        await until(lambda: "/track/1/name" in drain(device, found, sizes))
        assert (found["/track/1/name"], found["/play"]) == ("Drums", 0.0)
        assert "/track/2/name" not in found, "one track, until the counts are raised"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.setblocking(False)
            for message in (("/no/such/thing", 1.0), ("/device/track/count", 3), ("/lightfast/simulator",)):
                stranger.sendto(encode(*message), address)
            stranger.sendto(b"\x00garbage", address)
            await until(lambda: "/lightfast/simulator" in drain(device, found, sizes))
            with pytest.raises(BlockingIOError):
                stranger.recv(4096)
        await until(lambda: "/track/3/name" in drain(device, found, sizes))
        assert not [one for one in found if "no/such" in one]
        assert max(sizes) <= PACKET


async def test_feedback_is_coalesced() -> None:
    project = song(1)
    async with served(ReaperSimulator(lambda: project, patterns=OURS + "\nTRACK_VU n/track/@/vu\n", tick=0.05)) as (
        device,
        _,
    ):
        found: dict[str, Any] = {}
        sizes: list[int] = []
        await until(lambda: "/track/1/vu" in drain(device, found, sizes))
        levels, began = [], time.monotonic()
        for step in range(1, 201):
            project.tracks[0].level = step / 200
            await asyncio.sleep(0.001)
            fresh = drain(device, {}, sizes)
            levels += [fresh["/track/1/vu"]] if "/track/1/vu" in fresh else []
        assert len(levels) <= (time.monotonic() - began) / 0.05 + 3
        project.tracks[0].level = 0.125
        await until(lambda: drain(device, found, sizes).get("/track/1/vu") == 0.125)


async def test_the_pattern_file_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "Own.ReaperOSC"
    file.write_text("TRACK_NAME s/called/@\n")
    monkeypatch.setenv(ENVIRON, str(file))
    async with served(ReaperSimulator(tick=0.01)) as (device, _):
        found: dict[str, Any] = {}
        await until(lambda: "/called/1" in drain(device, found, []))
        assert found == {f"/called/{number}": name for number, name in enumerate(
            ("Drums", "Bass", "Reverb", "Track 4", "Track 5", "Track 6", "Track 7", "Track 8"), 1)}  # fmt: skip
    file.write_text("TRACK_NAME called")
    with pytest.raises(PluginError, match="line 1"):
        await ReaperSimulator().run(("127.0.0.1", 0), free_port(), lambda _: None)


async def test_a_taken_port_is_explained() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(PluginError, match="--listen"):
            await ReaperSimulator().run(("127.0.0.1", other.getsockname()[1]), 9, lambda _: None)
