"""Views for applications, in the dialects of the real bridges."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.store import House, open_store

from lightfast.context.entry import Declaration, Set
from lightfast.context.views.records import Item, View, Wanted
from lightfast.context.views.views import Views
from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.apps.kinds import Kind
from lightfast.sdk import Bridge, Dialect
from lightfast_bridges.ableton.bridge import AbletonBridge
from lightfast_bridges.ardour.bridge import ArdourBridge
from lightfast_bridges.blender.bridge import BlenderBridge
from lightfast_bridges.reaper.bridge import ReaperBridge
from lightfast_bridges.touchdesigner.bridge import TouchDesignerBridge
from lightfast_link.value import Value

BRIDGES: dict[str, Bridge] = {
    "/ableton": AbletonBridge(),
    "/ardour": ArdourBridge(),
    "/blender": BlenderBridge(),
    "/reaper": ReaperBridge(),
    "/touchdesigner": TouchDesignerBridge(),
}


class Book:
    """The dialects of the bridges that come with the product."""

    def dialect(self, mount: str) -> Dialect | None:
        return Kind.of(BRIDGES[mount], [{}]).dialect if mount in BRIDGES else None

    def mounts(self) -> list[str]:
        return [*sorted(BRIDGES), "/mute"]


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[tuple[House, Views]]:
    clock = StillClock()
    async with open_store(folder, clock=clock) as house:
        for mount, bridge in BRIDGES.items():
            declared = [
                Declaration(
                    f"{mount}/{one.pattern}",
                    kind=one.kind,
                    minimum=one.minimum,
                    maximum=one.maximum,
                    unit=one.unit,
                    access=one.access,
                    choices=one.choices,
                )
                for one in bridge.parameters()
            ]
            await house.store.declare(declared, owner=f"app:{mount}")
        yield house, Views(house.store, clock, Book())


async def put(house: House, *pairs: tuple[str, Value], at: int = 0) -> None:
    await house.apply(*[Set(path, value, event_time=at) for path, value in pairs], trusted=True)


def by_name(view: View) -> dict[str, Item]:
    return {item.name: item for item in view.items}


async def test_a_blender_scene_in_the_units_and_axes_of_touchdesigner(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(
            house,
            ("/blender/objects/Cube/location", (1.0, 2.0, 3.0)),
            ("/blender/objects/Cube/rotation_euler", (math.pi / 2, 0.0, 0.0)),
            ("/blender/objects/Cube/scale", (1.0, 2.0, 4.0)),
            ("/blender/objects/Red%20Lamp/location", (0.0, 0.0, 5.0)),
            ("/touchdesigner/project1/stage/Cube/par/tx", 0.0),
            ("/touchdesigner/project1/stage/Cube/par/ty", 0.0),
            ("/touchdesigner/project1/stage/Cube/par/tz", 0.0),
            ("/show/note", "free"),
        )
        view = await views.build(Wanted(mount="/touchdesigner"))
        found = by_name(view)
        cube = "/touchdesigner/project1/stage/Cube/par/"
        assert [found[cube + name].value for name in ("tx", "ty", "tz")] == [1.0, 3.0, -2.0]
        home = "/touchdesigner/project1/Cube/par/"
        assert [found[home + name].value for name in ("rx", "ry", "rz")] == pytest.approx([90.0, 0.0, 0.0])
        assert [found[home + name].value for name in ("sx", "sy", "sz")] == [1.0, 4.0, 2.0]
        assert found["/touchdesigner/project1/Red%20Lamp/par/ty"].value == 5.0
        assert found[cube + "tx"].source == "/blender/objects/Cube/location"
        assert {"axes", "name"} <= set(found[cube + "tx"].changes)
        assert {"axes", "unit"} <= set(found[home + "rx"].changes)
        assert [(one.source, one.reason) for one in view.omissions] == [("/show/note", "no counterpart")]


async def test_there_and_back_within_tolerance(tmp_path: Path) -> None:
    place, turn = (1.25, -7.5, 0.001), (0.3, -0.4, 1.1)
    async with desk(tmp_path) as (house, views):
        await put(house, ("/blender/objects/A/location", place), ("/blender/objects/A/rotation_euler", turn))
        there = await views.build(Wanted(mount="/touchdesigner"))
        await put(house, *[(item.name, item.value) for item in there.items])
        await put(house, ("/blender/objects/A/location", (9.0, 9.0, 9.0)), at=1)  # long ago: it gives way
        back = by_name(await views.build(Wanted(patterns=("/touchdesigner//",), mount="/blender")))
        assert back["/blender/objects/A/location"].value == pytest.approx(place)
        assert back["/blender/objects/A/rotation_euler"].value == pytest.approx(turn)


async def test_tracks_are_told_apart_by_their_names_and_faders_by_their_laws(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(
            house,
            ("/ableton/tracks/0/name", "Drums"),
            ("/ableton/tracks/0/volume", 0.85),
            ("/ableton/tracks/1/name", "Bass"),
            ("/ableton/tracks/1/mute", True),
            ("/ableton/tracks/2/name", "Nobody"),
            ("/ableton/tracks/2/mute", True),
            ("/ableton/master/volume", 0.85),
            ("/reaper/tracks/1/name", "Bass"),
            ("/reaper/tracks/2/name", "Drums"),
        )
        view = await views.build(Wanted(mount="/reaper", patterns=("/ableton//",)))
        found = by_name(view)
        assert found["/reaper/tracks/2/volume"].value == pytest.approx(0.0, abs=1e-6), "Live's 0.85 is 0 dB"
        assert found["/reaper/tracks/1/mute"].value is True
        assert found["/reaper/master/volume"].value == pytest.approx(0.0, abs=1e-6)
        assert ("/ableton/tracks/2/mute", "no track there is called Nobody, or several are") in [
            (one.source, one.reason) for one in view.omissions
        ]


async def test_beats_become_seconds_and_frames_at_the_rates_of_each_side(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(
            house,
            ("/ableton/song/tempo", 120.0),
            ("/ableton/song/current_song_time", 8.0),
            ("/blender/scene/render/frame_rate", 24.0),
            ("/blender/scene/frame_current", 1),
        )
        only = ("/ableton//",)
        seconds = by_name(await views.build(Wanted(patterns=only, mount="/reaper")))
        assert seconds["/reaper/transport/position"].value == pytest.approx(4.0)
        assert seconds["/reaper/transport/tempo"].value == 120.0
        frames = by_name(await views.build(Wanted(patterns=only, mount="/blender")))
        assert frames["/blender/scene/frame_current"].value == 96
        assert frames["/blender/scene/lightfast/bpm"].value == 120.0


async def test_of_two_tempos_the_later_holds(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(house, ("/ableton/song/tempo", 120.0), at=2_000)
        await put(house, ("/reaper/transport/tempo", 90.0), at=1_000)
        view = await views.build(Wanted(mount="/blender"))
        assert by_name(view)["/blender/scene/lightfast/bpm"].value == 120.0
        assert view.omissions[0].source == "/reaper/transport/tempo"
        assert view.omissions[0].superseded_by == "/ableton/song/tempo"
        assert "which is newer" in view.omissions[0].reason


async def test_what_does_not_fit_is_left_out_with_the_reason(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(house, ("/ableton/song/tempo", 990.0), ("/ableton/song/current_song_time", 4.0))
        view = await views.build(Wanted(mount="/reaper"))
        reasons = {one.source: one.reason for one in view.omissions}
        assert reasons["/ableton/song/tempo"] == "990 is out of its range: the most is 960"
        assert "/reaper/transport/position" in by_name(view)
        touch = await views.build(Wanted(mount="/touchdesigner"))
        assert (
            "needs the frame rate"
            in {one.source: one.reason for one in touch.omissions}["/ableton/song/current_song_time"]
        )


async def test_a_view_of_the_past(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(house, ("/ableton/song/tempo", 100.0))
        revision = house.store.revision
        await put(house, ("/ableton/song/tempo", 140.0))
        view = await views.build(Wanted(mount="/reaper", at_revision=revision))
        assert (by_name(view)["/reaper/transport/tempo"].value, view.revision) == (100.0, revision)


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        (Wanted(), InvalidArgument, "give an application, or a model"),
        (Wanted(mount="/blender", budget=5), InvalidArgument, "give an application, or a model"),
        (Wanted(model="m"), InvalidArgument, "budget_tokens is 0"),
        (Wanted(mount="/nobody"), NotFound, "there is no application /nobody: known are ableton"),
        (Wanted(mount="/mute"), FailedPrecondition, "its bridge has no dialect"),
        (Wanted(mount="/blender", patterns=("/a[",)), InvalidArgument, "\\["),
        (Wanted(mount="/blender", schema="{"), InvalidArgument, "the schema is none"),
        (Wanted(budget=10, memory=True), InvalidArgument, "needs a purpose"),
    ],
)
async def test_mistakes_are_named(tmp_path: Path, wanted: Wanted, error: type[Exception], says: str) -> None:
    async with desk(tmp_path) as (_, views):
        with pytest.raises(error, match=says):
            await views.build(wanted)


async def test_a_schema_drops_what_breaks_it_and_refuses_what_lacks(tmp_path: Path) -> None:
    async with desk(tmp_path) as (house, views):
        await put(house, ("/ableton/song/tempo", 500.0), ("/ableton/song/is_playing", True))
        tempo, playing = "/reaper/transport/tempo", "/reaper/transport/playing"
        schema = json.dumps({"properties": {tempo: {"maximum": 300}}, "required": [playing]})
        view = await views.build(Wanted(mount="/reaper", schema=schema))
        assert set(by_name(view)) == {playing}
        assert view.omissions[0].reason == "invalid: 500 is greater than the maximum of 300"
        with pytest.raises(FailedPrecondition, match="is a required property"):
            await views.build(Wanted(mount="/reaper", schema=json.dumps({"required": [tempo, "x"]})))
