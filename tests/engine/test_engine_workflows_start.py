"""Workflows while a daemon starts, and while its disk takes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted
from lightfast.engine.events.log import EventLog
from lightfast.engine.workflows.workflows import Workflows
from lightfast.storage.database import Database

TEXT = "name: {name}\nsteps:\n  - {{id: put, op: context.set, arguments: {{path: /x, value: 1}}}}\n"


async def test_what_was_there_is_known_before_the_folder_is_read_and_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "pulse.yaml").write_text(TEXT.format(name="pulse"))
    for start in range(2):
        db = await Database.open(tmp_path / "store.db")
        events = await EventLog.open(db, SYSTEM)
        flows = await Workflows.open(db, tmp_path / "flows", events, examples=False)
        try:
            assert list(flows.names()) == (["pulse"] if start else [])
            await flows.begin()
            assert list(flows.names()) == ["pulse"]
            rows = await db.query("SELECT kind FROM engine_events")
            assert rows == [("workflow.changed",)]
        finally:
            await flows.close()
            await events.close()
            await db.close()


async def test_a_full_disk_keeps_no_workflow_from_being_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flows").mkdir()
    db = await Database.open(tmp_path / "store.db")
    events = await EventLog.open(db, SYSTEM)
    flows = await Workflows.open(db, tmp_path / "flows", events, examples=False)
    followed: list[list[str]] = []
    flows.follow(lambda: followed.append(list(flows.names())))
    plain, full = db.commit, True

    async def commit(unit: Any) -> Any:
        if full:
            raise Exhausted("the disk is full", reason="DISK_FULL")
        return await plain(unit)

    monkeypatch.setattr(db, "commit", commit)
    try:
        (tmp_path / "flows" / "pulse.yaml").write_text(TEXT.format(name="pulse"))
        await flows.begin()
        assert followed == [["pulse"]]
        assert await db.query("SELECT count(*) FROM workflow_files") == [(0,)]
        full = False
        await flows.read()
        assert await db.query("SELECT name FROM workflow_files") == [("pulse",)]
        assert await db.query("SELECT kind FROM engine_events") == [("workflow.changed",)]
    finally:
        await asyncio.wait_for(flows.close(), 20)
        await events.close()
        await db.close()


async def test_who_saved_a_workflow_stays_known_when_another_is_saved_before_the_folder_is_read(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    events = await EventLog.open(db, SYSTEM)
    try:
        for name, author in (("pulse", "client:first"), ("other", "client:second")):
            flows = await Workflows.open(db, tmp_path / "flows", events, examples=False)
            await flows.save(TEXT.format(name=name), author=author)
            await flows.close()
        flows = await Workflows.open(db, tmp_path / "flows", events, examples=False)
        await flows.begin()
        assert (flows.authors("pulse"), flows.authors("other")) == (("client:first",), ("client:second",))
        await flows.close()
    finally:
        await events.close()
        await db.close()
