"""While plugins are still loading, nobody is refused whom a plugin that comes later could serve."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.routing import Desk, Moving, Still, desk_of, text

from lightfast.core.tasks import TaskGroup
from lightfast.gateway.routing.discovery import Discovery
from lightfast.sdk import ProviderError


def loading(desk: Desk, *later: Still) -> list[str]:
    """Let *later* arrive when somebody waits for the plugins; return a list that notes each wait."""
    waits: list[str] = []

    async def settled() -> None:
        waits.append("waited")
        for provider in later:
            if not desk.catalog.has(provider.name):
                desk.catalog.add(provider, f"{provider.name}s", provider.models())

    desk.routing.settled = settled
    return waits


def keyed(name: str) -> Still:
    return Still(name, [text("x", "fast")], needs_key=True)


@pytest.mark.parametrize("name", ["", "fast"])
async def test_who_has_no_key_is_not_the_last_word(name: str) -> None:
    async with TaskGroup("test") as tasks:
        desk = desk_of(keyed("away"), tasks=tasks)
        desk.accounts.keyless.add("away")
        waits = loading(desk, Still("here", [text("y", "fast")]))
        assert "here/y" in await desk.names(name, "text")
        assert waits == ["waited"]


async def test_who_can_answer_is_taken_at_once() -> None:
    async with TaskGroup("test") as tasks:
        desk = desk_of(keyed("away"), Still("here", [text("y")]), tasks=tasks)
        desk.accounts.keyless.add("away")
        waits = loading(desk)
        assert "here/y" in await desk.names("", "text")
        assert await desk.names("away/x", "text") == ["away/x"]  # somebody wants that one, and is told what it lacks
        assert waits == []


async def test_a_model_that_nobody_has_waits_too() -> None:
    async with TaskGroup("test") as tasks:
        desk = desk_of(tasks=tasks)
        waits = loading(desk, Still("late", [text("x")]))
        assert await desk.names("late/x", "text") == ["late/x"]
        assert waits == ["waited"]


async def test_a_server_that_has_not_answered_yet_is_not_chosen_by_itself() -> None:
    """Nobody knows whether it is there: what is there, or comes with a plugin that loads late, goes first."""
    async with TaskGroup("test") as tasks:
        slow = Moving("server", [text("y")])
        slow.listed, slow.gate = [text("y")], asyncio.Event()
        desk = desk_of(slow, tasks=tasks)
        desk.routing.discovery = Discovery(desk.clock, tasks, desk.catalog.replace, patience=0.01)
        waits = loading(desk, Still("here", [text("x")]))
        assert (await desk.names("", "text"))[0] == "here/x"
        assert waits == ["waited"]
        assert (await desk.names("server/y", "text"))[0] == "server/y"  # who names it has it
        slow.gate.set()


@pytest.mark.parametrize("name", ["", "fast"])
@pytest.mark.parametrize("loaded", [[], [Still("here", [text("x", "fast")])]], ids=["first", "beside"])
async def test_a_server_that_came_while_others_were_asked_is_not_relied_on(
    monkeypatch: pytest.MonkeyPatch, loaded: list[Still], name: str
) -> None:
    """Nobody has asked it yet, so nobody knows that it does not run."""
    async with TaskGroup("test") as tasks:
        server = Moving("a-server", [text("y", "fast")], local=True)
        server.listed = [text("y", "fast")]
        server.probe_trouble = ProviderError("connection refused", kind="unavailable")
        desk = desk_of(*loaded, tasks=tasks)
        waits = loading(desk, Still("here", [text("x", "fast")]))
        refresh = desk.routing.refresh

        async def slow(*args: Any, **options: Any) -> None:
            await refresh(*args, **options)
            if not desk.catalog.has("a-server"):
                desk.catalog.add(server, "a-servers", server.models())

        monkeypatch.setattr(desk.routing, "refresh", slow)
        assert (await desk.names(name, "text"))[0] == "here/x"
        assert waits == ["waited"]
        assert server.probed == 1
