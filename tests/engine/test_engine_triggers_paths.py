"""Triggers on paths: edges, bounds, runs under way, loops, and why each fired or did not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support.flows import BOSS, Flows, flows, until

from lightfast.context.entry import Set, Transaction
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.context.upkeep.purge_target import Target
from lightfast.core.clock import StillClock
from lightfast.core.errors import Denied
from lightfast.engine.events.records import Wanted
from lightfast.engine.ports import Asker
from lightfast.engine.runs.records import RunState
from lightfast.engine.triggers.firing import SCOPES
from lightfast.engine.triggers.purge import FiringRoom
from lightfast.engine.triggers.records import Firing
from lightfast.sdk import Bench, Effect, Operation, OperationCall, Outcome

COPY = """
name: copy
parameters: {value: any, path: {type: string, default: ""}}
steps:
  - {id: put, op: context.set, arguments: {path: /copied, value: "${params.value}"}}
triggers:
  - on: path
    pattern: /in/*
    {more}
    parameters: {value: "${value}", path: "${path}"}
"""
SLOW = """
name: slow
parameters: {value: any}
steps:
  - {id: ask, op: ask.approval, arguments: {reason: Go on}}
  - {id: put, op: context.set, needs: [ask], arguments: {path: /slow, value: "${params.value}"}}
triggers:
  - {on: path, pattern: /in/a, policy: POLICY, parameters: {value: "${value}"}}
"""


def copy(more: str = "edge: change") -> str:
    return COPY.replace("{more}", more.replace("; ", "\n    "))


async def put(house: Flows, *pairs: tuple[str, Any], origin: str = "client:test") -> None:
    """Change something, and wait until the triggers have looked at it."""
    await house.store.apply([Set(path, value) for path, value in pairs], origin=origin)
    await asyncio.sleep(0)
    await until(lambda: house.triggers.idle)


async def traced(house: Flows, trigger: str = "") -> list[Firing]:
    return list(reversed(await house.triggers.firings(trigger)))


async def codes(house: Flows, trigger: str = "") -> list[tuple[str, int]]:
    return [(each.code, each.times) for each in await traced(house, trigger)]


def run_flows(tmp_path: Path, files: dict[str, str], test: Any, **how: Any) -> None:
    async def main() -> None:
        (tmp_path / "workflows").mkdir()
        for name, text in files.items():
            (tmp_path / "workflows" / f"{name}.yaml").write_text(text)
        async with flows(tmp_path, watching=False, **how) as house:
            await test(house)

    asyncio.run(main())


def test_a_change_fires_with_the_values_that_led_to_it(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await put(house, ("/in/a", 1.5), ("/other", 1))
        await until(lambda: house.value("/copied") == 1.5)
        (firing,) = await traced(house)
        assert (firing.trigger, firing.fired, firing.code) == ("copy-1", True, "fired")
        assert firing.reason == "/in/a=1.5, previous=None"
        assert firing.cause == house.store.get("/in/a").revision  # type: ignore[union-attr]
        run = await house.ended(firing.run_id)
        assert (run.requester, run.via) == ("trigger:copy-1", "trigger")
        assert run.details["trigger"] == "copy-1"
        assert run.program.parameters == {"value": 1.5, "path": "/in/a"}
        (status,) = [each for each in await house.triggers.listed() if each.workflow == "copy"]
        assert (status.counts.fired, status.counts.held_back, status.kind) == (1, 0, "path")
        kinds = [each.kind for each in await house.events.page(0, Wanted(("trigger.*",)), 10)]
        assert kinds == ["trigger.fired"]
        await put(house, ("/in/a", 1.5))  # the same once more is no change
        assert len(await traced(house)) == 1

    run_flows(tmp_path, {"copy": copy()}, test)


def test_an_edge_fires_when_it_becomes_true_and_not_while_it_stays_so(tmp_path: Path) -> None:
    more = 'concurrent: 8; when: value > 2 and value("/limit") == 2'

    async def main() -> None:
        (tmp_path / "workflows").mkdir()
        (tmp_path / "workflows" / "copy.yaml").write_text(copy(more))
        async with flows(tmp_path, watching=False, start=False) as house:
            await house.store.apply([Set("/limit", 2), Set("/in/held", 5)], origin="client:test")
            await house.triggers.start()
            await put(house, ("/in/held", 6))  # it held before the triggers began: nothing becomes true
            for value in (1, 3, 4, 5, 1, 6):
                await put(house, ("/in/a", value))
            await put(house, ("/in/b", "text"))
            assert await codes(house) == [
                *(("still_true", 1), ("false", 1), ("fired", 1), ("still_true", 2)),
                *(("false", 1), ("fired", 1), ("condition_failed", 1)),
            ]
            fired = (await traced(house))[2]
            assert fired.reason == '/in/a=3, previous=1, /limit=2: value > 2 and value("/limit") == 2 is true'

    asyncio.run(main())


def test_cooldown_and_rate_hold_back_and_say_so(tmp_path: Path) -> None:
    clock = StillClock()

    async def cooled(house: Flows) -> None:
        for value in range(4):
            await put(house, ("/in/a", value))
            clock.advance(4.0)
        assert await codes(house) == [("fired", 1), ("cooldown", 2), ("fired", 1)]
        assert "its cooldown of 10 s lasts 2 s more" in (await traced(house))[1].reason

    async def rated(house: Flows) -> None:
        for value in range(4):
            await put(house, ("/in/a", value))
        assert await codes(house) == [("fired", 1), ("fired", 1), ("rate", 2)]
        clock.advance(61.0)
        await put(house, ("/in/a", 9))
        assert (await traced(house))[-1].code == "fired"

    for name, more, test in (("a", "cooldown: 10s", cooled), ("b", "rate: 2/min", rated)):
        (tmp_path / name).mkdir()
        run_flows(tmp_path / name, {"copy": copy(f"{more}; concurrent: 8")}, test, clock=clock)


def test_a_debounce_waits_for_rest_and_takes_the_last_value(tmp_path: Path) -> None:
    clock = StillClock()

    async def test(house: Flows) -> None:
        for value in (1, 2, 3):
            await put(house, ("/in/a", value))
            clock.advance(0.5)
        await house.triggers.step()
        assert await traced(house) == []
        clock.advance(0.6)
        await house.triggers.step()
        await until(lambda: house.value("/copied") == 3)
        await until(lambda: house.triggers.idle)
        assert await codes(house) == [("fired", 1)]

    run_flows(tmp_path, {"copy": copy("debounce: 1s")}, test, clock=clock)


def test_what_goes_back_within_the_debounce_does_not_fire(tmp_path: Path) -> None:
    clock = StillClock()

    async def test(house: Flows) -> None:
        await put(house, ("/in/a", 5))
        await put(house, ("/in/a", 1))
        clock.advance(2.0)
        await house.triggers.step()
        assert await codes(house) == [("debounce", 1)]

    run_flows(tmp_path, {"copy": copy("debounce: 1s; when: value > 2")}, test, clock=clock)


def test_a_change_in_the_moment_the_files_are_read_again_fires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: Flows) -> None:
        bus = house.store.bus
        publish = bus.publish

        def published(transaction: Transaction) -> None:
            publish(transaction)
            if any(event.entry.path == "/in/a" for event in transaction.events):
                house.work._paths.watch(list(house.work._lives.values()), [])

        monkeypatch.setattr(bus, "publish", published)
        await put(house, ("/in/a", 1))
        assert await codes(house) == [("fired", 1)]

    run_flows(tmp_path, {"copy": copy()}, test)


async def answered(house: Flows, run_id: str) -> None:
    await until(lambda: house.asks.waiting(run_id))
    house.asks.answer(run_id, "client:boss")
    await house.ended(run_id)


def test_one_that_is_under_way_keeps_others_out(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await put(house, ("/in/a", 1))
        await put(house, ("/in/a", 2))
        assert await codes(house) == [("fired", 1), ("busy", 1)]
        await answered(house, (await traced(house))[0].run_id)
        await until(lambda: not house.work._lives["slow-1"].active)
        await put(house, ("/in/a", 3))
        assert [each.code for each in await traced(house)] == ["fired", "busy", "fired"]

    run_flows(tmp_path, {"slow": SLOW.replace("POLICY", "skip")}, test)


def test_others_wait_for_it_where_the_file_says_so(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await put(house, ("/in/a", 1))
        await put(house, ("/in/a", 2))
        await answered(house, (await traced(house))[0].run_id)

        async def fired() -> bool:
            return [each.code for each in await traced(house)] == ["fired", "queued", "fired"]

        await until(fired)
        await answered(house, (await traced(house))[2].run_id)
        assert house.value("/slow") == 2

    run_flows(tmp_path, {"slow": SLOW.replace("POLICY", "queue")}, test)


def test_a_new_one_takes_its_place_where_the_file_says_so(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await put(house, ("/in/a", 1))
        first = (await traced(house))[0].run_id
        await put(house, ("/in/a", 2))
        assert (await house.ended(first)).state is RunState.CANCELLED
        last = (await traced(house))[-1]
        assert last.code == "fired"
        await answered(house, last.run_id)
        assert house.value("/slow") == 2

    run_flows(tmp_path, {"slow": SLOW.replace("POLICY", "replace")}, test)


def chained(name: str, source: str, target: str) -> str:
    return f"""
name: {name}
parameters: {{value: any}}
steps:
  - {{id: more, op: value.compute, arguments: {{expression: params.value + 1}}}}
  - {{id: put, op: context.set, arguments: {{path: {target}, value: "${{more}}"}}}}
triggers:
  - {{on: path, pattern: {source}, concurrent: 4, parameters: {{value: "${{value}}"}}}}
"""


def test_a_trigger_does_not_fire_because_of_its_own_run(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await put(house, ("/ring", 1))

        async def cut() -> bool:
            return await codes(house) == [("fired", 1), ("loop", 1)]

        await until(cut)
        assert (await traced(house))[1].reason == "it would be a loop: self-1 → self-1"
        assert house.value("/ring") == 2

    run_flows(tmp_path, {"self": chained("self", "/ring", "/ring")}, test)


def test_triggers_that_lead_to_each_other_are_cut_and_the_circle_told(tmp_path: Path) -> None:
    files = {f"r{n}": chained(f"r{n}", f"/ring/{n}", f"/ring/{(n + 1) % 3}") for n in range(3)}

    async def test(house: Flows) -> None:
        await put(house, ("/ring/0", 1))

        async def cut() -> bool:
            return ("loop", 1) in await codes(house)

        await until(cut)
        told = [(each.trigger, each.code) for each in await traced(house)]
        assert told == [("r0-1", "fired"), ("r1-1", "fired"), ("r2-1", "fired"), ("r0-1", "loop")]
        assert (await traced(house))[-1].reason == "it would be a loop: r0-1 → r1-1 → r2-1 → r0-1"
        assert house.value("/ring/0") == 4

    run_flows(tmp_path, files, test)


def test_what_a_link_carries_on_from_a_run_belongs_to_it(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await put(house, ("/in/a", 1))
        run_id = (await traced(house))[0].run_id
        await house.ended(run_id)
        await until(lambda: not house.work._lives["copy-1"].active)
        entry = house.store.get("/copied")
        assert entry is not None
        await house.store.apply([Set("/in/b", 1)], origin="link:l1", cause=entry.revision, group=run_id)
        await asyncio.sleep(0)
        await until(lambda: house.triggers.idle)
        assert await codes(house) == [("fired", 1), ("loop", 1)]
        await house.store.apply([Set("/in/b", 2)], origin="link:l1", group="gesture-1")
        await asyncio.sleep(0)
        await until(lambda: house.triggers.idle)
        assert (await traced(house))[-1].code == "fired"

    run_flows(tmp_path, {"copy": copy()}, test)


def test_a_fault_of_one_trigger_is_traced_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: Flows) -> None:
        await house.triggers.listed()
        start = house.workflows.start

        async def broken(name: str, *rest: Any, **how: Any) -> Any:
            if name == "slow":
                raise ZeroDivisionError
            return await start(name, *rest, **how)

        monkeypatch.setattr(house.workflows, "start", broken)
        await put(house, ("/in/a", 1))
        assert sorted((each.trigger, each.code) for each in await traced(house)) == [
            ("copy-1", "fired"),
            ("slow-1", "failed"),
        ]

    run_flows(tmp_path, {"copy": copy(), "slow": SLOW.replace("POLICY", "skip")}, test)


def test_a_workflow_that_refuses_is_traced(tmp_path: Path) -> None:
    text = copy().replace("{value: any,", "{value: integer,")

    async def test(house: Flows) -> None:
        await put(house, ("/in/a", "no number"))
        (firing,) = await traced(house)
        assert (firing.code, firing.fired, firing.run_id) == ("refused", False, "")
        assert "PARAMETER_TYPE" in firing.reason

    run_flows(tmp_path, {"copy": text}, test)


class Destroy(Operation):
    """Cannot be taken back."""

    name = "test.destroy"
    summary = "Destroys."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    possible_effects = frozenset((Effect.DESTRUCTIVE,))

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Do it."""
        return Outcome("gone")


def test_what_needs_an_approval_waits_for_it_and_a_trigger_cannot_give_it(tmp_path: Path) -> None:
    text = """
name: destroy
steps: [{id: bang, op: test.destroy}]
triggers: [{on: path, pattern: /in/a}]
"""

    async def test(house: Flows) -> None:
        house.operations.add_operation("", Destroy())
        await put(house, ("/in/a", 1))
        run = await house.runs.get((await traced(house))[0].run_id)
        assert run.state is RunState.AWAITING_APPROVAL
        own = Asker("trigger:destroy-1", "trigger:destroy-1", SCOPES, "trigger")
        with pytest.raises(Denied):
            await house.runs.approve(run.run_id, run.digest, own)
        await house.runs.approve(run.run_id, run.digest, BOSS)
        assert (await house.ended(run.run_id)).state is RunState.SUCCEEDED

    run_flows(tmp_path, {"destroy": text}, test)


def test_traces_are_bounded_survive_and_are_purged(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "workflows").mkdir()
        (tmp_path / "workflows" / "copy.yaml").write_text(copy("concurrent: 64"))
        async with flows(tmp_path, watching=False) as house:
            house.work.traces._kept = 20
            for value in range(40):
                await put(house, ("/in/a", value))
                await house.triggers.firings()
            await put(house, ("/in/a", "a secret"))
            kept = await house.triggers.firings(limit=1000)
            assert len(kept) <= 23
            assert "a secret" in kept[0].reason
            counted = house.work.traces.of("copy-1").fired
            assert counted == 41
            room = FiringRoom(house.db, lambda: house.triggers)
            target = Target(needles=Needles("a secret"))
            items = [item async for batch in room.find(target) for item in batch]
            assert await room.erase(items, "purge") == 1
            assert all("a secret" not in each.reason for each in await house.triggers.firings(limit=1000))
        async with flows(tmp_path, watching=False, start=False) as house:
            await house.triggers.listed()
            assert house.work.traces.of("copy-1").fired == 41

    asyncio.run(main())


def test_what_waits_when_the_daemon_stops_leaves_a_trace(tmp_path: Path) -> None:
    async def first(house: Flows) -> None:
        await put(house, ("/in/a", 1))
        assert await codes(house) == []

    async def then(house: Flows) -> None:
        assert await codes(house) == [("stopped", 1)]

    (tmp_path / "house").mkdir()
    run_flows(tmp_path / "house", {"copy": copy("edge: change; debounce: 1h")}, first)
    (tmp_path / "house" / "workflows" / "copy.yaml").unlink()
    (tmp_path / "house" / "workflows").rmdir()
    run_flows(tmp_path / "house", {}, then)
