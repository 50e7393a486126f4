"""What is under way while the gateway's rows are purged does not bring them back, and is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lightfast.context.upkeep.purge_rows import OperationRoom
from lightfast.context.upkeep.purge_target import Purgeable, make_target
from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.batching.batch_rows import PURGED, BatchItem, BatchRoom, BatchRows, BatchState
from lightfast.gateway.operations import Operation, Operations, OperationState
from lightfast.gateway.prompts.purge import TemplateRoom
from lightfast.gateway.prompts.renderer import Renderer
from lightfast.gateway.prompts.templates import Templates
from lightfast.sdk import BatchAnswer
from lightfast.storage.database import Database

SECRET = "the code of the safe"
TARGET = make_target(text=SECRET)
BATCH = Operation("op-1", OperationState.RUNNING, "m/big", "batch", "", 0, "me", 1)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Database]:
    db = await Database.open(folder / "store.db")
    try:
        yield db
    finally:
        await db.close()


async def erased(room: Purgeable) -> int:
    """Let a room find and erase everything; again finds nothing."""
    items = [item async for some in room.find(TARGET) for item in some]
    assert await room.erase(items, "purge-1") == len(items)
    assert [item async for some in room.find(TARGET) for item in some] == []
    return len(items)


async def test_the_late_answer_to_a_request_that_was_purged_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        rows, room = BatchRows(db, Operations(db)), BatchRoom(db)
        state = BatchState(service=True, consent=False)
        await rows.add(BATCH, state, [BatchItem(f"tell {SECRET}", {}, 1), BatchItem("two", {}, 2)])
        assert await room.remaining(TARGET) == []
        assert await erased(room) == 1
        (told,) = await room.remaining(TARGET)
        assert "op-1 is under way" in told
        await rows.answer("op-1", [BatchAnswer(0, f"you said {SECRET}"), BatchAnswer(1, "two")])
        assert [(one.text, one.error) for one in await rows.answers("op-1")] == [("", PURGED), ("two", "")]
        await rows.save(replace(BATCH, state=OperationState.SUCCEEDED))
        assert await room.remaining(TARGET) == []


async def test_an_operation_under_way_is_named_and_names_given_to_it_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        rows = Operations(db)
        room = OperationRoom(db, rows.forget)
        running = replace(BATCH, operation_id="op-2", output="text", prompt=SECRET, text=SECRET, project="sea")
        ended = replace(running, operation_id="op-3", state=OperationState.SUCCEEDED, project=SECRET, note=SECRET)
        await rows.save(running)
        await rows.save(ended)
        (told,) = await room.remaining(TARGET)
        assert "op-2 is under way" in told
        assert await erased(room) == 2
        (told,) = await room.remaining(TARGET)
        assert "op-2 is under way" in told
        found = await rows.get("op-3")
        assert (found.prompt, found.text, found.project, found.note, found.model) == ("", "", "", "", "m/big")
        assert (await rows.page(project=SECRET))[0] == []
        assert [each.operation_id for each in (await rows.page(project="sea"))[0]] == ["op-2"]
        await rows.save(replace(running, state=OperationState.SUCCEEDED))  # its end brings the text again
        assert await erased(room) == 1
        assert await room.remaining(TARGET) == []


async def test_templates_lose_versions_and_keep_their_numbers(tmp_path: Path) -> None:
    tasks = TaskGroup("purge")
    renderer = Renderer(tasks)
    try:
        async with opened(tmp_path) as db:
            templates = Templates(db, StillClock(), renderer)
            for text in ("one", f"two {SECRET}", "three"):
                await templates.save("lamp", text)
            await templates.save("the-code-of-the-safe", "harmless")
            assert await erased(TemplateRoom(db)) == 1
            assert (await templates.get("lamp")).text == "three"
            with pytest.raises(FailedPrecondition, match=r"version 2 .* was purged"):
                await templates.get("lamp@2")
            assert [each.version for each in await templates.listed("lamp")] == [1, 2, 3]
            named = make_target(text="code-of-the")
            room = TemplateRoom(db)
            items = [item async for some in room.find(named) for item in some]
            await room.erase(items, "purge-2")
            with pytest.raises(NotFound):
                await templates.get("the-code-of-the-safe")
    finally:
        await renderer.close()
        await tasks.close()
