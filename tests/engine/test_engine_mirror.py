"""The mirror: every change of a task is in its file, whatever happens to the folder or the daemon in between."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_room import ME

from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.clock import StillClock
from lightfast.engine.events.log import EventLog
from lightfast.engine.mirror import mirror as module
from lightfast.engine.mirror.files import Files
from lightfast.engine.mirror.mirror import Mirror
from lightfast.engine.mirror.purge import MirrorPurge
from lightfast.engine.workspaces.records import Project, Workspace
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

WITHIN_S = 30.0


class House:
    """Tasks, and a mirror that can be ended and begun again."""

    def __init__(self, events: EventLog, work: Workspaces, folder: Path) -> None:
        self.events, self.work, self.folder = events, work, folder
        self.mirror = Mirror(folder, events, work)

    async def again(self) -> None:
        """End the mirror, and begin another one."""
        await self.mirror.close()
        self.mirror = Mirror(self.folder, self.events, self.work)
        self.mirror.start()

    def read(self, name: str) -> dict[str, Any]:
        """Return a file."""
        found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return found

    async def task(self, task_id: str, **fields: Any) -> None:
        """Create a task."""
        await self.work.create_task({"task_id": task_id, "title": task_id, **fields}, ME)

    async def reached(self) -> None:
        """Wait until all that was committed is in the files."""
        await until(lambda: self.mirror.sequence >= self.events.newest and not self.mirror.trouble)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[House]:
    clock = StillClock()
    db = await Database.open(folder / "work.db", clock=clock)
    events = await EventLog.open(db, clock)
    requests = Requests(db, clock)
    await requests.start()
    house = House(events, await Workspaces.open(db, clock, events, requests), folder / "mirror")
    house.mirror.start()
    try:
        yield house
    finally:
        await house.mirror.close()
        await requests.close()
        await events.close()
        await db.close()


async def written(house: House, file: str, **wanted: Any) -> None:
    def holds() -> bool:
        try:
            found = house.read(file)
        except OSError:
            return False
        return all(found.get(key) == value for key, value in wanted.items())

    await until(holds)


async def test_every_change_is_in_its_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.work.create_workspace(Workspace("hall", "Hall", metadata={"seats": 300}))
        await house.work.create_project(Project("show", "hall", "Show"))
        await house.task("a", project_id="show", metadata={"lux": (1.0, 2.0), "raw": b"\x01"})
        await house.task("b", after=("a",))
        await written(house, "workspaces/hall.json", name="Hall", metadata={"seats": 300})
        await written(house, "projects/show.json", workspace_id="hall")
        await written(house, "tasks/b.json", status="blocked", dependencies=["a"])
        await house.work.update_task("a", {"state": "DONE", "result": "lit"}, ME)
        await written(house, "tasks/a.json", status="done", result="lit", metadata={"lux": [1.0, 2.0], "raw": "AQ=="})
        await written(house, "tasks/b.json", status="pending")  # what followed from it, too
        await house.work.update_workspace(Workspace("hall", "Great hall"), ("name",))
        await written(house, "workspaces/hall.json", name="Great hall", metadata={"seats": 300})
        assert house.mirror.aside == 0


async def test_what_was_not_written_is_written_by_the_next(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.task("a")
        await written(house, "tasks/a.json", title="a")
        await house.mirror.close()
        await house.task("b")
        await house.work.update_task("a", {"state": "DONE"}, ME)
        assert not (house.folder / "tasks/b.json").exists()
        await house.again()
        await written(house, "tasks/b.json", title="b")
        await written(house, "tasks/a.json", status="done")


async def test_all_that_was_told_is_in_the_files_after_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.task("light")
        for number in range(30):
            await house.task(f"lamp-{number}", after=("light",))
        await house.work.update_task("light", {"state": "DONE"}, ME)
        await until(lambda: house.events.newest == 62)
        await house.mirror.close()
        assert {house.read(f"tasks/lamp-{number}.json")["status"] for number in range(30)} == {"pending"}


async def test_files_that_a_kill_left_unnoted_are_not_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as house:
        await house.task("a")
        await written(house, "tasks/a.json", title="a")
        await house.reached()
        with monkeypatch.context() as killed:
            killed.setattr(Files, "note", lambda *_: None)  # as if the daemon had died before it
            for title in ("b", "c"):
                await house.work.update_task("a", {"title": title}, ME)
                await written(house, "tasks/a.json", title=title)
        await house.mirror.close()
        await house.work.update_task("a", {"title": "d"}, ME)
        await house.again()
        await written(house, "tasks/a.json", title="d")
        await house.reached()
        assert house.mirror.aside == 0


async def test_what_others_changed_is_put_aside(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.task("a")
        await written(house, "tasks/a.json", title="a")
        await house.reached()
        (house.folder / "tasks/a.json").write_text('{"id": "a", "title": "theirs"}')
        await house.work.update_task("a", {"title": "ours"}, ME)
        await written(house, "tasks/a.json", title="ours")
        assert house.mirror.aside == 1
        assert json.loads((house.folder / "tasks/a.theirs-1").read_text())["title"] == "theirs"


async def test_a_folder_that_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    async with opened(tmp_path) as house:
        await house.task("a")
        await written(house, "tasks/a.json", title="a")
        away = house.folder.rename(tmp_path / "away")
        house.folder.write_text("in the way")
        await house.task("b")
        await until(lambda: bool(house.mirror.trouble))
        await house.task("c")
        house.folder.unlink()
        away.rename(house.folder)
        for name in "abc":
            await written(house, f"tasks/{name}.json", title=name)
        await house.reached()


@pytest.mark.parametrize("damage", ["gone", "torn", "of another store"])
async def test_a_damaged_note_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    async with opened(tmp_path) as house:
        await house.task("a")
        await written(house, "tasks/a.json", title="a")
        await house.mirror.close()
        note = house.folder / ".lightfast-mirror.json"
        if damage == "gone":
            note.unlink()
        else:
            note.write_text("{" if damage == "torn" else '{"store_id": "other", "sequence": 99999, "files": {}}')
        await house.task("b")
        await house.again()
        await written(house, "tasks/b.json", title="b")


async def test_what_is_being_written_as_a_purge_comes_is_not_there_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = Files.write

    def slow(files: Files, records: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
        if any("description" in fields for _, _, fields in records):
            begun.set()
            go_on.wait(WITHIN_S)
        return write(files, records)

    monkeypatch.setattr(Files, "write", slow)
    async with opened(tmp_path) as house:
        await house.task("a", description="the password is swordfish")
        await until(begun.is_set)
        await house.work.update_task("a", {"description": ""}, ME)
        erasing = asyncio.ensure_future(MirrorPurge(house.folder, lambda: house.mirror).erase(["tasks/a.json"], "p"))
        await asyncio.sleep(0.05)  # time for it to go wrong
        go_on.set()
        assert await erasing == 1
        await written(house, "tasks/a.json", title="a")
        await house.reached()
        for path in house.folder.rglob("*"):
            assert not path.is_file() or "swordfish" not in path.read_text(encoding="utf-8"), path


async def test_a_purged_text_goes_from_the_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.task("a", description="the password is swordfish")
        await house.task("b")
        await written(house, "tasks/a.json", description="the password is swordfish")
        await house.reached()
        (house.folder / "tasks/a.theirs-1").write_text("swordfish")
        room = MirrorPurge(house.folder, lambda: house.mirror)
        target = make_target(text="swordfish")
        assert [items async for items in room.find(target)] == [["tasks/a.json"]]
        await house.work.update_task("a", {"description": ""}, ME)
        await until(lambda: "description" not in house.read("tasks/a.json"))
        await house.reached()
        (house.folder / "tasks/a.json").write_text("swordfish")  # as if it had not been written yet
        assert await room.erase(["tasks/a.json"], "purge") == 1
        await written(house, "tasks/a.json", title="a")
        assert "swordfish" not in (house.folder / "tasks/a.json").read_text()
        (left,) = await room.remaining(target)
        assert "a.theirs-1" in left
        assert await MirrorPurge(None, lambda: None).remaining(target) == []
