"""Declarations, mounts, wishes and reports."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from tests.support.store import open_store

from lightfast.context.entry import Declaration, Delete, Move, Report, Set, Status
from lightfast.core.errors import Denied, InvalidArgument, NotFound, OutOfBounds
from lightfast_link.value import Value


async def test_an_exact_path_beats_a_pattern_and_a_longer_prefix_a_shorter(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        store = house.store
        texts = ["//", "/a//", "/a/b*/c", "/a/bb*/c", "/a/bb/c", "//c", "/a/?b/c"]
        await store.declare([Declaration(text, description=text) for text in texts], owner="app:x")

        def found(path: str) -> str:
            declaration = store.declaration(path)
            assert declaration is not None
            assert declaration.owner == "app:x"
            return declaration.description

        assert found("/a/bb/c") == "/a/bb/c"
        assert found("/a/bbb/c") == "/a/bb*/c"
        assert found("/a/bx/c") == "/a/b*/c"
        assert found("/a/xb/c") == "/a/?b/c"
        assert found("/a/x/c") == "/a//"
        assert found("/z/c") == "//c"
        assert found("/z") == "//"
        await store.declare([Declaration("/a//", description="new")], ["/a/bb/c", "/a/?b/c", "/none"], owner="app:x")
        assert found("/a/bb/c") == "/a/bb*/c"
        assert found("/a/xb/c") == "new"
        described = [declaration.pattern for declaration in store.describe()]
        assert described == sorted({*texts} - {"/a/bb/c", "/a/?b/c"})
        assert [declaration.pattern for declaration in store.describe("/a//")] == ["/a//", "/a/b*/c", "/a/bb*/c"]
        assert [declaration.pattern for declaration in store.describe("/a/bb/c")] == ["/a/bb*/c"]
        everything = store.describe()
    async with open_store(tmp_path) as house:
        assert house.store.describe() == everything


@pytest.mark.parametrize(
    ("declaration", "field"),
    [
        (Declaration("a"), "declarations[0].pattern"),
        (Declaration("/[a"), "declarations[0].pattern"),
        (Declaration("/a", kind="float"), "declarations[0].type"),
        (Declaration("/a", access="x"), "declarations[0].access"),
        (Declaration("/a", minimum=2, maximum=1), "declarations[0].minimum"),
        (Declaration("/a", minimum=math.nan, maximum=1), "declarations[0].minimum"),
    ],
)
async def test_malformed_declarations_are_refused(tmp_path: Path, declaration: Declaration, field: str) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(InvalidArgument) as caught:
            await house.store.declare([declaration], owner="x")
        assert caught.value.field == field
        assert house.store.describe() == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("/volume", 1.5, "/volume cannot be 1.5: its range is 0 to 1 gain.linear"),
        ("/volume", -1, "/volume cannot be -1.0: its range is 0 to 1"),
        ("/volume", math.nan, "nan"),
        ("/volume", "loud", "/volume is declared double, and 'loud' is string: send a double"),
        ("/count", 1.0, "is declared int, and 1.0 is double"),
        ("/count", True, "is bool"),
        ("/color", (0.1, 2.0, 0.3), "/color cannot be 2.0"),
        ("/mode", "loop", "use one of Loop, Once. Did you mean 'Loop'?"),
    ],
)
async def test_what_does_not_conform_is_named(tmp_path: Path, path: str, value: Value, words: str) -> None:
    async with open_store(tmp_path) as house:
        await house.store.declare(
            [
                Declaration("/volume", kind="double", minimum=0, maximum=1, unit="gain.linear"),
                Declaration("/count", kind="int", minimum=0),
                Declaration("/color", kind="vector", minimum=0, maximum=1),
                Declaration("/mode", kind="string", choices=("Loop", "Once")),
            ],
            owner="x",
        )
        with pytest.raises(OutOfBounds) as caught:
            await house.set((path, value))
        assert words in caught.value.message
        assert caught.value.metadata["path"] == path
        assert house.values() == {}
        assert await house.set(("/volume", 1), ("/count", 3), ("/color", (0.0, 1.0)), ("/mode", "Once")) == 1
        assert house.values() == {"/volume": 1.0, "/count": 3, "/color": (0.0, 1.0), "/mode": "Once"}
        assert type(house.values()["/volume"]) is float
        await house.set((path, value), trusted=True)


async def test_what_can_only_be_read_is_not_written(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.store.declare(
            [Declaration("/meter", access="r"), Declaration("/out", access="w")], owner="app:live"
        )
        await house.set(("/meter", 1.0), trusted=True)
        await house.set(("/out", 1), ("/x", 1))
        for mutation in (
            Set("/meter", 2.0),
            Delete("/meter"),
            Delete("/meter", recursive=True),
            Move("/meter", "/m"),
            Move("/x", "/meter/y"),
        ):
            if isinstance(mutation, Move) and mutation.target == "/meter/y":
                await house.store.declare([Declaration("/meter//", access="r")], owner="app:live")
            with pytest.raises(Denied) as caught:
                await house.apply(mutation)
            assert caught.value.reason == "READ_ONLY"
            assert "app:live" in caught.value.message
        assert house.values() == {"/meter": 1.0, "/out": 1, "/x": 1}


async def test_mounts(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        store = house.store
        assert store.mount_of("/blender/x") == ""
        store.add_mount("/blender")
        assert store.mount_of("/blender/x/y") == store.mount_of("/blender") == "/blender"
        assert store.mount_of("/blender2/x") == ""
        store.remove_mount("/blender")
        assert store.mount_of("/blender/x") == ""


async def test_under_a_mount_a_write_is_a_wish(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        store = house.store
        store.add_mount("/blender")
        await store.declare([Declaration("/blender/objects/*/location", kind="vector")], owner="app:blender")
        path = "/blender/objects/Cube/location"
        seen = Report(path, Status.SETTLED, reported=(0.0, 0.0), object_id="cube-1", event_time=7)
        await house.apply(seen, origin="app:blender", trusted=True)
        entry = store.get(path)
        assert entry is not None
        assert (entry.value, entry.reported, entry.reported_revision, entry.status, entry.object_id, entry.event_time) == (
            (0.0, 0.0), (0.0, 0.0), 1, Status.SETTLED, "cube-1", 7,
        )  # fmt: skip
        wish = await house.set((path, (1.0, 1.0)))
        entry = store.get(path)
        assert entry is not None
        assert (entry.value, entry.reported, entry.reported_revision, entry.status) == (
            (1.0, 1.0),
            (0.0, 0.0),
            1,
            Status.PENDING,
        )
        await house.apply(
            Report(path, Status.REJECTED, reason="locked"), origin="app:blender", cause=wish, trusted=True
        )
        entry = store.get(path)
        assert entry is not None
        assert (entry.value, entry.reported, entry.status, entry.status_reason, entry.cause) == (
            (1.0, 1.0), (0.0, 0.0), Status.REJECTED, "locked", wish,
        )  # fmt: skip
        settled = Report(path, Status.SETTLED, reported=(1.1, 1.0), value=(1.1, 1.0))
        await house.apply(settled, origin="app:blender", trusted=True)
        entry = store.get(path)
        assert entry is not None
        assert (entry.value, entry.status, entry.status_reason, entry.reported_revision) == (
            (1.1, 1.0),
            Status.SETTLED,
            "",
            4,
        )
        assert entry.object_id == "cube-1"
        await house.apply(Report("/blender/none", Status.STALE), origin="x", trusted=True)
        assert store.get("/blender/none") is None
        with pytest.raises(InvalidArgument):
            await house.apply(Report(path, Status.SETTLED), origin="client:x")
    async with open_store(tmp_path) as house:
        assert house.store.get(path) == entry


async def test_an_unknown_path_under_a_mount_is_refused(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        store = house.store
        store.add_mount("/blender")
        await store.declare([Declaration("/blender/scene/frame_current", kind="int")], owner="app:blender")
        await house.apply(
            Report("/blender/objects/Cube/custom", Status.SETTLED, reported=1), origin="app:blender", trusted=True
        )
        with pytest.raises(NotFound) as caught:
            await house.set(("/blender/scene/frame_curent", 1))
        assert caught.value.reason == "PATH_UNDECLARED"
        assert "Did you mean /blender/scene/frame_current?" in caught.value.message
        with pytest.raises(NotFound) as caught:
            await house.set(("/blender/objects/Cube/custm", 1))
        assert "Did you mean /blender/objects/Cube/custom?" in caught.value.message
        await house.set(("/blender/objects/Cube/custom", 2), ("/blender/scene/frame_current", 2), ("/elsewhere", 1))
        with pytest.raises(NotFound):
            await house.apply(Move("/elsewhere", "/blender/elsewhere"))
        await house.apply(Move("/blender/objects/Cube", "/blender/objects/Dice"))
        await house.set(("/blender/anything", 1), trusted=True)


async def test_a_report_out_of_range_is_recorded_and_flagged(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        house.store.add_mount("/live")
        await house.store.declare([Declaration("/live/volume", kind="double", minimum=0, maximum=1)], owner="app:live")
        await house.apply(Report("/live/volume", Status.SETTLED, reported=1.2), origin="app:live", trusted=True)
        entry = house.store.get("/live/volume")
        assert entry is not None
        assert (entry.value, entry.status) == (1.2, Status.SETTLED)
        assert "its range is 0 to 1" in entry.status_reason


async def test_what_is_declared_for_a_caller_who_goes_away_holds_as_it_is_on_disk(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for steps in range(12):  # the caller goes away at each step between the question and the answer
            old, new = Declaration(f"/old/{steps}", kind="double"), Declaration(f"/new/{steps}", kind="double")
            await house.store.declare([old], owner="x")
            caller = asyncio.ensure_future(house.store.declare([new], [old.pattern], owner="x"))
            for _ in range(steps):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
            await house.db.commit(house.db.unit())  # what went before it is on disk
            rows = await house.db.query("SELECT pattern FROM declarations ORDER BY pattern")
            assert [each.pattern for each in house.store.describe()] == [pattern for (pattern,) in rows], steps
