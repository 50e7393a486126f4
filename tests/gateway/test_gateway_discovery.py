"""Lists of models that are asked for, and providers that are asked whether they are back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.plugins import until
from tests.support.routing import Moving, Still, desk_of, made, text

from lightfast.core.errors import NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.routing import health as health_room
from lightfast.gateway.routing.circuits import FIRST_PAUSE_S, SERVICE_FAILURES, State
from lightfast.gateway.routing.discovery import AGAIN_S, FRESH_S, Discovery
from lightfast.gateway.routing.health import USED_S
from lightfast.sdk import Model, ProviderError


async def test_a_list_is_asked_for_with_the_first_need_and_again_when_it_is_old() -> None:
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        desk = desk_of(local, Still("one", [text("x")]), tasks=tasks)
        assert local.asked == 0
        assert await desk.names("one/x") == ["one/x"]
        assert local.asked == 0  # somebody else was wanted
        assert await desk.names("local/a") == ["local/a"]
        assert await desk.names("", "text") == ["local/a", "one/x"]
        assert local.asked == 1
        local.found = [text("b")]
        desk.clock.advance(FRESH_S - 1)
        assert await desk.names("fast", "text") == ["local/a", "one/x"]
        desk.clock.advance(2)
        await desk.names("", "text")  # what is known is good while it is asked
        await until(lambda: desk.catalog.find("local/b") is not None, "the new list")
        assert desk.catalog.find("local/a") is None
        assert local.asked == 2


async def test_a_model_that_is_new_is_found_by_its_name_before_the_list_is_old() -> None:
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        desk = desk_of(local, tasks=tasks)
        await desk.names("local/a")
        local.found = [text("a"), text("pulled")]
        with pytest.raises(NotFound):
            await desk.names("local/pulled")
        desk.clock.advance(AGAIN_S)
        assert await desk.names("local/pulled") == ["local/pulled"]
        assert local.asked == 2


async def test_a_failure_keeps_what_was_known_and_is_told() -> None:
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        desk = desk_of(local, own={"mine": ("local/a",)}, tasks=tasks)
        await desk.names("local/a")
        local.trouble = ProviderError("it does not run", kind="unavailable")
        desk.clock.advance(FRESH_S + 1)
        assert await desk.names("local/a") == ["local/a"]
        assert local.asked == 1  # it is listed: nothing need be asked
        await desk.names("", "text")
        await until(lambda: bool(desk.routing.discovery.reason("local")), "the failure")
        assert desk.routing.discovery.reason("local") == "it does not run"
        assert await desk.names("mine") == ["local/a"]
        assert local.asked == 2
        desk.clock.advance(AGAIN_S)
        local.trouble = None
        await desk.names("", "text")
        await until(lambda: not desk.routing.discovery.reason("local"), "the recovery")


async def test_a_server_on_this_machine_that_does_not_run_is_not_chosen_by_itself() -> None:
    async with TaskGroup("test") as tasks:
        server = Moving("server", [text("a")], local=True)
        server.listed = [text("a")]
        server.probe_trouble = ProviderError("connection refused", kind="unavailable")
        rule = Still("rule", [Model("p", ("text",), procedural=True)], local=True)
        desk = desk_of(server, rule, tasks=tasks)
        assert await desk.names("", "text") == ["rule/p"]
        assert await desk.names("best") == ["rule/p"]
        assert desk.routing.standing(desk.catalog.named("server/a")).reason == "connection refused"
        assert await desk.names("server/a") == ["server/a"]  # by its name it is tried
        desk.attempt("server/a")
        assert await desk.names("", "text") == ["server/a"]
        assert server.probed == 1


async def test_a_server_that_was_started_later_is_found() -> None:
    async with TaskGroup("test") as tasks:
        server = Moving("server", [text("a")], local=True)
        server.probe_trouble = ProviderError("connection refused", kind="unavailable")
        desk = desk_of(server, Still("rule", [Model("p", ("text",), procedural=True)], local=True), tasks=tasks)
        assert await desk.names("", "text") == ["rule/p"]
        server.probe_trouble = None
        desk.clock.advance(AGAIN_S)
        await desk.names("", "text")
        await until(lambda: not desk.routing.discovery.away("server"), "the server")
        assert await desk.names("", "text") == ["server/a"]


class Nonsense(Moving):
    """Answers with what no provider may answer with."""

    answer: Any = None

    async def discover(self, session: Any) -> Any:
        self.asked += 1
        return self.answer


ANSWERS: dict[str, Any] = {
    "no models": [1, 2],
    "a number": 3,
    "twice": [text("a"), text("a")],
    "a bad name": [text("/etc/passwd")],
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_answer_that_breaks_the_contract_is_a_failure(case: str) -> None:
    async with TaskGroup("test") as tasks:
        local = Nonsense("local")
        local.answer = ANSWERS[case]
        desk = desk_of(local, tasks=tasks)
        with pytest.raises(NotFound):
            await desk.names("local/a")
        assert desk.routing.discovery.reason("local")
        assert desk.catalog.listed() == []


async def test_nobody_waits_long_for_a_list() -> None:
    async with TaskGroup("test") as tasks:
        slow = Moving("slow", [text("a")])
        slow.gate = asyncio.Event()
        desk = desk_of(slow, Still("one", [text("x")]), tasks=tasks)
        desk.routing.discovery = Discovery(desk.clock, tasks, desk.catalog.replace, patience=0.01)
        assert await desk.names("", "text") == ["one/x"]
        assert await desk.names("", "text") == ["one/x"]
        assert slow.asked == 1  # who asks while it is asked shares the answer
        slow.gate.set()
        await until(lambda: desk.catalog.find("slow/a") is not None, "the list")
        assert await desk.names("", "text") == ["slow/a", "one/x"]


async def test_a_provider_without_a_key_is_not_asked() -> None:
    async with TaskGroup("test") as tasks:
        remote = Moving("remote", [text("a")], needs_key=True)
        desk = desk_of(remote, tasks=tasks)
        desk.accounts.keyless.add("remote")
        with pytest.raises(NotFound):
            await desk.names("", "text")
        assert remote.asked == 0


async def test_a_list_of_a_provider_that_left_meanwhile_is_dropped() -> None:
    async with TaskGroup("test") as tasks:
        slow = Moving("slow", [text("a")])
        slow.gate = asyncio.Event()
        desk = desk_of(slow, tasks=tasks)
        asking = tasks.start(desk.routing.refresh(), "asking")
        await until(lambda: slow.asked == 1, "the question")
        assert desk.catalog.remove(slow)
        slow.gate.set()
        await asking
        assert desk.catalog.listed() == []


async def test_a_provider_that_is_down_is_asked_until_it_is_back() -> None:
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        local.trouble = ProviderError("down", kind="unavailable")
        desk = desk_of(local, tasks=tasks)
        health, circuits = desk.routing.health, desk.routing.circuits
        assert not await health.step(local)  # nothing is wrong: it is not asked
        assert local.probed == 0
        for _ in range(SERVICE_FAILURES + 1):
            desk.routing.attempted(made("local/a", error=ProviderError("down", kind="unavailable")))
        assert health.watching() == ["local"]
        assert await health.step(local)
        assert circuits.state("local/a") is State.OPEN
        local.trouble = None
        assert not await health.step(local)
        assert (local.probed, health.probes) == (2, 2)
        assert circuits.state("local") is State.CLOSED
        assert desk.routing.allowed("local/a")


REFUSED = {"auth": True, "limit": True, "denied": True, "unavailable": False, "timeout": False}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_service_that_refuses_the_account_is_there(kind: str) -> None:
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        local.trouble = ProviderError("no", kind=kind)
        desk = desk_of(local, tasks=tasks)
        desk.fail("local/a", SERVICE_FAILURES)
        assert await desk.routing.health.step(local) is not REFUSED[kind]


async def test_a_provider_that_nobody_wants_any_more_is_not_asked() -> None:
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        local.trouble = ProviderError("down", kind="unavailable")
        desk = desk_of(local, tasks=tasks)
        desk.fail("local/a", SERVICE_FAILURES)
        desk.clock.advance(USED_S + 1)
        assert not await desk.routing.health.step(local)
        assert local.probed == 0


async def test_one_without_a_probe_of_its_own_is_left_to_trials() -> None:
    desk = desk_of(Still("plain", [text("a")]))
    desk.fail("plain/a", SERVICE_FAILURES)
    assert desk.routing.health.watching() == []
    desk.clock.advance(FIRST_PAUSE_S)
    assert desk.routing.allowed("plain/a")


async def test_the_watch_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_room, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(health_room, "LONGEST_PAUSE_S", 0.002)
    async with TaskGroup("test") as tasks:
        local = Moving("local", [text("a")])
        local.trouble = ProviderError("down", kind="unavailable")
        desk = desk_of(local, tasks=tasks)
        desk.fail("local/a", SERVICE_FAILURES)
        await until(lambda: local.probed > 3, "some probes")
        local.trouble = None
        await until(lambda: not desk.routing.health.watching(), "the end of the watch")
        assert desk.routing.allowed("local/a")
