"""Scenes: saved from now or from the past, with versions, following renames, all or nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.store import House, crashed, open_store

from lightfast.context.entry import Declaration, Delete, Move, Report, Set, Status
from lightfast.context.records import RequestKey
from lightfast.context.scenes import scenes as room
from lightfast.context.scenes.diff import Ref, compare
from lightfast.context.scenes.records import Difference, Scene, Wanted
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.upkeep.purge_target import Target, make_target
from lightfast.core.clock import StillClock
from lightfast.core.errors import AlreadyExists, Conflict, Exhausted, InvalidArgument, NotFound, OutOfRange
from lightfast_link.value import Asset

ME = "client:me"
ASSET = Asset("lightfast://asset/x", "image/png", "a" * 64, 7)


@dataclass
class Stage:
    house: House
    scenes: Scenes
    clock: StillClock

    async def save(self, name: str, *patterns: str, **how: Any) -> Scene:
        wanted = {key: how.pop(key) for key in ("description", "exclude", "at_revision", "etag") if key in how}
        return await self.scenes.save(Wanted(name, patterns=patterns, **wanted), origin=ME, **how)

    async def holds(self, name: str, version: int = 0) -> dict[str, Any]:
        entries = await self.scenes.entries(await self.scenes.get(name, version))
        assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
        return {entry.path: entry.value for entry in entries}

    async def diff(self, before: Ref, after: Ref, *patterns: str) -> list[Difference]:
        return await compare(self.house.store, self.scenes, before, after, patterns)


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    clock = StillClock()
    async with open_store(folder, clock=clock) as house:
        yield Stage(house, Scenes(house.store, house.db, clock), clock)


async def test_a_scene_holds_what_was_there_and_has_versions(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.set(("/a/x", 1), ("/a/y", (1.0, 2.0)), ("/b", {"k": [True, "t", b"\0", ASSET]}), ("/c", 0.5))
        await at.house.apply(Set("/lightfast/own", 1), trusted=True)
        first = await at.save("opening", description="how it begins", exclude=("/c",))
        assert (first.version, first.revision, first.entries, first.origin) == (1, 2, 3, ME)
        assert first.patterns == ("//",)
        assert first.create_time == first.update_time == at.clock.now_ns()
        assert await at.holds("opening") == {"/a/x": 1, "/a/y": (1.0, 2.0), "/b": {"k": [True, "t", b"\0", ASSET]}}
        at.clock.advance(60)
        await at.house.set(("/a/x", 2), ("/c", 0.7))
        # Saved again it holds what it held before, as it is now.
        second = await at.save("opening")
        assert (second.version, second.description, second.exclude) == (2, "how it begins", ("/c",))
        assert second.etag != first.etag
        assert (second.create_time, second.update_time) == (first.create_time, at.clock.now_ns())
        assert (await at.holds("opening"))["/a/x"] == 2
        assert (await at.holds("opening", 1))["/a/x"] == 1
        # With patterns of its own it begins anew.
        third = await at.save("opening", "/c")
        assert (third.exclude, await at.holds("opening")) == ((), {"/c": 0.7})
        assert [scene.name for scene in await at.scenes.all()] == ["opening"]


async def test_a_scene_of_the_past(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.set(("/a", 1), ("/gone", 1))
        await at.house.apply(Set("/a", 2), Delete("/gone"))
        await at.house.set(("/a", 3))
        assert (await at.save("then", at_revision=1)).revision == 1
        assert await at.holds("then") == {"/a": 1, "/gone": 1}
        await at.house.store.compact(3)
        assert await at.holds("then") == {"/a": 1, "/gone": 1}  # the scene keeps what the history does not
        with pytest.raises(OutOfRange):
            await at.save("earlier", at_revision=1)


async def test_everything_is_kept_over_a_restart(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.set(*[(f"/n/{number:05}", float(number)) for number in range(4500)])
        saved = await at.save("many")
    async with stage(tmp_path) as at:
        assert await at.scenes.get("many") == saved
        assert await at.holds("many") == {f"/n/{number:05}": float(number) for number in range(4500)}
        await at.scenes.delete("many")
    async with stage(tmp_path) as at:
        assert await at.scenes.all() == []
        for table in ("scenes", "scene_blocks", "scene_assets"):
            assert await at.house.db.query(f"SELECT count(*) FROM {table}") == [(0,)]


async def test_a_moved_subtree_takes_its_scenes_along(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.apply(
            *(Set(f"/o/Cube/{name}", 1, object_id="cube") for name in ("x", "y", "gone")), Set("/o/Ball/x", 2)
        )
        await at.save("s")
        await at.house.apply(Delete("/o/Cube/gone"))
        await at.house.apply(Move("/o/Cube", "/o/Box"))
        await at.house.set(("/o/Cube/x", 9))  # another object takes the name
        assert await at.holds("s") == {"/o/Box/x": 1, "/o/Box/y": 1, "/o/Box/gone": 1, "/o/Ball/x": 2}
        # Two change names in one transaction.
        await at.house.apply(Move("/o/Box", "/o/t"), Move("/o/Ball", "/o/Box"), Move("/o/t", "/o/Ball"))
        assert await at.holds("s") == {"/o/Ball/x": 1, "/o/Ball/y": 1, "/o/Ball/gone": 1, "/o/Box/x": 2}
        # A scene of the past goes by the names of now; one saved now follows nothing that was.
        await at.save("past", at_revision=1)
        assert await at.holds("past") == await at.holds("s")
        await at.save("now", "/o//")
        assert (await at.holds("now"))["/o/Cube/x"] == 9
        # An undo of the rename is a rename.
        await at.house.store.undo(revision=5, origin=ME)
        assert (await at.holds("s"))["/o/Box/x"] == 1
    async with stage(tmp_path) as at:
        assert (await at.holds("s"))["/o/Box/x"] == 1


async def test_moves_are_kept_as_long_as_a_scene_may_need_them(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:

        async def left() -> list[int]:
            return [revision for (revision,) in await at.house.db.query("SELECT revision FROM scene_moves")]

        await at.house.set(("/o/a", 1))
        for name in "abcdef":
            await at.house.apply(Move(f"/o/{name}", f"/o/{chr(ord(name) + 1)}"))  # revisions 2 to 7
        await at.save("dusk", "/o//", at_revision=4)
        await at.house.store.compact(6)
        assert await left() == [2, 3, 4, 5, 6, 7]  # a save that was under way may be of before
        await at.house.store.compact(7)
        assert await left() == [5, 6, 7]
        assert await at.holds("dusk") == {"/o/g": 1}
        await at.save("dawn", "/o//")
        await at.scenes.delete("dusk")
        await at.house.set(("/x", 1))
        await at.house.store.compact(8)
        assert await left() == []
        assert await at.holds("dawn") == {"/o/g": 1}


async def test_another_object_of_the_same_name_is_not_followed(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.apply(Set("/o/Cube/x", 1, object_id="first"))
        await at.save("s")
        await at.house.apply(Delete("/o/Cube/x"))
        await at.house.apply(Set("/o/Cube/x", 2, object_id="second"))
        await at.house.apply(Move("/o/Cube", "/o/Box"))
        assert await at.holds("s") == {"/o/Cube/x": 1}


async def test_under_a_mount_what_the_application_has_is_saved(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        store = at.house.store
        store.add_mount("/app")
        await store.declare(
            [Declaration("/app/*", kind="double"), Declaration("/app/meter", signal=True, access="r")], owner="app:app"
        )
        reports = [Report(f"/app/{name}", Status.SETTLED, reported=1.0) for name in ("taken", "refused", "meter")]
        await at.house.apply(*reports, origin="app:app", trusted=True)
        await at.house.set(("/app/taken", 2.0), ("/app/refused", 2.0))
        await at.house.apply(
            Report("/app/refused", Status.REJECTED, reported=1.0, reason="no"), origin="app:app", trusted=True
        )
        scene = await at.save("s")
        assert scene.mounts == ("/app",)
        # A wish under way counts, a refused one does not; a meter has only its moment.
        assert await at.holds("s") == {"/app/taken": 2.0, "/app/refused": 1.0}


async def test_a_moving_signal_is_saved_as_it_is(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.store.declare([Declaration("/f/*", signal=True)], owner=ME)
        await at.house.apply(Set("/f/a", 0.25))
        await at.save("s")
        assert await at.holds("s") == {"/f/a": 0.25}


async def test_requests_are_answered_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.set(("/a", 1))
        key = RequestKey(ME, "SaveScene", "id", "hash")
        saved = await at.save("s", request=key)
        assert await at.save("s", request=key) == saved
        assert (await at.scenes.get("s")).version == 1
        with pytest.raises(AlreadyExists):
            await at.save("s", request=RequestKey(ME, "SaveScene", "id", "other"))
        gone = RequestKey(ME, "DeleteScene", "id", "hash")
        await at.scenes.delete("s", request=gone)
        await at.scenes.delete("s", request=gone)
        with pytest.raises(NotFound):
            await at.scenes.delete("s")
    async with stage(tmp_path) as at:
        assert await at.save("s", request=key) == saved  # answered over a restart; nothing is saved again
        assert await at.scenes.all() == []


async def test_what_is_refused_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as at:
        await at.house.set(("/a", 1), ("/b", 2))
        saved = await at.save("s")
        for wrong in ("", " s", "s\n", "x" * 201):
            with pytest.raises(InvalidArgument):
                await at.save(wrong)
        with pytest.raises(InvalidArgument):
            await at.save("t", "/a[")
        with pytest.raises(Conflict, match="somebody was faster"):
            await at.save("s", etag="etag-old")
        with pytest.raises(Conflict):
            await at.save("new", etag="etag-old")
        with pytest.raises(Conflict):
            await at.scenes.delete("s", etag="etag-old")
        with pytest.raises(NotFound, match="did you mean 's'"):
            await at.scenes.get("ss")
        with pytest.raises(NotFound, match="no version 7"):
            await at.scenes.get("s", 7)
        assert (await at.save("t", validate_only=True)).entries == 2
        monkeypatch.setattr(room, "MAX_SCENES", 1)
        with pytest.raises(Exhausted):
            await at.save("t")
        monkeypatch.setattr(room, "MAX_ENTRIES", 1)
        with pytest.raises(Exhausted, match="narrower"):
            await at.save("s")
        assert await at.scenes.all() == [saved]

        def locked() -> None:
            raise Conflict("locked")

        with pytest.raises(Conflict, match="locked"):
            await at.save("s", replacing=locked)


async def test_old_versions_go_and_the_room_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as at:
        for number in range(1, room.MAX_VERSIONS + 3):
            await at.house.set(("/a", number))
            await at.save("s")
        last = await at.scenes.get("s")
        assert last.version == room.MAX_VERSIONS + 2
        assert await at.holds("s", 3) == {"/a": 3}
        with pytest.raises(NotFound):
            await at.scenes.get("s", 2)
        assert await at.house.db.query("SELECT count(*) FROM scene_blocks") == [(room.MAX_VERSIONS,)]
        monkeypatch.setattr(room, "MAX_SIZE", last.size * (room.MAX_VERSIONS + 1))
        await at.save("t")
        with pytest.raises(Exhausted) as caught:
            await at.save("u")
        assert caught.value.reason == "SCENES_FULL"


async def test_a_save_is_all_or_nothing(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    async with stage(live) as at:
        await at.house.set(*[(f"/n/{number}", number) for number in range(3000)])
        await at.save("s")
        await at.house.set(("/n/0", -1))
        seen = set()
        saving = at.save("s", request=RequestKey(ME, "SaveScene", "id", "hash"))
        task = asyncio.ensure_future(saving)
        for number in range(20):
            copy = crashed(live, tmp_path / f"copy{number}")
            async with stage(copy) as after:
                held = await after.holds("s")
                assert len(held) == 3000
                version = (await after.scenes.get("s")).version
                assert held["/n/0"] == (0 if version == 1 else -1)
                found = await after.house.db.query("SELECT count(*) FROM requests")
                assert found == [(version - 1,)]
                seen.add(version)
            shutil.rmtree(copy)
            if task.done():
                break
            await asyncio.sleep(0)
        await task


async def test_differences(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.store.declare([Declaration("/t", tolerance=0.1)], owner=ME)
        await at.house.set(("/a", 1), ("/b", "x"), ("/t", 1.0), ("/same", 0.1))
        await at.save("one")
        at.clock.advance(10)
        then = at.clock.now_ns()
        await at.house.apply(Set("/a", 2), Delete("/b"), Set("/c", True), Set("/t", 1.05))
        at.clock.advance(10)
        await at.house.set(("/a", 3))
        await at.save("two", "/a", "/c")
        changed = [Difference("/a", 1, 3), Difference("/b", "x", None), Difference("/c", None, True)]
        assert await at.diff(Ref("one"), Ref()) == changed
        assert await at.diff(Ref(), Ref("one"), "/a") == [Difference("/a", 3, 1)]
        assert await at.diff(Ref(revision=1), Ref(revision=2)) == [Difference("/a", 1, 2), *changed[1:]]
        assert await at.diff(Ref(time=then - 1), Ref(time=then)) == [Difference("/a", 1, 2), *changed[1:]]
        assert await at.diff(Ref("one"), Ref("two"), "/a") == changed[:1]
        assert Difference("/same", 0.1, None) in await at.diff(Ref("one"), Ref("two"))
        # What was renamed is compared by its name of now, whether the patterns still match it or not.
        await at.house.apply(Move("/a", "/z"))
        assert Difference("/z", 3, None) not in (found := await at.diff(Ref("two"), Ref()))
        assert found == []
        assert await at.diff(Ref("two", version=1), Ref(revision=1)) == [
            Difference("/a", None, 1),
            Difference("/c", True, None),
            Difference("/z", 3, None),
        ]
        with pytest.raises(NotFound):
            await at.diff(Ref("none"), Ref())


async def test_a_store_of_the_first_format_gets_scenes(tmp_path: Path) -> None:
    fixture = Path(__file__).parents[1] / "storage" / "fixtures" / "store-v1.db"
    shutil.copy(fixture, tmp_path / "store.db")
    async with stage(tmp_path) as at:
        held = {path: value for path, value in at.house.values().items() if not path.startswith("/presence")}
        assert held
        await at.save("s")
        assert await at.holds("s") == held
        await at.house.apply(Move("/thing", "/renamed"))
        assert (await at.holds("s"))["/renamed/name"] == held["/thing/name"]


async def test_roots(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.apply(Set("/a", ASSET), Set("/b", 1))
        await at.save("s")
        await at.house.set(("/b", 2))
        await at.save("s", "/b")
        reached = await at.scenes.roots()
        assert reached.assets == await at.scenes.assets() == {ASSET.sha256}
        assert reached.paths == {("/a", 1), ("/b", 1), ("/b", 2)}


async def purged(at: Stage, target: Target) -> int:
    """Find and erase as a purge does, twice: the second time finds nothing, and erasing again does nothing."""
    from lightfast.context.scenes.purge import SceneRoom

    room = SceneRoom(at.house.db, at.scenes)
    found = [items async for items in room.find(target)]
    done = sum([await room.erase(items, "purge-1") for items in found])
    for items in found:
        assert await room.erase(items, "purge-1") == 0
    assert [items async for items in room.find(target)] == []
    assert await room.remaining(target) == []
    return done


async def test_a_purge_takes_values_paths_names_and_what_was_said(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.house.apply(
            Set("/o/plain/x", "the password is hunter22", object_id="o"),
            Set("/o/hunter22/x", 1),
            Set("/o/old/x", 1),
            Set("/o/keep/x", 2),
        )
        await at.save("s", description="with hunter22 in it")
        await at.house.apply(Move("/o/old", "/o/hunter22b"), Move("/o/keep", "/o/kept"))
        await at.save("hunter22")
        await at.house.apply(Move("/o/hunter22b", "/o/new"))
        assert await purged(at, make_target(text="hunter22")) == 7
        assert await at.holds("s") == {"/o/kept/x": 2, "/o/new/x": 1}
        scene = await at.scenes.get("s")
        assert (scene.description, scene.entries) == ("", 2)
        assert [scene.name for scene in await at.scenes.all()] == ["s"]
        assert await at.house.db.query("SELECT count(*) FROM scene_moves WHERE source || target LIKE '%hunter22%'") == [
            (0,)
        ]
        assert await purged(at, make_target(patterns=["/o/new//"])) == 1
        assert await at.holds("s") == {"/o/kept/x": 2}
    async with stage(tmp_path) as at:
        assert await at.holds("s") == {"/o/kept/x": 2}


async def test_the_timeline_and_the_pins_are_no_part_of_a_look_unless_they_are_named(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        scenes = Scenes(house.store, house.db, StillClock())
        await house.set(("/show/level", 1), ("/transport/tempo", 120.0), ("/pins/cover", "/show//"))
        saved = await scenes.save(Wanted("all"), origin="client:test")
        assert [entry.path for entry in await scenes.entries(saved)] == ["/show/level"]
        again = await scenes.save(Wanted("all"), origin="client:test")
        assert [entry.path for entry in await scenes.entries(again)] == ["/show/level"]
        named = await scenes.save(Wanted("timed", patterns=("//", "/transport//")), origin="client:test")
        assert [entry.path for entry in await scenes.entries(named)] == ["/show/level", "/transport/tempo"]
