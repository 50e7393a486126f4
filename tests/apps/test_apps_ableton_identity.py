"""Tracks, scenes and devices keep their identity when their indices change."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apps.test_apps_ableton_house import house
from tests.support.desk import until as desk_until
from tests.support.osc_live import Live, Session, bridged, joined, simulated, until
from tests.support.ports import free_port

from lightfast.context.watch_batch import Batch
from lightfast_bridges.ableton.identity import TEMPORARY, moves, pair, removed
from lightfast_bridges.ableton.layout import Device, Layout, Track
from lightfast_bridges.ableton.live_set import Device as LiveDevice
from lightfast_bridges.ableton.live_set import Knob, LiveSet
from lightfast_bridges.ableton.objects import Objects
from lightfast_bridges.ableton.paths import target_of
from lightfast_bridges.ableton.shift import Shift

Edits = list[tuple[str, int, int]]
NAMES = st.lists(st.sampled_from("ABCDE"), max_size=9)


def edited(names: list[str], edits: Edits) -> tuple[list[int | None], list[str]]:
    """Carry out edits; return for each name which it was, and the names."""
    which: list[int | None] = list(range(len(names)))
    now = list(names)
    for kind, where, to in edits:
        if kind == "insert":
            at = where % (len(now) + 1)
            which.insert(at, None)
            now.insert(at, f"new {to}")
        elif now and kind == "delete":
            at = where % len(now)
            del which[at], now[at]
        elif now:
            at, there = where % len(now), to % len(now)
            which.insert(there, which.pop(at))
            now.insert(there, now.pop(at))
    return which, now


EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "move"]), st.integers(0, 20), st.integers(0, 20)), max_size=6
)


def looks(names: list[str]) -> list[tuple[str, ...]]:
    return [(name,) for name in names]


@given(st.integers(0, 12), EDITS)
def test_what_can_be_told_apart_is_found_again_wherever_it_went(count: int, edits: Edits) -> None:
    names = [f"track {number}" for number in range(count)]
    which, now = edited(names, edits)
    found = pair(looks(names), looks(now))
    kept = [before for before in which if before is not None]
    assert [known for known, before in zip(found, which, strict=True) if before is not None] == kept


@given(NAMES, NAMES)
def test_a_pairing_is_one_to_one_and_always_the_same(old: list[str], new: list[str]) -> None:
    found = pair(looks(old), looks(new))
    known = [before for before in found if before is not None]
    assert len(found) == len(new)
    assert len(set(known)) == len(known)
    assert set(known) <= set(range(len(old)))
    assert set(known) | set(removed(len(old), found)) == set(range(len(old)))
    assert found == pair(looks(old), looks(new))
    assert pair(looks(old), looks(old)) == list(range(len(old)))


@given(st.integers(0, 10), EDITS)
def test_moves_put_everything_in_its_place_and_never_onto_another(count: int, edits: Edits) -> None:
    which, _ = edited([str(number) for number in range(count)], edits)
    places: dict[int | str, int] = {number: number for number in range(count)}
    for gone in removed(count, which):
        del places[gone]
    for source, there in moves(which):
        assert there not in places
        places[there] = places.pop(source)
    assert TEMPORARY not in places
    assert all(places.get(now) == before for now, before in enumerate(which) if before is not None)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("AA", "AAA", [0, 1, None]),  # alike: the last one is the new one
        ("AAA", "AA", [0, 1]),  # and the last one is the one that is gone
        ("AB", "BA", [1, 0]),
        ("ABC", "AXC", [0, 1, 2]),  # renamed between two neighbours
        ("AB", "XY", [0, 1]),
        ("ABC", "XABC", [None, 0, 1, 2]),
        ("", "A", [None]),
    ],
)
def test_cases_that_could_be_read_otherwise(old: str, new: str, found: list[int | None]) -> None:
    assert pair(looks(list(old)), looks(list(new))) == found


def test_a_change_of_color_and_devices_does_not_make_another_track_of_it() -> None:
    before, after = ("Bass", 1, ("Operator",)), ("Bass", 2, ("Operator", "Reverb"))
    assert pair([("Drums", 0, ()), before], [after, ("New", 0, ()), ("Drums", 0, ())]) == [1, None, 0]


def test_where_everything_in_a_track_is_now() -> None:
    def layout(*names: str) -> Layout:
        tracks = [
            Track(name, can_be_armed=True, clips=[True, False], devices=[Device("A", "a"), Device(name, "x")])
            for name in names
        ]
        return Layout(tracks=tracks, scenes=["one", "two"])

    new = layout("New", "Drums", "Bass")
    new.scenes = ["zero", "one", "two"]
    new.tracks[1].devices.insert(0, Device("Gate", "g"))
    shift = Shift(layout("Drums", "Bass"), new)
    for before, after in (
        ("tracks/0/volume", "tracks/1/volume"),
        ("tracks/1/clips/0/name", "tracks/2/clips/1/name"),
        ("tracks/0/devices/1/parameters/0/value", "tracks/1/devices/2/parameters/0/value"),
        ("tracks/1/devices/1/name", "tracks/2/devices/1/name"),
        ("scenes/1/name", "scenes/2/name"),
        ("song/tempo", "song/tempo"),
    ):
        found = target_of(before)
        assert found is not None
        there = shift.where(found)
        assert there is not None
        assert there.path == after


def test_ids_stay_with_the_object_through_a_restart() -> None:
    def layout(*names: str) -> Layout:
        return Layout(tracks=[Track(name, can_be_armed=True, clips=[]) for name in names], scenes=["a"])

    volume = [target_of(f"tracks/{number}/volume") for number in range(3)]
    objects = Objects()
    objects.follow(layout("Drums", "Bass"))
    drums, bass = (objects.of(one) for one in volume[:2] if one is not None)
    assert drums != bass
    objects.follow(layout("New", "Drums", "Bass"))
    new, *others = [objects.of(one) for one in volume if one is not None]
    assert others == [drums, bass]
    assert new not in others


@contextlib.asynccontextmanager
async def joint() -> AsyncIterator[tuple[Live, Session]]:
    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port) as live,
        bridged(remote=f"127.0.0.1:{live.port}", reply_port=reply_port, silence=5.0) as host,
    ):
        yield live, await joined(host)


def _track_inserted(live: LiveSet) -> None:
    live.add_track(0, midi=True, name="New")


def _track_deleted(live: LiveSet) -> None:
    del live.tracks[0]


def _tracks_swapped(live: LiveSet) -> None:
    live.tracks[0], live.tracks[3] = live.tracks[3], live.tracks[0]


def _scene_inserted(live: LiveSet) -> None:
    live.add_scene(1, "Bridge")


def _scene_deleted(live: LiveSet) -> None:
    del live.scenes[1]
    for track in live.tracks:
        del track.slots[1]


def _device_inserted(live: LiveSet) -> None:
    live.tracks[1].devices.insert(0, LiveDevice("Arp", "MidiArp", 4, [Knob("Rate", 0, 1, 0.5)]))


@pytest.mark.parametrize(
    "edit",
    [_track_inserted, _track_deleted, _tracks_swapped, _scene_inserted, _scene_deleted, _device_inserted],
)
async def test_after_an_edit_in_live_the_mirror_is_what_a_fresh_look_shows(edit: Callable[[LiveSet], None]) -> None:
    """Whatever moves were reported on the way: the values are those that a bridge that comes now would report."""
    async with joint() as (live, session):
        before = len(session.reports)
        edit(live.live)
        await until(lambda: any(change.moved_from for change in session.reports[before:]))
        live.live.tracks[1]["volume"] = 0.3125  # its listener may speak of another index
        live.live.tracks[2]["name"] = "Renamed"
        expected = await _fresh(live.live)
        await same(session, expected)


async def same(session: Session, expected: dict[str, object]) -> None:
    """Wait until the mirror is as *expected*; fail naming what differs."""
    try:
        await until(lambda: _without_signals(session.values) == expected)
    except AssertionError:
        mine = _without_signals(session.values)
        paths = {path for path in mine.keys() | expected.keys() if mine.get(path) != expected.get(path)}
        raise AssertionError({path: (mine.get(path), expected.get(path)) for path in paths}) from None


async def _fresh(live: LiveSet) -> dict[str, object]:
    """Return what a bridge reports that has just joined this very set."""
    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port, make=lambda: live) as other,
        bridged(remote=f"127.0.0.1:{other.port}", reply_port=reply_port, silence=5.0) as host,
    ):
        return _without_signals((await joined(host)).values)


def _without_signals(values: Mapping[str, object]) -> dict[str, object]:
    return {path: value for path, value in values.items() if not path.startswith("application/")}


async def test_random_edits_while_values_change() -> None:
    chance = random.Random(11)
    async with joint() as (live, session):
        for number in range(6):
            edit = chance.choice([_track_inserted, _tracks_swapped, _scene_inserted, _device_inserted, _scene_deleted])
            edit(live.live)
            track = chance.choice(live.live.tracks)
            track["volume"] = number / 10
            expected = await _fresh(live.live)
            await same(session, expected)


async def test_a_wish_under_way_follows_its_track() -> None:
    async with joint() as (live, session):
        drums = live.live.tracks[0]
        session.wish(1, "tracks/0/volume", 0.5)
        await until(lambda: drums["volume"] == 0.5)
        live.live.add_track(0, midi=True, name="New")
        await until(lambda: session.settled or session.rejected)
        await until(lambda: session.values.get("tracks/4/name") == "Vocals")
        assert session.settled == {1: 0.5}
        assert session.values["tracks/1/name"] == "Drums"
        assert session.values["tracks/1/volume"] == 0.5


async def test_in_the_tree_a_track_inserted_above_is_moves_of_one_transaction(tmp_path: Path) -> None:
    async with house(tmp_path) as (desk, live):
        batches: list[Batch] = []
        stop = desk.registry._desk.bus.listen(["/ableton/tracks//"], batches.append)
        volume = desk.entry("/ableton/tracks/0/volume")
        live.live.tracks[0]["volume"] = 0.625
        await desk.holds("/ableton/tracks/0/volume", 0.625)
        batches.clear()
        live.live.add_track(0, midi=True, name="New")
        await desk.holds("/ableton/tracks/0/name", "New")
        await desk.holds("/ableton/tracks/1/volume", 0.625)
        stop()
        there = desk.entry("/ableton/tracks/1/volume")
        assert there.create_revision == volume.create_revision, "the entry has moved, with its history"
        moved = [event for batch in batches for event in batch.events if event.type.name == "MOVE"]
        assert len({event.entry.revision for event in moved}) == 1
        names = {event.entry.path for event in moved}
        assert {f"/ableton/tracks/{number}/name" for number in (1, 2, 3, 4)} <= names
        assert live.live.tracks[1]["volume"] == 0.625


async def test_the_tree_follows_a_set_that_was_changed_while_live_was_away(tmp_path: Path) -> None:
    async with house(tmp_path, silence=0.5) as (desk, live):
        live.live.tracks[1]["volume"] = 0.375
        await desk.holds("/ableton/tracks/1/volume", 0.375)
        created = desk.entry("/ableton/tracks/1/volume").create_revision
        await live.stop()
        await desk_until(lambda: desk.registry.get("/ableton").state.name == "GONE", desk.registry.list)
        live.live.add_track(0, midi=True, name="New")
        await live.start()
        await desk.holds("/ableton/tracks/2/volume", 0.375)
        assert desk.entry("/ableton/tracks/2/volume").create_revision == created
