"""An application that leaves in the middle of a command: what happened is asked, repeated, or said to be unknown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.engine.test_engine_operations_apps import Doer, arrive, joined, leave
from tests.support.desk import until
from tests.support.operations import OpHouse

from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.engine.pipeline.faults import fault_of
from lightfast.engine.pipeline.machine import OUTCOME_UNKNOWN
from lightfast.sdk import Outcome


async def begun(house: OpHouse, app: Doer, command: str) -> asyncio.Task[Outcome]:
    """Begin a command that is not answered yet."""
    app.silent = True
    arguments = {"app": "/live", "command": command, "arguments": {"name": "Cube"} if command == "make" else {}}
    task = asyncio.ensure_future(house.perform("app.command", **arguments))
    await until(lambda: app.calls)
    return task


@pytest.mark.parametrize("command", ["move", "make"])
async def test_what_may_have_happened_is_unknown_and_not_failed(tmp_path: Path, command: str) -> None:
    async with joined(tmp_path) as (house, app):
        task = await begun(house, app, command)
        await leave(house, app)
        with pytest.raises(FailedPrecondition) as caught:
            await task
        assert caught.value.reason == OUTCOME_UNKNOWN
        assert caught.value.message == (
            f"/live went away during {command!r}: it crashed: whether it was done cannot be known"
        )
        assert len(app.calls) == 1


async def test_what_may_be_done_again_fails_as_something_that_passes(tmp_path: Path) -> None:
    async with joined(tmp_path) as (house, app):
        for count, command in enumerate(("play", "look"), 1):
            app.calls.clear()
            task = await begun(house, app, command)
            await leave(house, app)
            with pytest.raises(Unavailable) as caught:
                await task
            assert caught.value.reason == "APP_GONE"
            assert fault_of(caught.value).retryable
            await arrive(house, app, f"i{count + 1}")


async def test_what_was_not_sent_has_not_happened(tmp_path: Path) -> None:
    async with joined(tmp_path) as (house, app):
        await leave(house, app)
        with pytest.raises(Unavailable) as caught:
            await house.perform("app.command", app="/live", command="move", arguments={})
        assert caught.value.reason == "APP_GONE"
        assert app.calls == []


async def test_one_that_keeps_keys_is_asked_again_when_it_is_back(tmp_path: Path) -> None:
    async with joined(tmp_path, "keyed") as (house, app):
        task = await begun(house, app, "make")
        app.silent = False
        app.kept[app.calls[0].key] = {"name": "Cube.007"}  # it was done, and the answer was lost
        await leave(house, app)
        await arrive(house, app, "i1", "keyed")
        assert (await task).value == {"name": "Cube.007"}
        assert app.done == []
        assert app.calls[0].key == app.calls[1].key


async def test_one_that_keeps_keys_and_was_restarted_cannot_tell(tmp_path: Path) -> None:
    async with joined(tmp_path, "keyed") as (house, app):
        task = await begun(house, app, "make")
        app.silent = False
        await leave(house, app)
        await arrive(house, app, "i2", "keyed")
        with pytest.raises(FailedPrecondition) as caught:
            await task
        assert caught.value.reason == OUTCOME_UNKNOWN
        assert app.done == []
