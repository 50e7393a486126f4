"""Two-way links between real applications: after a change everywhere the same, and then silence.

Ardour's fader, a value of Blender's scene and a parameter of TouchDesigner are linked in a row, and a gain in dB to a
length; each is turned in its own application, not through the daemon. `LIGHTFAST_LONG=1` listens for ten minutes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from tests.support.studio import Studio, studio
from tests.support.studio_members import HANDY, ArdourMember, BlenderMember, HandyTouchDesigner
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast.core.faders import ardour_to_gain, gain_to_db

pytestmark = pytest.mark.real_app
SILENCE_S = 600.0 if os.environ.get("LIGHTFAST_LONG") == "1" else 30.0
REST_S = 2.0
"""Longer than a late echo and the last look after it."""
FADER, LEVEL = "/ardour/strips/Drums/fader", "/blender/scene/lightfast/level"
KNOB_OP, KNOB = "/project1/constant2", "const0value"
KNOB_PATH = f"/touchdesigner{KNOB_OP}/par/{KNOB}"
GAIN, HEIGHT = "/ardour/strips/Voice%2FLead/gain", "/touchdesigner/project1/geo1/par/ty"
MOST_EVENTS = 6
"""Of one path, for one change: the report or the wish, its answer, and what is rounded on the way."""
MOST_WRITES = 3
"""Into one application, for one change."""


class Ear:
    """Counts the events of some paths."""

    def __init__(self, found: Studio, *paths: str) -> None:
        self.events: Counter[str] = Counter()
        self.last = time.monotonic()
        self._client = Client(home=found.daemon.home)
        self._thread = threading.Thread(target=self._listen, args=paths, daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Ear:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._thread.join(10)

    def _listen(self, *paths: str) -> None:
        try:
            for batch in self._client.watch(*paths, include_snapshot=True):
                if self._ready.is_set() and batch.events:
                    self.events.update(event.entry.path for event in batch.events)
                    self.last = time.monotonic()
                if batch.synced:
                    self._ready.set()
        except LightfastError:
            return  # closed


class Scale:
    """Counts what the daemon writes into each application."""

    def __init__(self, found: Studio) -> None:
        self._studio = found

    def now(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for kind in ("ardour", "blender", "touchdesigner"):
            relay = self._studio[kind].relay
            assert relay is not None
            for what, count in list(relay.told.items()):
                if what == "apply" or what.startswith(("/strip/fader/", "/strip/gain/")):
                    counted[kind] += count
        return counted


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio(tmp_path_factory.mktemp("echo"), ("ardour", "blender", "touchdesigner"), classes=HANDY) as found:
        yield found


def rest(ear: Ear, scale: Scale) -> None:
    """Wait until nothing has happened for a while."""
    before, since = scale.now(), time.monotonic()
    end = since + 60.0
    while time.monotonic() - max(since, ear.last) < REST_S:
        assert time.monotonic() < end, f"it does not come to rest: {ear.events} {scale.now()}"
        if (now := scale.now()) != before:
            before, since = now, time.monotonic()
        time.sleep(0.05)


def at(found: Studio, path: str, value: float, tolerance: float) -> Callable[[], bool]:
    def look() -> bool:
        try:
            entry = found.client.get(path)
        except LightfastError:
            return False
        held = entry.value
        return entry.status == "SETTLED" and isinstance(held, float) and abs(held - value) <= tolerance

    return look


def change(
    desk: Studio, ear: Ear, scale: Scale, what: str, turn: Callable[[], object], wanted: dict[str, float]
) -> None:
    """Turn something, and see that all agree, that it took few writes, and that it comes to rest."""
    ear.events.clear()
    before, began = scale.now(), time.monotonic()
    turn()
    for path, value in wanted.items():
        try:
            until(at(desk, path, value, 1e-4), f"{what}: {path} at {value}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {shown(desk, path)}") from None
    took = time.monotonic() - began
    rest(ear, scale)
    for path, value in wanted.items():
        assert at(desk, path, value, 1e-4)(), f"{what}: {path} was {value} and is {desk.client.get(path)}"
    writes = scale.now() - before
    print(f"\n{what}: all agree after {1000 * took:.0f} ms; events {dict(ear.events)}; writes {dict(writes)}")
    assert max(ear.events.values()) <= MOST_EVENTS
    assert max(writes.values()) <= MOST_WRITES


def shown(desk: Studio, path: str) -> str:
    try:
        return repr(desk.client.get(path))
    except LightfastError as error:
        return str(error)


def test_three_applications_agree_and_are_silent(desk: Studio) -> None:
    ardour, blender, touch = desk["ardour"], desk["blender"], desk["touchdesigner"]
    assert isinstance(ardour, ArdourMember)
    assert isinstance(blender, BlenderMember)
    assert isinstance(touch, HandyTouchDesigner)
    control = ardour.ardour.control
    client, scale = desk.client, Scale(desk)
    client.set(LEVEL, 0.7)
    until(at(desk, LEVEL, 0.7, 1e-5), LEVEL)
    with Ear(desk, FADER, LEVEL, KNOB_PATH, GAIN, HEIGHT) as ear:
        links = [
            client.link(FADER, LEVEL, two_way=True, raw_units=True),
            client.link(LEVEL, KNOB_PATH, two_way=True),
            client.link(GAIN, HEIGHT, two_way=True, from_unit="gain.db", to_unit="gain.linear"),
        ]
        rest(ear, scale)
        drums, voice = control.ssid("Drums"), control.ssid("Voice/Lead")

        def same(value: float) -> dict[str, float]:
            return {FADER: value, LEVEL: value, KNOB_PATH: value}

        change(desk, ear, scale, "Ardour's fader", lambda: control.send("/strip/fader", drums, 0.5), same(0.5))
        blend = "bpy.context.scene['lightfast']['level'] = 0.25"
        change(desk, ear, scale, "Blender's value", lambda: blender.hand(blend), same(0.25))
        change(desk, ear, scale, "TouchDesigner's knob", lambda: touch.turn(KNOB_OP, KNOB, 0.625), same(0.625))
        assert touch.held(KNOB_OP, KNOB) == pytest.approx(0.625, abs=1e-6)
        told = control.ask(f"/strip/{drums}/fader")
        assert told == (pytest.approx(0.625, abs=1e-5),), "Ardour itself agrees"

        # -12 dB come back from Ardour as -12.000002, and are a length of 0.251 m all the same.
        change(
            desk, ear, scale, "-12 dB", lambda: client.set(GAIN, -12.0),
            {GAIN: -12.0, HEIGHT: 10 ** (-12 / 20)},
        )  # fmt: skip
        reported = client.get(GAIN).reported
        print(f"-12 dB came back as {reported!r}, the length is {touch.held('/project1/geo1', 'ty')!r}")
        assert isinstance(reported, float)
        change(
            desk, ear, scale, "half a metre", lambda: touch.turn("/project1/geo1", "ty", 0.5),
            {GAIN: gain_to_db(0.5), HEIGHT: 0.5},
        )  # fmt: skip
        change(
            desk, ear, scale, "Ardour's gain", lambda: control.send("/strip/gain", voice, -12.0),
            {GAIN: -12.0, HEIGHT: 10 ** (-12 / 20)},
        )  # fmt: skip
        assert gain_to_db(ardour_to_gain(0.5)) == pytest.approx(-10.469, abs=1e-3)

        ear.events.clear()
        before, end = scale.now(), time.monotonic() + SILENCE_S
        while time.monotonic() < end:
            assert not ear.events, f"after all was at rest: {ear.events}"
            assert scale.now() == before, f"written after all was at rest: {scale.now() - before}"
            time.sleep(0.2)
        print(f"\nsilence for {SILENCE_S:.0f} s: no event, no write")
        for link in links:
            assert client.get_link(link.link_id).last_error == ""
