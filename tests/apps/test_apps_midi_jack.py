"""A daemon and a device with real MIDI ports, through python-rtmidi and a private JACK server.

The sequencer of ALSA is not tried: neither containers nor hosted test machines have one (/dev/snd/seq).
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.jack import Jack, jack_server
from tests.support.joined import Desk, daemon_with, desk, frozen
from tests.support.midi_jack import Device
from tests.support.waiting import until

from lightfast.core.errors import LightfastError
from lightfast_bridges.midi.timecode import RATES, TimecodeReader, full_frame, quarter_frame

pytestmark = [pytest.mark.real_app, pytest.mark.slow]
PERIOD = 4096
"""Frames of a cycle, 85 ms: a client that is not let run for longer loses what is in it, and this machine is busy."""
TRIES = 4
TICK, START, STOP = b"\xf8", b"\xfa", b"\xfc"


@pytest.fixture(scope="module")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jack]:
    with jack_server(tmp_path_factory.mktemp("jack"), period=PERIOD) as server:
        yield server


@pytest.fixture
def own_jack(tmp_path: Path) -> Iterator[Jack]:
    with jack_server(tmp_path, period=PERIOD) as server:
        yield server


def connected(home: Path, jack: Jack) -> Daemon:
    daemon = daemon_with(
        home, "midi", name="pad", api="jack", input="pad out:*", output="pad in:*", timecode="25", hold=0
    )
    daemon.environ.update(jack.environ)
    return daemon


def contact(device: Device, d: Desk) -> None:
    """Wait until the device is heard: JACK changes its graph at a moment of its own, and loses what comes before."""
    d.live()
    count = itertools.count(1)

    def look() -> bool:
        device.say(bytes((0xBF, 119, next(count) % 100 + 1)))
        time.sleep(0.05)
        return bool(d.value("ch/16/cc/119"))

    until(look, "the device")


def said(device: Device, d: Desk, path: str, value: float, *messages: bytes) -> None:
    """Let the device say something, again where JACK lost it, until *path* is at *value*."""
    for _ in range(TRIES):
        device.say(*messages)
        try:
            until(lambda: d.value(path) == value, path, 5.0)
        except AssertionError:
            continue
        return
    d.holds(path, value)


def played(device: Device, d: Desk, beats: float, *messages: bytes) -> None:
    """Let the device play, again where JACK lost a tick, until it was seen to play, and stands at *beats* when it stops.

    How it plays may be over before it is looked at, on a machine that is busy: then it plays again, too.
    """
    every, seen = 60 / 120.5 / 24, []
    for _ in range(TRIES):
        plays = False
        device.say(*messages, STOP, every=every)

        def look() -> bool:
            nonlocal plays
            plays = plays or d.value("clock/playing") is True
            return plays and d.value("clock/playing") is False

        with contextlib.suppress(AssertionError):
            until(look, "it plays, then stands", len(messages) * every + 10.0)
        seen.append((plays, d.value("clock/playing"), d.value("clock/position")))
        if seen[-1] == (True, False, beats):
            return
    raise AssertionError(f"it should play, then stand at {beats}: {seen}\n{d.daemon.log()[-4000:]}")


def test_notes_and_controllers_cross_both_ways(tmp_path: Path, jack: Jack) -> None:
    with closing(Device(jack)) as device, desk(connected(tmp_path / "home", jack), "/pad") as d:
        contact(device, d)
        said(device, d, "ch/1/note/60", 100, b"\x90\x3c\x64")
        said(device, d, "ch/1/cc/7", 64, b"\xb0\x07\x40")
        said(device, d, "ch/3/pitch", 8192, b"\xe2\x00\x40")
        said(device, d, "ch/10/program", 5, b"\xc9\x05")
        said(device, d, "ch/1/note/60", 0, b"\x80\x3c\x40")
        assert d.set("ch/2/note/61", 99).status == "SETTLED"
        assert d.set("ch/2/note/61", 0).status == "SETTLED"
        d.client.set(d.path("ch/2/cc/1"), 127)
        device.hears(lambda heard: b"\xb1\x01\x7f" in heard, "the controller")
        assert [message for message in device.messages if message[0] in {0x91, 0x81}] == [
            b"\x91\x3d\x63",
            b"\x81\x3d\x40",
        ]
        assert d.invoke("send", bytes="F0 7D 01 02 F7") == 1
        device.hears(lambda heard: b"\xf0\x7d\x01\x02\xf7" in heard, "system exclusive")
        with pytest.raises(LightfastError, match="not whole"):
            d.invoke("send", bytes="90 3C")
        hand = [message for key in range(20) for message in (bytes((0x90, key, 1)), bytes((0x80, key, 0)))]
        said(device, d, "ch/1/note/19", 0, *hand)
        assert [d.value(f"ch/1/note/{key}") for key in range(20)] == [0] * 20
        assert d.value("status/dropped") == 0


def test_a_clock_that_is_heard_counts_right(tmp_path: Path, jack: Jack) -> None:
    with closing(Device(jack)) as device, desk(connected(tmp_path / "home", jack), "/pad") as d:
        contact(device, d)
        # The first tick is the beginning: 96 later are four beats.
        played(device, d, 4.0, START, *[TICK] * 97)
        assert d.value("transport/playing") is False
        assert 100 < d.value("clock/tempo") < 145  # ticks come in cycles of 85 ms, and are spread over four beats
        played(device, d, 9.0, b"\xf2\x20\x00", b"\xfb", *[TICK] * 25)  # from the eighth beat on


def test_a_clock_that_is_led_counts_right(tmp_path: Path, jack: Jack) -> None:
    with closing(Device(jack)) as device, desk(connected(tmp_path / "home", jack), "/pad") as d:
        contact(device, d)
        d.set("transport/tempo", 120.5)
        for _ in range(TRIES):  # again where JACK lost the start or the stop
            device.heard.clear()
            d.set("transport/position", 0.0)
            d.set("transport/playing", True)
            until(lambda: (d.value("clock/position") or 0) > 6, "six beats")
            d.set("transport/playing", False)
            with contextlib.suppress(AssertionError):
                until(lambda: STOP in device.messages, "a stop", 5.0)
            if START in device.messages and STOP in device.messages:
                break
        heard = device.hears(lambda heard: START in heard and STOP in heard, "a start and a stop")
        until(lambda: d.client.get(d.path("clock/position")).status == "SETTLED", "a position")
        begin, end = heard.index(START), heard.index(STOP)
        beats = d.value("clock/position")
        assert heard[begin + 1] == TICK
        # That none is missing and none comes twice is tested without JACK. A server that was not let run in time drops
        # whole cycles, with what is in them; it makes none up.
        assert 0.7 * beats * 24 < heard[begin:end].count(TICK) <= beats * 24 + 12
        reader, places = TimecodeReader(), []
        for at, message in device.heard:
            if message[0] == 0xF1:
                places.append(reader.quarter(message[1], at))
        quarters = sum(message[0] == 0xF1 for message in heard)
        assert 0.7 * beats * 60 / 120.5 * 100 < quarters <= beats * 60 / 120.5 * 100 + 25
        assert any(places)
        assert all(0 <= place.seconds < beats * 60 / 120.5 + 0.1 for place in places if place is not None)
        stand = [message for message in heard if message[:5] == b"\xf0\x7f\x7f\1\1"][-1]
        assert TimecodeReader().full(stand, 1.0).seconds == pytest.approx(beats * 60 / 120.5, abs=0.041)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["24", "29.97df"])
def test_timecode_that_is_heard(tmp_path: Path, jack: Jack, name: str) -> None:
    rate = RATES[name]
    first = rate.number(0, 9, 59, 0)
    with closing(Device(jack)) as device, desk(connected(tmp_path / "home", jack), "/pad") as d:
        contact(device, d)
        said(device, d, "timecode/position", rate.seconds(4 * first), full_frame(rate, first))
        d.holds("transport/position", rate.seconds(4 * first))
        d.holds("timecode/rate", name)
        pieces = [quarter_frame(rate, first + 2 * (count // 8), count % 8) for count in range(240)]
        last = 0.0
        for _ in range(TRIES):  # again where JACK lost the end
            device.say(*pieces, every=rate.seconds(1))
            d.holds("timecode/playing", True)
            d.holds("timecode/playing", False)
            last = d.value("timecode/position")
            if last > rate.seconds(4 * first + 200):
                break
        # Positions are told twenty times a second: the last one is that much behind the end, at most.
        assert rate.seconds(4 * first + 200) < last < rate.seconds(4 * first + 244)


def test_a_device_that_goes_and_comes_back(tmp_path: Path, jack: Jack) -> None:
    with closing(Device(jack)) as device, desk(connected(tmp_path / "home", jack), "/pad") as d:
        contact(device, d)
        said(device, d, "ch/1/cc/7", 64, b"\xb0\x07\x40")
        said(device, d, "ch/1/note/60", 100, b"\x90\x3c\x64")
        device.close()
        d.gone()
        assert d.value("ch/1/note/60") == 0
        with closing(Device(jack)) as again:
            contact(again, d)
            assert d.value("ch/1/cc/7") == 64
            said(again, d, "ch/1/cc/7", 65, b"\xb0\x07\x41")


def test_a_server_that_dies_takes_nothing_along(tmp_path: Path, own_jack: Jack) -> None:
    with closing(Device(own_jack)) as device, desk(connected(tmp_path / "home", own_jack), "/pad") as d:
        contact(device, d)
        d.set("transport/playing", True)
        own_jack.kill()
        d.gone()
        d.client.set("/notes/still", "here")
        assert d.client.get("/notes/still").value == "here"


def test_a_server_that_hangs_takes_nothing_along(tmp_path: Path, own_jack: Jack) -> None:
    with closing(Device(own_jack)) as device, desk(connected(tmp_path / "home", own_jack), "/pad") as d:
        contact(device, d)
        d.set("transport/tempo", 999.0)
        d.set("transport/playing", True)
        with frozen(own_jack.process.pid):
            until(lambda: d.client.get(d.path("transport/playing")), "an answer")
            d.client.set("/notes/still", "here")
            assert d.client.get("/notes/still").value == "here"
            d.gone()
        d.live()
