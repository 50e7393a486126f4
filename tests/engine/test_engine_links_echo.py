"""Links between applications with the manners of real ones: after a change, all is silent within a few writes.

`Console` has Ardour's manners: one level under two addresses in two units, 32-bit floats, values rounded in passing, no
answer to what changes nothing, and news of the other address only. `Quantised` keeps 128 steps, as MIDI does.
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from tests.engine.test_engine_links import quiet
from tests.support.desk import App, Desk, open_desk, until

from lightfast.context.entry import Status
from lightfast.core.faders import ardour_to_gain, db_to_gain, gain_to_ardour, gain_to_db
from lightfast.engine.links.links import Link
from lightfast.sdk import Change, Hello, Parameter, Wish
from lightfast_link.value import Value

SILENCE_S = 0.9
"""Longer than an echo may take, and than the last look that follows it."""

LEVELS = (
    Parameter("strip/gain", kind="double", minimum=-193.0, maximum=6.1, unit="gain.db"),
    Parameter("strip/fader", kind="double", minimum=0.0, maximum=1.0, unit="gain.fader.ardour"),
    Parameter("knob", kind="double", minimum=0.0, maximum=1.0, unit="normal"),
)


def single(value: float) -> float:
    """Return *value* as 32 bits keep it."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


class Console(App):
    """Ardour's manners; *fader_steps* and *gain_steps* are how finely it reports (0: as 32-bit floats)."""

    def __init__(self, *, fader_steps: int = 0, gain_steps: int = 0, answers_both: bool = True) -> None:
        super().__init__({"strip/gain": 0.0, "strip/fader": single(gain_to_ardour(1.0))})
        self.gain = 1.0
        self.fader_steps, self.gain_steps, self.answers_both = fader_steps, gain_steps, answers_both
        self.reports = 0

    def _take(self, wish: Wish) -> None:
        assert isinstance(wish.value, float)
        written = wish.path
        gain = ardour_to_gain(wish.value) if written.endswith("fader") else db_to_gain(wish.value)
        self.move(single(gain), written)
        self.joined.settle(wish.wish_id, self.values[written])  # its bridge reads it back

    def move(self, gain: float, written: str = "") -> None:
        """Take a gain, and report what is new of it; what changes nothing is not reported at all."""
        self.gain = gain
        level = max(gain_to_db(gain), -193.0)
        level = round(level * self.gain_steps) / self.gain_steps if self.gain_steps else single(level + 2e-6)
        fader = gain_to_ardour(gain)
        fader = round(fader * self.fader_steps) / self.fader_steps if self.fader_steps else single(fader)
        news = []
        for path, value in (("strip/gain", level), ("strip/fader", fader)):
            if self.values[path] != value:
                self.values[path] = value
                if path != written or self.answers_both:
                    news.append(Change(path, value))
        if news:
            self.reports += len(news)
            self.joined.report(news)


def console_hello(name: str) -> Hello:
    return Hello("console", name, document_id=name, parameters=LEVELS, app_version="7.3", name=name)


def midi(value: Value, steps: int = 127) -> Value:
    return round(float(value) * steps) / steps  # type: ignore[arg-type]


async def silent(desk: Desk, *apps: App, bound: int) -> None:
    """Wait until all is quiet, and listen: nothing more is written, and *bound* wishes were enough."""
    await quiet(desk)
    async with asyncio.timeout(60):
        while True:
            before = (desk.store.revision, sum(len(app.wishes) for app in apps))
            await asyncio.sleep(SILENCE_S)
            await quiet(desk)
            if before == (desk.store.revision, sum(len(app.wishes) for app in apps)):
                break
    assert sum(len(app.wishes) for app in apps) <= bound


@pytest.mark.parametrize("steps", [(0, 0), (1023, 100), (100, 1)])
@pytest.mark.parametrize("answers_both", [True, False])
async def test_a_level_under_two_addresses_does_not_ping_pong(
    tmp_path: Path, steps: tuple[int, int], answers_both: bool
) -> None:
    async with open_desk(tmp_path) as desk:
        app = Console(fader_steps=steps[0], gain_steps=steps[1], answers_both=answers_both)
        near = 0.03 if steps[1] == 1 else 0.011  # one step of what it reports
        await desk.live(app, console_hello("ardour"))
        await desk.set("/level", 0.7)
        one = await desk.links.create(
            Link("/level", "/ardour/strip/fader", two_way=True, from_unit="gain.fader.ardour")
        )
        two = await desk.links.create(Link("/level", "/ardour/strip/gain", two_way=True, from_unit="gain.fader.ardour"))
        await silent(desk, app, bound=20)
        app.wishes.clear()
        await desk.set("/level", 0.5)
        await silent(desk, app, bound=24)
        assert gain_to_ardour(app.gain) == pytest.approx(0.5, abs=near)
        assert desk.entry("/level").value == pytest.approx(0.5, abs=near)
        app.wishes.clear()
        app.move(single(ardour_to_gain(0.9)))  # by its own user
        await silent(desk, app, bound=24)
        assert desk.entry("/level").value == pytest.approx(0.9, abs=near)
        assert gain_to_ardour(app.gain) == pytest.approx(0.9, abs=near)
        for link in (one, two):
            assert desk.links.get(link.link_id).last_error == ""


async def test_with_32_bits_a_level_under_two_addresses_takes_one_write_each(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Console()
        await desk.live(app, console_hello("ardour"))
        for target in ("fader", "gain"):
            await desk.links.create(
                Link("/level", f"/ardour/strip/{target}", two_way=True, from_unit="gain.fader.ardour", tolerance=1e-4)
            )
        await silent(desk, app, bound=8)
        app.wishes.clear()
        await desk.set("/level", 0.5)
        await silent(desk, app, bound=2)
        assert app.gain == pytest.approx(ardour_to_gain(0.5), rel=1e-5)


async def test_two_consoles_linked_by_both_addresses_end_silent(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        left, right = Console(fader_steps=1023, gain_steps=100), Console(answers_both=False)
        await desk.live(left, console_hello("left"))
        await desk.live(right, console_hello("right"))
        await desk.links.create(Link("/left/strip/fader", "/right/strip/gain", two_way=True))
        await desk.links.create(Link("/right/strip/fader", "/left/strip/gain", two_way=True))
        await silent(desk, left, right, bound=30)
        left.wishes.clear()
        right.wishes.clear()
        left.move(single(db_to_gain(-12.0)))
        await silent(desk, left, right, bound=30)
        assert gain_to_db(left.gain) == pytest.approx(-12.0, abs=0.5)
        assert gain_to_db(right.gain) == pytest.approx(-12.0, abs=0.5)


@pytest.mark.parametrize("echoes", [True, False])
async def test_seven_bits_follow_a_fine_knob_and_both_come_to_rest(tmp_path: Path, echoes: bool) -> None:
    async with open_desk(tmp_path) as desk:
        fine = App({"knob": 0.0}, rounds=lambda _, v: single(float(v)), echoes=True)
        coarse = App({"knob": 0.0}, rounds=lambda _, v: midi(v), echoes=echoes)
        await desk.live(fine, console_hello("fine"))
        await desk.live(coarse, console_hello("coarse"))
        link = await desk.links.create(Link("/fine/knob", "/coarse/knob", two_way=True))
        await silent(desk, fine, coarse, bound=2)
        for number in range(1, 200):
            fine.turn("knob", number / 400)
            await asyncio.sleep(0.0005)
        await until(lambda: coarse.values["knob"] == midi(199 / 400))
        before = len(fine.wishes) + len(coarse.wishes)
        await silent(desk, fine, coarse, bound=before + 4)
        assert desk.entry("/fine/knob").value == pytest.approx(199 / 400, abs=1 / 127)
        assert coarse.values["knob"] == midi(desk.entry("/fine/knob").value or 0.0)
        fine.wishes.clear()
        coarse.wishes.clear()
        coarse.turn("knob", midi(0.1))
        await silent(desk, fine, coarse, bound=2)
        assert fine.values["knob"] == pytest.approx(midi(0.1))
        assert desk.links.get(link.link_id).last_error == ""
        await desk.status("/fine/knob", Status.SETTLED)
        await desk.status("/coarse/knob", Status.SETTLED)


async def test_two_quantised_applications_of_different_steps_agree_as_nearly_as_they_can(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        seven = App({"knob": 0.0}, rounds=lambda _, v: midi(v, 127))
        hundred = App({"knob": 0.0}, rounds=lambda _, v: midi(v, 100))
        await desk.live(seven, console_hello("seven"))
        await desk.live(hundred, console_hello("hundred"))
        link = await desk.links.create(Link("/seven/knob", "/hundred/knob", two_way=True))
        for step in (64, 3, 100, 127, 0):
            seven.wishes.clear()
            hundred.wishes.clear()
            seven.turn("knob", step / 127)
            await until(lambda s=step: hundred.values["knob"] == pytest.approx(s / 127, abs=0.01))  # type: ignore[misc]
            await silent(desk, seven, hundred, bound=5)
            assert float(seven.values["knob"]) == pytest.approx(float(hundred.values["knob"]), abs=0.01)  # type: ignore[arg-type]
            assert desk.links.get(link.link_id).last_error == ""


async def test_what_changes_nothing_is_not_answered_and_nothing_waits_for_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Console()
        await desk.live(app, console_hello("ardour"))
        link = await desk.links.create(Link("/db", "/ardour/strip/gain", two_way=True))
        await desk.set("/db", -12.0)
        await until(lambda: gain_to_db(app.gain) == pytest.approx(-12.0, abs=1e-4))
        reports = app.reports
        for _ in range(5):
            await desk.set("/db", -12.0)
        await silent(desk, app, bound=3)
        assert app.reports == reports
        await desk.set("/db", -6.0)
        await until(lambda: gain_to_db(app.gain) == pytest.approx(-6.0, abs=1e-4))
        await silent(desk, app, bound=4)
        assert desk.entry("/db").value == pytest.approx(-6.0, abs=1e-4)
        assert desk.links.get(link.link_id).last_error == ""
        app.move(0.0)
        await until(lambda: desk.entry("/db").value == -193.0)
        await silent(desk, app, bound=4)


async def test_a_fine_adjustment_right_after_a_write_arrives_in_the_end(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"knob": 0.0}, rounds=lambda _, v: single(float(v)))
        await desk.live(app, console_hello("app"))
        await desk.links.create(Link("/a", "/app/knob", two_way=True))
        await desk.set("/a", 0.5)
        await until(lambda: app.values["knob"] == 0.5)
        for number in range(1, 12):  # all of them within what could be an echo
            app.turn("knob", single(0.5 + number * 0.0005))
            await asyncio.sleep(0.002)
        await until(lambda: desk.entry("/a").value == single(0.5055), lambda: desk.entry("/a"))
        await silent(desk, app, bound=3)
