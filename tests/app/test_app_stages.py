"""The stop: from the top down, within budgets, and one that hangs does not keep the next."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from lightfast.app import stages as module
from lightfast.app.stages import Stages


async def test_what_came_last_goes_first() -> None:
    order: list[str] = []

    async def leave(name: str) -> None:
        order.append(name)

    async with AsyncExitStack() as stack:
        stages = Stages(stack)
        for stage, name in (("storage", "database"), ("context", "store"), ("wires", "grpc"), ("wires", "osc")):
            stages.leave(stage, name, lambda name=name: leave(name))  # type: ignore[misc]
    assert order == ["osc", "grpc", "store", "database"]
    assert stages.clean


async def test_one_that_hangs_is_cut_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIRES_S", 0.1)
    order: list[str] = []

    async def hang() -> None:
        await asyncio.Event().wait()

    async def leave() -> None:
        order.append("database")

    async with AsyncExitStack() as stack:
        stages = Stages(stack)
        stages.leave("storage", "database", leave)
        stages.leave("wires", "grpc", hang)
        stages.leave("wires", "osc", hang)
    assert order == ["database"]
    assert not stages.clean


async def test_a_second_signal_cuts_one_stage_only() -> None:
    order: list[str] = []
    hanging = asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    async def leave() -> None:
        order.append("database")

    async with AsyncExitStack() as stack:
        stages = Stages(stack)
        stages.cut()
        stages.leave("storage", "database", leave)
        stages.leave("wires", "grpc", hang)
        cutter = asyncio.ensure_future(hanging.wait())
        cutter.add_done_callback(lambda _: stages.cut())
    assert order == ["database"]
    assert not stages.clean


async def test_one_that_fails_does_not_keep_the_next() -> None:
    order: list[str] = []

    async def fail() -> None:
        raise ValueError("broken")

    async def leave() -> None:
        order.append("database")

    with pytest.raises(ValueError, match="broken"):  # noqa: PT012  # the block is what fails
        async with AsyncExitStack() as stack:
            stages = Stages(stack)
            stages.leave("storage", "database", leave)
            stages.leave("wires", "grpc", fail)
    assert order == ["database"]
