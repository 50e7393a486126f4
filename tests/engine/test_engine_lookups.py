"""What is looked up for each line, job and run is found by an index, however many of them are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import apsw
import pytest
from tests.support.job_room import ME, Room, room

from lightfast.core.errors import NotFound
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.loads import Loads
from lightfast.engine.desk.records import Line
from lightfast.engine.jobs.records import NewJob
from lightfast.engine.workspaces.tasks import TaskReader

LARGE = ("jobs", "job_logs", "desk_lines", "task_versions", "requests", "part", "whole")
"""The tables that grow with what is done, and the names they have in a join."""


@asynccontextmanager
async def overheard(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Room, list[tuple[str, Any]]]]:
    """Open a room and hear all that its connections are asked."""
    said: list[tuple[str, Any]] = []

    def listen(connection: apsw.Connection) -> None:
        def hear(_: apsw.Cursor, sql: str, bindings: Any) -> bool:
            said.append((sql, bindings))
            return True

        connection.exec_trace = hear

    patch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, listen])
    async with room(folder, started=False) as found:
        yield found, said


async def walked(found: Room, said: list[tuple[str, Any]]) -> list[str]:
    """Return what is read through from end to end in what was *said* until now."""
    asked, plans = [each for each in said if each[0].startswith(("SELECT", "WITH"))], list[str]()
    assert asked
    for sql, bindings in asked:
        rows = await found.db.query(f"EXPLAIN QUERY PLAN {sql}", bindings)
        plans += [f"{row[3]}: {sql}" for row in rows if row[3].startswith(tuple(f"SCAN {name}" for name in LARGE))]
    said.clear()
    return plans


async def test_a_line_is_found_by_what_it_hangs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with overheard(tmp_path, monkeypatch) as (found, said):
        lines = Lines(found.db, found.events, found.clock)
        line = Line("l", "c", "said", "tc:said", "tc", ME, 1)
        said.clear()
        await lines.get("l")
        await lines.said_before("c", "r")
        await lines.of_run("run")
        await lines.parts("l")
        await lines.children("t")
        await lines.run_of(line)
        assert lines.opened() == 0
        assert await walked(found, said) == []


async def test_a_task_and_its_parts_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with overheard(tmp_path, monkeypatch) as (found, said):
        tasks = TaskReader(found.db, found.clock)
        lines = Lines(found.db, found.events, found.clock)
        loads = Loads(lines, found.db, found.clock, cast("Any", None), cast("Any", None))
        said.clear()
        await tasks.find("t")
        await tasks.parts("t")
        await tasks.check_cycle("t", ["u"])
        with pytest.raises(NotFound):
            await loads._task("t")
        assert await walked(found, said) == []


async def test_a_job_is_found_by_its_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with overheard(tmp_path, monkeypatch) as (found, said):
        job = await found.jobs.submit(NewJob("told", {"n": 1}), ME, request_id="r")
        said.clear()
        assert (await found.jobs.submit(NewJob("told", {"n": 1}), ME, request_id="r")).job_id == job.job_id
        assert await walked(found, said) == []
