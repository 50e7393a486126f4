"""What links make of units, ranges, colours, rates and curves, there and back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.engine.test_engine_links import quiet
from tests.support.desk import App, hello, open_desk, until

from lightfast.context.entry import Declaration
from lightfast.core.curves import Curve
from lightfast.core.errors import InvalidArgument
from lightfast.engine.links.links import Link
from lightfast_link.value import Value, close

DECLARED = (
    Declaration("/db", kind="double", unit="gain.db", minimum=-193.0, maximum=6.02),
    Declaration("/fader", kind="double", unit="gain.fader.ardour", minimum=0.0, maximum=1.0),
    Declaration("/live", kind="double", unit="gain.fader.ableton", minimum=0.0, maximum=1.0),
    Declaration("/cc", kind="int", unit="midi.7bit"),
    Declaration("/bend", kind="int", unit="midi.14bit"),
    Declaration("/unit", kind="double", unit="normal"),
    Declaration("/cutoff", kind="double", unit="time.freq", minimum=20.0, maximum=20_000.0),
    Declaration("/energy", kind="double", minimum=0.0, maximum=1000.0),
    Declaration("/width", kind="double", minimum=10.0, maximum=30.0),
    Declaration("/turn", kind="vector", unit="angle.degree"),
    Declaration("/spin", kind="vector", unit="angle.radian"),
    Declaration("/light", kind="vector", unit="color.linear"),
    Declaration("/lamp", kind="string", unit="color.hex"),
    Declaration("/beats", kind="double", unit="time.beats"),
    Declaration("/seconds", kind="double", unit="time.second"),
    Declaration("/frame", kind="int", unit="time.frames"),
    Declaration("/note", kind="double", unit="time.midinote"),
    Declaration("/hertz", kind="double", unit="time.freq"),
)


@pytest.mark.parametrize(
    ("source", "target", "value", "expected", "settings"),
    [
        ("/fader", "/db", 0.5, -10.469021, {}),
        ("/live", "/fader", 0.85, 0.7817868, {}),
        ("/fader", "/db", 0.0, -193.0, {}),
        ("/cc", "/unit", 127, 1.0, {}),
        ("/bend", "/cc", 16383, 127, {}),
        ("/cc", "/energy", 0, 0.0, {}),
        ("/unit", "/cutoff", 1 / 3, 200.0, {}),
        ("/cc", "/cutoff", 127, 20_000.0, {}),
        ("/energy", "/width", 250.0, 15.0, {"scale": "linear"}),
        ("/width", "/cutoff", 30.0, 20_000.0, {"scale": "log"}),
        ("/cc", "/cutoff", 127, 20_000.0, {"scale": "linear"}),
        ("/turn", "/spin", (180.0, -90.0, 0.0), (math.pi, -math.pi / 2, 0.0), {}),
        ("/light", "/lamp", (1.0, 0.0, 0.2158605, 1.0), "#FF0080FF", {}),
        ("/beats", "/seconds", 4.0, 2.0, {"tempo": "120"}),
        ("/beats", "/frame", 4.0, 60, {"tempo": "120", "frame_rate": "30"}),
        ("/note", "/hertz", 57.0, 220.0, {}),
        ("/free", "/db", 0.5, -10.469021, {"from_unit": "gain.fader.ardour"}),
        ("/a", "/b", 180.0, math.pi, {"from_unit": "angle.degree", "to_unit": "angle.radian"}),
        ("/unit", "/free", 0.5, math.expm1(2) / math.expm1(4), {"curve": Curve("exp")}),
        ("/cc", "/energy", 127, 1000.0, {"curve": Curve("s")}),
        ("/a", "/b", 5.0, 30.0, {"curve": Curve(points=((0, 0), (10, 60)))}),
        ("/a", "/b", 5.0, 30.0, {"expression": "x / 10", "curve": Curve(points=((0, 20), (1, 40)))}),
        ("/fader", "/db", 0.5, -1.0, {"curve": Curve(points=((-193, -193), (-20, -2), (6, 2))), "tolerance": 2.0}),
    ],
)
async def test_a_value_comes_out_and_comes_back(
    tmp_path: Path, source: str, target: str, value: Value, expected: Value, settings: dict[str, object]
) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare(DECLARED, owner="test")
        link = Link(source, target, two_way=True, **settings)  # type: ignore[arg-type]
        converted, returned = desk.links.test(link, value)
        assert close(
            converted, expected, link.tolerance or 1e-4 * (1 + abs(expected if type(expected) is float else 0))
        )
        assert type(converted) is type(expected)
        assert returned is not None
        assert close(returned, value, 5e-3 if isinstance(value, tuple) else 1e-4), "within what 8 bits can show"


async def test_silence_is_carried_and_taken_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare(DECLARED, owner="test")
        await desk.links.create(Link("/fader", "/db", two_way=True))
        await desk.set("/fader", 0.8)
        await until(lambda: desk.store.get("/db") is not None)
        assert desk.entry("/db").value == pytest.approx(0.6, abs=0.2)
        await desk.set("/fader", 0.0)
        await desk.holds("/db", -193.0)
        await desk.set("/fader", 0.5)
        await until(lambda: desk.entry("/db").value == pytest.approx(-10.469021, abs=1e-5))
        await desk.set("/db", -193.0)
        await desk.holds("/fader", 0.0)
        await quiet(desk)
        free = await desk.links.create(Link("/gain", "/level", from_unit="gain.linear", to_unit="gain.db"))
        await desk.set("/gain", 1.0)
        await desk.holds("/level", 0.0)
        await desk.set("/gain", 0.0)
        await desk.holds("/level", -math.inf)
        await desk.set("/gain", 10.0)
        await desk.holds("/level", 20.0)
        assert desk.links.get(free.link_id).last_error == ""


async def test_a_rate_from_a_path_is_the_current_one(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare(DECLARED, owner="test")
        await desk.set("/beats", 4.0)
        link = await desk.links.create(Link("/beats", "/seconds", two_way=True, tempo="/song/tempo"))
        assert link.waiting == "/song/tempo holds nothing yet"
        assert link.last_error == ""
        await desk.set("/song/tempo", 120.0)
        await desk.holds("/seconds", 2.0)
        assert desk.links.get(link.link_id).waiting == ""
        await desk.set("/song/tempo", 60)
        await desk.holds("/seconds", 4.0)
        await desk.set("/seconds", 8.0)
        await desk.holds("/beats", 8.0)
        await desk.set("/song/tempo", 30.0)
        await desk.holds("/beats", 4.0)
        await quiet(desk)
        assert desk.entry("/seconds").value == 8.0, "the end that was moved last leads"
        bare = await desk.links.create(Link("/beats", "/frame"))
        assert "its units need a frame_rate" in bare.last_error


async def test_units_follow_what_is_declared(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 180.0)
        await desk.links.create(Link("/a", "/b"))
        assert desk.entry("/b").value == 180.0
        angle = [Declaration("/a", unit="angle.degree"), Declaration("/b", unit="angle.radian")]
        await desk.store.declare(angle, owner="test")
        await desk.set("/a", 90.0)
        await desk.holds("/b", math.pi / 2)


async def test_colours_are_carried_between_an_application_and_a_lamp(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration("/lamp", kind="string", unit="color.hex")], owner="test")
        app = App({"objects/Key/location": (1.0, 0.0, 0.0)})
        await desk.live(app, hello())
        path = "/live/objects/Key/location"
        link = await desk.links.create(Link(path, "/lamp", two_way=True, from_unit="color.linear"))
        assert desk.entry("/lamp").value == "#FF0000FF"
        await desk.set("/lamp", "#808080FF")
        await until(lambda: app.values["objects/Key/location"] != (1.0, 0.0, 0.0))
        await quiet(desk)
        assert desk.entry("/lamp").value == "#808080FF"
        assert desk.links.get(link.link_id).last_error == ""
        await desk.set("/lamp", "grey")
        await until(lambda: "a colour is written #RRGGBB" in desk.links.get(link.link_id).last_error)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"from_unit": "gain.fader.reaper"}, "there is no unit 'gain.fader.reaper': use one of"),
        ({"from_unit": "gain.db", "to_unit": "angle.degree"}, "no way from gain.db to angle.degree"),
        ({"from_unit": "gain.db", "expression": "x * 2"}, "an expression takes the place of the units"),
        ({"to_unit": "gain.db", "raw_units": True}, "raw_units is set"),
        ({"scale": "cubic"}, "there is no scale 'cubic': use linear or log"),
        ({"scale": "log", "expression": "x"}, "leave out the expression"),
        ({"tempo": "fast"}, "tempo is 'fast': use a number above 0, or the path"),
        ({"tempo": "0"}, "use a number above 0"),
        ({"frame_rate": "/a//b"}, "empty segment"),
        ({"smooth_s": -1.0}, "smooth_s is -1.0"),
        ({"smooth_s": math.nan}, "smooth_s is nan"),
        ({"curve": Curve("wavy")}, "there is no curve 'wavy'"),
        ({"curve": Curve(points=((0, 0), (1, 1), (2, 0))), "two_way": True}, "its points must go up, or down"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, object], what: str) -> None:
    async with open_desk(tmp_path) as desk:
        with pytest.raises(InvalidArgument, match=what.replace("(", r"\(")):
            await desk.links.create(Link("/a", "/b", **settings))  # type: ignore[arg-type]
        assert desk.links.list() == []


async def test_numbers_beyond_all_measure_are_told_and_the_link_goes_on(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([*DECLARED, Declaration("/whole", kind="int", unit="gain.db")], owner="test")
        gain = await desk.links.create(Link("/level", "/gain", from_unit="gain.db", to_unit="gain.linear"))
        whole = await desk.links.create(Link("/gain", "/whole", from_unit="gain.linear"))
        await desk.set("/level", 1e6)
        await until(lambda: "/level to /gain: " in desk.links.get(gain.link_id).last_error)
        await desk.set("/level", -math.inf)
        await desk.holds("/gain", 0.0)
        await until(lambda: "-inf is no int" in desk.links.get(whole.link_id).last_error)
        await desk.set("/level", 20.0)
        await desk.holds("/whole", 20)
        assert [link.last_error for link in desk.links.list()] == ["", ""]


@pytest.mark.parametrize(
    ("target", "settings", "what"),
    [
        ("/free", {"scale": "linear"}, "the source has no declared range to scale"),
        ("/free", {"from_unit": "gain.db"}, "there is no way from gain.db to no unit"),
        ("/cutoff", {"curve": Curve("exp")}, "the curve exp goes from 0 to 1, and this is 64"),
        ("/lamp", {"from_unit": "color.hsv", "curve": Curve("exp")}, "a curve does not shape a colour"),
    ],
)
async def test_what_the_ends_do_not_allow_is_said_by_the_link(
    tmp_path: Path, target: str, settings: dict[str, object], what: str
) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare(DECLARED, owner="test")
        await desk.set("/a", 64.0)
        link = await desk.links.create(Link("/a", target, **settings))  # type: ignore[arg-type]
        assert f"/a to {target}: " in link.last_error
        assert what in link.last_error
