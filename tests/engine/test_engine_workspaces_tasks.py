"""Workspaces, projects and tasks: versions, words, parts, what waits for what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_room import ME

from lightfast.context.upkeep.purge_target import Purgeable, make_target
from lightfast.core.clock import StillClock
from lightfast.core.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, LightfastError, NotFound
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import wanted
from lightfast.engine.workspaces.purge import PlacePurge, TaskPurge
from lightfast.engine.workspaces.records import Project, TaskState, Workspace
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

SECOND = 10**9


@dataclass
class Room:
    db: Database
    clock: StillClock
    events: EventLog
    work: Workspaces

    async def task(self, title: str = "a task", **fields: Any) -> str:
        return (await self.work.create_task({"title": title, **fields}, ME)).task_id

    async def to(self, task_id: str, state: str, **more: Any) -> None:
        await self.work.update_task(task_id, {"state": state, **more}, ME)

    async def state(self, task_id: str) -> str:
        return (await self.work.get_task(task_id)).state.value

    async def kinds(self, task_id: str) -> list[str]:
        return [event.kind for event in await self.events.page(0, wanted((), task_id), 1000)]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Room]:
    clock = StillClock()
    db = await Database.open(folder / "work.db", clock=clock)
    events = await EventLog.open(db, clock)
    requests = Requests(db, clock)
    await requests.start()
    try:
        yield Room(db, clock, events, await Workspaces.open(db, clock, events, requests))
    finally:
        await requests.close()
        await events.close()
        await db.close()


async def test_all_fields_of_a_task_are_kept(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "title": "Light the stage",
        "description": "warm, from the left",
        "intent_type": "create",
        "intent_source": "import",
        "business_goal": "the premiere",
        "context_adaptations": "only the lamps",
        "parent_context": "/stage",
        "confidence": 0.75,
        "complexity": 0.25,
        "routing_decision": "one_shot",
        "metadata": {"lux": 200, "at": (1.0, 2.0)},
        "result": "lit",
        "run_id": "run-1",
        "state": "READY",
    }
    async with opened(tmp_path) as it:
        space = await it.work.create_workspace(Workspace(name="Theatre"))
        project = await it.work.create_project(Project(workspace_id=space.workspace_id, name="Premiere"))
        fields |= {"workspace_id": space.workspace_id, "project_id": project.project_id, "task_id": "light"}
        await it.work.create_task(fields, ME)
    async with opened(tmp_path) as it:
        found = await it.work.get_task("light")
        assert {name: getattr(found, name) for name in fields} == fields
        assert (found.version, found.valid_to, found.create_time) == (1, 0, found.update_time)
        assert await it.kinds("light") == ["task.created"]


async def test_what_was_true_when(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        begin = it.clock.now_ns()
        task = await it.task("one", description="first")
        it.clock.advance(10)
        await it.work.update_task(task, {"title": "two"}, ME)
        it.clock.advance(10)
        third = await it.work.update_task(task, {"title": "three", "valid_from": begin + 5 * SECOND}, ME)
        assert (third.version, third.description, third.valid_from) == (3, "first", begin + 5 * SECOND)
        assert (await it.work.get_task(task, at_time=begin + SECOND)).title == "one"
        assert (await it.work.get_task(task, at_time=begin + 6 * SECOND)).title == "three"
        assert (await it.work.get_task(task, at_time=begin + 99 * SECOND)).title == "three"
        with pytest.raises(NotFound):
            await it.work.get_task(task, at_time=begin - 1)
        versions = await it.work.tasks.versions(task)
        assert [(each.version, each.title, each.update_time - begin) for each in versions] == [
            (3, "three", 20 * SECOND),
            (2, "two", 10 * SECOND),
            (1, "one", 0),
        ]
        assert versions[2].valid_to == begin + 10 * SECOND
        with pytest.raises(Conflict) as found:
            await it.work.update_task(task, {"title": "four"}, ME, etag=versions[1].etag)
        assert found.value.reason == "ETAG_MISMATCH"
        await it.work.update_task(task, {"title": "four"}, ME, etag=third.etag)
        assert await it.kinds(task) == ["task.created", *["task.changed"] * 3]


async def test_tasks_are_found_by_their_words(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        cube = await it.task("Render the cube", business_goal="trailer")
        lamp = await it.task("Fix the lamp", description="the cube is dark")
        mix = await it.task("Mix the song", intent_type="Größe")
        page = it.work.tasks.page

        async def found(query: str, **where: Any) -> list[str]:
            return [task.task_id for task in (await page(query=query, **where))[0]]

        assert await found("cube") == [cube, lamp]
        assert await found("rendering CUB") == [cube]
        assert await found("trailer") == [cube]
        assert await found("grosse") == []
        assert await found("Große") == [mix]  # without its diaeresis
        assert await found("cube", states=(TaskState.DONE,)) == []
        await it.work.update_task(cube, {"title": "Render the sphere"}, ME)
        assert await found("sphere") == [cube]
        assert await found("cube") == [lamp]
        with pytest.raises(InvalidArgument):
            await found('"*()')
        assert await found('the" OR "mix') == []
        first, token = await page(size=2)
        rest, last = await page(size=2, token=token)
        assert ([task.task_id for task in (*first, *rest)], last) == ([mix, lamp, cube], "")
        first, token = await page(query="the", size=2)
        rest, last = await page(query="the", size=2, token=token)
        assert ({task.task_id for task in (*first, *rest)}, last) == ({mix, lamp, cube}, "")


async def test_a_task_waits_for_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        one, two = await it.task("one"), await it.task("two")
        three = await it.task("three", after=[one, two])
        assert await it.state(three) == "BLOCKED"
        with pytest.raises(FailedPrecondition) as found:
            await it.to(three, "IN_PROGRESS")
        assert found.value.reason == "TASK_BLOCKED"
        with pytest.raises(InvalidArgument) as cycle:
            await it.work.update_task(one, {"after": [three]}, ME)
        assert cycle.value.reason == "TASK_CYCLE"
        await it.to(one, "DONE")
        assert await it.state(three) == "BLOCKED"
        await it.to(two, "DONE")
        assert await it.state(three) == "PENDING"
        await it.to(three, "IN_PROGRESS")
        assert await it.kinds(three) == ["task.created", "task.changed", "task.changed"]
        with pytest.raises(NotFound):
            await it.task("four", after=["task-none"])


async def test_a_split_task_ends_with_its_parts(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        whole = await it.task("whole", business_goal="the goal", intent_source="desk")
        waits = await it.task("waits", after=[whole])
        parts = [{"title": "first"}, {"title": "second"}, {"title": "third", "business_goal": "its own"}]
        parent, made = await it.work.split_task(whole, parts, ME, in_order=True, reason="too large", confidence=0.9)
        assert (parent.state, parent.routing_decision, parent.confidence) == (TaskState.SPLIT, "split", 0.9)
        assert parent.metadata == {"split_reason": "too large"}
        assert [part.title for part in made] == ["first", "second", "third"]
        assert [part.state.value for part in made] == ["PENDING", "BLOCKED", "BLOCKED"]
        assert [part.business_goal for part in made] == ["the goal", "the goal", "its own"]
        assert {part.parent_task_id for part in made} == {whole}
        with pytest.raises(FailedPrecondition) as found:
            await it.work.split_task(whole, parts, ME)
        assert found.value.reason == "TASK_SPLIT"
        with pytest.raises(FailedPrecondition):
            await it.to(whole, "DONE")
        _, inner = await it.work.split_task(made[1].task_id, [{"title": "inner"}], ME)
        assert await it.state(inner[0].task_id) == "BLOCKED"
        await it.to(made[0].task_id, "DONE", result="one")
        assert await it.state(inner[0].task_id) == "PENDING"
        await it.to(inner[0].task_id, "DONE", result="two")
        assert [await it.state(each) for each in (made[1].task_id, made[2].task_id)] == ["DONE", "PENDING"]
        await it.to(made[2].task_id, "CANCELLED")
        done = await it.work.get_task(whole)
        assert (done.state, done.result) == (TaskState.DONE, "one\ntwo")
        assert await it.state(waits) == "PENDING"
        assert await it.kinds(whole) == ["task.created", "task.split", "task.done"]


async def test_a_split_task_fails_or_is_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        whole = await it.task("whole")
        _, made = await it.work.split_task(whole, [{"title": "a"}, {"title": "b"}], ME)
        await it.to(made[0].task_id, "FAILED")
        assert await it.state(whole) == "SPLIT"
        await it.to(made[1].task_id, "DONE")
        assert await it.state(whole) == "FAILED"
        other = await it.task("other")
        _, parts = await it.work.split_task(other, [{"title": "a"}, {"title": "b"}], ME)
        await it.work.split_task(parts[1].task_id, [{"title": "c"}], ME)
        await it.to(other, "CANCELLED")
        found = await it.work.tasks.parts(parts[1].task_id)
        assert [await it.state(each.task_id) for each in (*parts, *found)] == ["CANCELLED"] * 3


async def test_the_same_request_is_one_task(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        asked = [it.work.create_task({"title": "once"}, ME, request_id="r1") for _ in range(4)]
        assert len({task.task_id for task in await asyncio.gather(*asked)}) == 1
        with pytest.raises(AlreadyExists):
            await it.work.create_task({"title": "other"}, ME, request_id="r1")
    async with opened(tmp_path) as it:
        await it.work.create_task({"title": "once"}, ME, request_id="r1")
        assert len((await it.work.tasks.page())[0]) == 1


async def test_workspaces_and_projects(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        for name in ("b", "a", "c"):
            await it.work.create_workspace(Workspace(workspace_id=name, name=f"space {name}", metadata={"n": 1}))
        first, token = await it.work.workspaces(size=2)
        rest, last = await it.work.workspaces(size=2, token=token)
        assert ([each.workspace_id for each in (*first, *rest)], last) == (["a", "b", "c"], "")
        await it.work.create_project(Project(project_id="p", workspace_id="a", name="one"))
        before = await it.work.workspace("a")
        it.clock.advance(1)
        after = await it.work.update_workspace(Workspace("a", archived=True), ("archived",), etag=before.etag)
        assert (after.name, after.metadata, after.archived, after.create_time) == (
            "space a",
            {"n": 1},
            True,
            before.create_time,
        )
        assert [each.workspace_id for each in (await it.work.workspaces())[0]] == ["b", "c"]
        changed = await it.work.update_project(Project("p", name="two"), ("name",))
        assert (await it.work.projects("a"))[0] == [changed]
        assert (await it.work.projects("b"))[0] == []
        with pytest.raises(Conflict):
            await it.work.update_workspace(Workspace("a", name="x"), ("name",), etag=before.etag)


async def test_what_is_malformed_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        task = await it.task()
        await it.work.create_workspace(Workspace("w", "W"))
        await it.work.create_workspace(Workspace("v", "V"))
        await it.work.create_project(Project("p", "w", "P"))
        create, update = it.work.create_task, it.work.update_task
        wrong: list[tuple[Any, str]] = [
            (create({}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "color": "red"}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x" * 501}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "confidence": 1.5}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "complexity": float("nan")}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "routing_decision": "maybe"}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "state": "SPLIT"}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "state": "LOST"}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "task_id": "A b"}, ME), "INVALID_ARGUMENT"),
            (create({"title": "x", "task_id": task}, ME), "TASK_EXISTS"),
            (create({"title": "x", "workspace_id": "none"}, ME), "WORKSPACE_UNKNOWN"),
            (create({"title": "x", "project_id": "none"}, ME), "PROJECT_UNKNOWN"),
            (create({"title": "x", "project_id": "p", "workspace_id": "v"}, ME), "PROJECT_UNKNOWN"),
            (create({"title": "x", "parent_task_id": "none"}, ME), "TASK_UNKNOWN"),
            (create({"title": "x", "metadata": {"a": object()}}, ME), "VALUE_INVALID"),
            (update("none", {"title": "x"}, ME), "TASK_UNKNOWN"),
            (update(task, {"state": "SPLIT"}, ME), "INVALID_ARGUMENT"),
            (update(task, {"after": [task]}, ME), "TASK_CYCLE"),
            (update(task, {"parent_task_id": "x"}, ME), "INVALID_ARGUMENT"),
            (it.work.split_task(task, [], ME), "INVALID_ARGUMENT"),
            (it.work.create_workspace(Workspace("w", "again")), "WORKSPACE_EXISTS"),
            (it.work.create_workspace(Workspace("x", " ")), "INVALID_ARGUMENT"),
            (it.work.create_project(Project("q", "none", "x")), "WORKSPACE_UNKNOWN"),
            (it.work.update_workspace(Workspace("w"), ("color",)), "INVALID_ARGUMENT"),
        ]
        for call, reason in wrong:
            with pytest.raises(LightfastError) as found:
                await call
            assert found.value.reason == reason
        assert len((await it.work.tasks.page())[0]) == 1


async def test_a_purge_reaches_all_of_it(tmp_path: Path) -> None:
    secret = "xyzzyplugh"
    async with opened(tmp_path) as it:
        await it.work.create_workspace(Workspace("w", f"space of {secret}", metadata={"a": secret}))
        await it.work.create_project(Project("p", "w", "fine", f"about {secret}"))
        task = await it.task(f"call {secret}", metadata={"who": secret})
        await it.work.update_task(task, {"title": f"call {secret} again"}, ME)
        other = await it.task("fine")
        target = make_target(text=secret)
        rooms: list[Purgeable] = [TaskPurge(it.db), PlacePurge(it.db, "workspaces"), PlacePurge(it.db, "projects")]
        for room in rooms:
            items = [item async for batch in room.find(target) for item in batch]
            assert items
            await room.erase(items, "purge-1")
            assert await room.remaining(target) == []
            assert [item async for batch in room.find(target) for item in batch] == []
        assert (await it.work.tasks.page(query=secret))[0] == []
        found = await it.work.get_task(task)
        assert (found.title, found.version, found.metadata) == ("(purged)", 2, {})
        assert (await it.work.get_task(other)).title == "fine"
        assert (await it.work.workspace("w")).name == "(purged)"
        words = await it.db.query("SELECT count(*) FROM task_words WHERE task_words MATCH ?", (secret,))
        assert words == [(0,)]
        blocks = await it.db.query("SELECT count(*) FROM task_words_data WHERE instr(block, ?)", (secret.encode(),))
        assert blocks == [(0,)]


async def test_a_part_waits_for_nothing_that_waits_for_the_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        whole, early = await it.task("whole"), await it.task("early")
        late = await it.task("late", after=[whole])
        inner = await it.task("before it is split", parent_task_id=whole, after=[late])
        with pytest.raises(InvalidArgument, match="would wait for itself"):
            await it.work.split_task(whole, [{"title": "a"}], ME)
        await it.to(inner, "PENDING", after=[early])
        with pytest.raises(InvalidArgument, match="would wait for itself"):
            await it.work.split_task(whole, [{"title": "a", "after": [late]}], ME)
        _, parts = await it.work.split_task(whole, [{"title": "a"}], ME)
        for other in (whole, late):
            with pytest.raises(InvalidArgument, match="would wait for itself"):
                await it.task("one more", parent_task_id=whole, after=[other])
            with pytest.raises(InvalidArgument, match="would wait for itself"):
                await it.work.update_task(parts[-1].task_id, {"after": [other]}, ME)
        assert await it.task("fine", parent_task_id=whole, after=[early])


async def test_words_with_signs_in_them_are_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        task = await it.task('A sign-in page: "don\'t panic" (v2.0)')
        for query in ("sign-in", "don't", "v2.0", '"sign-in" page', "(page", "NEAR sign*", 'pa"', "title:sign"):
            found, _ = await it.work.tasks.page(query=query)
            want = [] if query in ("NEAR sign*", "title:sign") else [task]
            assert [each.task_id for each in found] == want, query
        for query in ("-", '"', "* ^", "\x00"):
            with pytest.raises(InvalidArgument):
                await it.work.tasks.page(query=query)
