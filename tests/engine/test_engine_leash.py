"""What nobody approved does not run: each instruction is kept to the effects it was checked for when the run began."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.engine.test_engine_operations_apps import COMMANDS, Doer, arrive, who
from tests.support.actors import Actor, down, for_ever
from tests.support.operations import OpHouse, operation_house
from tests.support.runs import LOCAL, OWNER

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Denied, FailedPrecondition
from lightfast.engine.apps.bridges import REMOTE
from lightfast.engine.events.log import EventLog
from lightfast.engine.pipeline import runner as pipeline
from lightfast.engine.pipeline.control import Control
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.programs.checked import Plan
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.text import parse
from lightfast.engine.runs.records import ENDED, Run, RunAsk, RunState, StepState
from lightfast.engine.runs.runs import Runs
from lightfast.gateway.routing import candidates
from lightfast.sdk import HARMLESS, Artifact, Effect, Operation, OperationCall, Outcome, Price, Undoing

PICTURE = Artifact("image/png", b"picture", "a.png")
NOT_APPROVED = "EFFECT_NOT_APPROVED"


def near(name: str = "near") -> Actor:
    """Return a provider of pictures on this machine."""
    actor = Actor(name, outputs=("image",))
    actor.local = True
    return actor


def paid(name: str = "p") -> Actor:
    """Return one that costs, elsewhere."""
    actor = Actor(name, outputs=("image",))
    actor._model = replace(actor._model, free=False, prices=(Price("image", 0.04),))
    return actor


class PipelineRunner:
    """The pipeline over the operations of a house."""

    def __init__(self, house: OpHouse, pools: Pools) -> None:
        self.house, self.pools = house, pools

    def control(self) -> Control:
        """Return what steers the next run."""
        return Control()

    async def run(self, made: Any, journal: Any, **how: Any) -> Any:
        """Run it."""
        return await pipeline.run(made, self.house.book, journal, self.pools, world=self.house.book.world, **how)


@dataclass
class Leashed:
    """Runs over a whole house."""

    ops: OpHouse
    runs: Runs

    async def check(self, text: str) -> Plan:
        """Check a program."""
        checker = ProgramChecker(self.ops.book, self.ops.book.world)
        return Plan(await checker.check(parse(text), LOCAL))

    async def start(self, plan: Plan) -> Run:
        """Start it."""
        return await self.runs.start(plan, LOCAL, RunAsk())

    async def until(self, run_id: str) -> Run:
        """Return it when it has ended, or needs somebody."""
        async for _ in self.runs.watch(run_id):
            run = await self.runs.get(run_id)
            if run.state in ENDED or run.state is RunState.NEEDS_YOU:
                return run
        return await self.runs.get(run_id)

    async def done(self, text: str) -> Run:
        """Run it to its end."""
        return await self.until((await self.start(await self.check(text))).run_id)


@asynccontextmanager
async def leashed(folder: Path, *providers: Any, **more: Any) -> AsyncIterator[Leashed]:
    """Open it all."""
    tables: dict[str, dict[str, Any]] = {each.name: {} for each in providers}
    async with operation_house(folder, providers, tables, **more) as ops, opened(ops) as found:
        yield found


@asynccontextmanager
async def opened(ops: OpHouse) -> AsyncIterator[Leashed]:
    """Open runs over a house; twice: the second takes up what the first left."""

    async def settled() -> None:
        return None

    ops.ai.gateway.patience = replace(ops.ai.gateway.patience, again=0, first=0.01)
    pools = Pools({})
    events = await EventLog.open(ops.ai.db, SYSTEM)
    runs = await Runs.open(
        ops.ai.db,
        ops.ai.store,
        events,
        ops.book,
        ops.book.world,
        PipelineRunner(ops, pools),  # type: ignore[arg-type]
        settled=settled,
    )
    runs.begin()
    try:
        yield Leashed(ops, runs)
    finally:
        await runs.close()
        await pools.close()
        await events.close()


PROGRAM = 's1 = generate.image prompt="a sunset" path=/show/poster'


async def test_a_key_that_comes_before_it_runs_changes_nothing(tmp_path: Path) -> None:
    local, dear = near("z"), paid("a")
    async with leashed(tmp_path, local) as house:
        plan = await house.check(PROGRAM)
        assert not plan.checked.needs_approval
        assert plan.checked.effects == {"s1": {Effect.REVERSIBLE}}
        house.ops.ai.gateway.register(dear, "a")
        local.plays(PICTURE)
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, len(local.requests), dear.requests) == (RunState.SUCCEEDED, 1, [])


async def test_no_paid_model_stands_in_for_a_free_one(tmp_path: Path) -> None:
    local, dear = near().plays(down("broken")), paid()
    async with leashed(tmp_path, local, dear, fallbacks={"image": ("p/one",)}) as house:
        plan = await house.check(PROGRAM)
        assert not plan.checked.needs_approval
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, dear.requests) == (RunState.FAILED, [])
        assert "broken" in run.reason


async def test_without_the_model_that_was_checked_it_fails_and_says_what_to_do(tmp_path: Path) -> None:
    local, dear = near(), paid()
    async with leashed(tmp_path, local) as house:
        plan = await house.check(PROGRAM)
        house.ops.ai.gateway.unregister(local)
        house.ops.ai.gateway.register(dear, "p")
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, run.steps[0].reason, dear.requests) == (RunState.FAILED, NOT_APPROVED, [])
        assert "start it again" in run.reason


@pytest.mark.parametrize("model", ["fast", "best", "cheap", "mine"])
async def test_an_alias_is_kept_to_what_it_led_to(tmp_path: Path, model: str) -> None:
    local, dear = near("z"), paid("a")
    async with leashed(tmp_path, local, aliases={"mine": ("a/one", "z/one")}) as house:
        plan = await house.check(f"{PROGRAM} model={model}")
        assert not plan.checked.mistakes
        assert not plan.checked.needs_approval
        house.ops.ai.gateway.register(dear, "a")
        local.plays(PICTURE)
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, len(local.requests), dear.requests) == (RunState.SUCCEEDED, 1, [])


async def test_a_paid_first_choice_asks_by_its_name_and_price(tmp_path: Path) -> None:
    dear, local = paid().plays(PICTURE), near()
    async with leashed(tmp_path, dear, local) as house:
        plan = await house.check(PROGRAM)
        (reason,) = plan.checked.approval_reasons.values()
        assert reason == (
            "s1: p/one (or near/one) making an image costs up to $0.04, and sends what it is given to another machine"
        )
        run = await house.start(plan)
        assert run.state is RunState.AWAITING_APPROVAL
        await house.runs.approve(run.run_id, run.digest, OWNER)
        assert ((await house.until(run.run_id)).state, len(dear.requests)) == (RunState.SUCCEEDED, 1)


async def test_a_model_that_is_named_by_an_earlier_step_is_not_used_unless_it_was_approved(tmp_path: Path) -> None:
    dear = paid()
    text = f"s0 = value.compute \"'p/one'\"\n{PROGRAM} model=${{s0}}"
    async with leashed(tmp_path, near(), dear) as house:
        plan = await house.check(text)
        assert plan.checked.needs_approval  # nobody knows which model it will be
        free = replace(
            plan, checked=replace(plan.checked, approval_reasons={}, effects={"s1": frozenset({Effect.REVERSIBLE})})
        )
        run = await house.until((await house.start(free)).run_id)
        assert (run.state, run.steps[1].reason, dear.requests) == (RunState.FAILED, NOT_APPROVED, [])


class Changing(Operation):
    """A plugin's operation of which it changes what it does."""

    name = "test.changing"
    summary = "Does what the world says."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    possible_effects = frozenset(Effect)
    now: frozenset[Effect] = frozenset((Effect.REVERSIBLE,))

    def __init__(self) -> None:
        self.calls: list[OperationCall] = []

    def effects(self, arguments: Mapping[str, Any], world: Any) -> frozenset[Effect]:
        """Return what it does now; what `what` says wins."""
        if "what" in arguments and "$" not in arguments["what"]:
            return frozenset((Effect(arguments["what"]),))
        return self.now

    def repeatable(self, arguments: Mapping[str, Any], world: Any) -> bool:
        """Say yes."""
        return True

    async def perform(self, call: OperationCall, bench: Any) -> Outcome:
        """Do it."""
        self.calls.append(call)
        if call.arguments.get("fail"):
            raise down("try again")
        return Outcome("done", undo=Undoing("test.changing", call.arguments.get("undo", {})))


LOUD = sorted(set(Effect) - {Effect.READ, Effect.REVERSIBLE})
SHAPES = {
    "alone": "s1 = test.changing",
    "in a branch": "b1 = flow.branch (true)\n  then:\n    s1 = test.changing",
    "in a map": "m1 = flow.map [1, 2]\n  s1 = test.changing",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("effect", LOUD, ids=str)
async def test_what_does_more_now_than_when_it_was_checked_is_not_performed(
    tmp_path: Path, effect: Effect, shape: str
) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()
        house.ops.book.add_operation("test", changing)
        plan = await house.check(SHAPES[shape])
        assert not plan.checked.mistakes
        assert not plan.checked.needs_approval
        changing.now = frozenset((effect,))
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, changing.calls) == (RunState.FAILED, [])
        assert NOT_APPROVED in {step.reason for step in run.steps}


async def test_what_reads_may_not_begin_to_write(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()
        house.ops.book.add_operation("test", changing)
        changing.now = frozenset((Effect.READ,))
        plan = await house.check("s1 = test.changing")
        changing.now = frozenset((Effect.REVERSIBLE,))
        run = await house.until((await house.start(plan)).run_id)
        assert (run.steps[0].reason, changing.calls) == (NOT_APPROVED, [])


async def test_a_reference_that_turns_into_more_is_stopped(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()
        house.ops.book.add_operation("test", changing)
        run = await house.done("s0 = value.compute \"'destructive'\"\ns1 = test.changing what=${s0}")
        assert (run.state, run.steps[1].reason, changing.calls) == (RunState.FAILED, NOT_APPROVED, [])


async def test_each_call_knows_what_it_may_do(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()
        house.ops.book.add_operation("test", changing)
        await house.done("s1 = test.changing")
        assert [call.effects for call in changing.calls] == [{Effect.READ, Effect.REVERSIBLE}]


async def test_a_retry_is_checked_again(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()

        async def perform(call: OperationCall, bench: Any) -> Outcome:
            changing.calls.append(call)
            changing.now = frozenset((Effect.DESTRUCTIVE,))
            error = down("try again")
            error.retryable = True
            raise error

        changing.perform = perform  # type: ignore[method-assign]
        house.ops.book.add_operation("test", changing)
        run = await house.done("s1 = test.changing retries=3")
        assert (run.state, run.steps[0].reason, len(changing.calls)) == (RunState.FAILED, NOT_APPROVED, 1)


UNDOS = {
    "spend": {"what": "spend"},
    "network": {"what": "network"},
    "destructive": {"what": "destructive"},
}


@pytest.mark.parametrize("what", UNDOS)
async def test_what_takes_a_step_back_does_no_more_than_the_step(tmp_path: Path, what: str) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()
        house.ops.book.add_operation("test", changing)
        run = await house.done(f"s1 = test.changing undo={json.dumps(UNDOS[what])}")
        assert run.state is RunState.SUCCEEDED
        assert len(changing.calls) == 1
        async for _ in house.runs.rollback(run.run_id, LOCAL):
            pass
        (step,) = (await house.runs.get(run.run_id)).steps
        assert step.state is StepState.STUCK
        assert "was not checked and approved" in step.stuck
        assert len(changing.calls) == 1


async def test_what_is_harmless_takes_a_step_back(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        changing = Changing()
        house.ops.book.add_operation("test", changing)
        run = await house.done("s1 = test.changing")
        async for _ in house.runs.rollback(run.run_id, LOCAL):
            pass
        assert [call.key for call in changing.calls] == [f"{run.run_id}/s1", f"{run.run_id}/s1/undo"]


async def test_a_run_that_is_taken_up_is_kept_to_what_was_checked(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as ops:
        changing = Changing()
        ops.book.add_operation("test", changing)
        begun = asyncio.Event()

        async def wait(call: OperationCall, bench: Any) -> Outcome:
            begun.set()
            await for_ever()
            return Outcome()

        plain = changing.perform
        changing.perform = wait  # type: ignore[method-assign]
        async with opened(ops) as house:
            run = await house.start(await house.check("s1 = test.changing\ns2 = test.changing after=s1"))
            await begun.wait()
        changing.perform = plain  # type: ignore[method-assign]
        changing.now = frozenset((Effect.SPEND,))
        async with opened(ops) as house:  # it may have happened: a person looks
            run = await house.until(run.run_id)
            assert (run.state, changing.calls) == (RunState.NEEDS_YOU, [])
            with pytest.raises(Denied) as error:
                await house.runs.resolve(run.run_id, "s1", "REPEAT", replace(OWNER, via="mcp"))
            assert error.value.reason == "APPROVAL_DOOR"
            run = await house.runs.resolve(run.run_id, "s1", "REPEAT", OWNER)
            run = await house.until(run.run_id)
            assert (run.state, run.steps[0].reason, changing.calls) == (RunState.FAILED, NOT_APPROVED, [])


async def test_a_command_that_has_become_another_is_refused(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        app = Doer()
        await arrive(house.ops, app, "i1")
        plan = await house.check("s1 = app.command /live play")
        assert not plan.checked.needs_approval
        worse = tuple(replace(each, effect="destructive") if each.name == "play" else each for each in COMMANDS)
        app.session = house.ops.rooms.registry.hello(replace(who("i1"), commands=worse), app)
        app.report_all()
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, run.steps[0].reason, app.done) == (RunState.FAILED, NOT_APPROVED, [])


@pytest.mark.parametrize("how", ["destructive", "far"])
async def test_a_command_is_checked_once_more_when_it_is_sent(tmp_path: Path, how: str) -> None:
    async with leashed(tmp_path) as house:
        app = Doer()
        await arrive(house.ops, app, "i1", *((REMOTE,) if how == "far" else ()))
        name = "play" if how == "far" else "unmake"
        call = house.ops.call({"app": "/live", "command": name}, effects=HARMLESS)
        with pytest.raises(FailedPrecondition) as error:
            await house.ops.find("app.command").perform(call, house.ops.bench)
        assert (error.value.reason, app.done) == (NOT_APPROVED, [])


async def test_a_command_is_taken_back_in_its_own_application(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        app = Doer()
        await arrive(house.ops, app, "i1")
        run = await house.done('s1 = app.command /live make arguments={"name": "a"}')
        assert run.state is RunState.SUCCEEDED
        async for _ in house.runs.rollback(run.run_id, LOCAL):
            pass
        assert [name for name, _ in app.done] == ["make", "unmake"]


class Silent(Actor):
    """A service that takes its time to say which models it has."""

    async def discover(self, session: Any) -> Any:
        """Say nothing."""
        await for_ever()


async def test_who_has_not_answered_yet_is_not_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "PATIENCE_S", 0.05)
    silent, local = Silent("a", outputs=("image",)), near("z")
    silent._model = paid()._model
    async with leashed(tmp_path, silent, local) as house:
        plan = await house.check(PROGRAM)
        assert not plan.checked.needs_approval
        known = {model.name: model.available for model in house.ops.book.world.models("image")}
        assert known == {"a/one": False, "z/one": True}
        routing: Any = house.ops.ai.gateway.candidates
        assert routing.discovery.pending("a")
        routing.discovery.answered("a")  # it answers, and would be tried first by now
        assert (await house.check(PROGRAM)).checked.needs_approval
        local.plays(PICTURE)
        run = await house.until((await house.start(plan)).run_id)
        assert (run.state, len(local.requests), silent.requests) == (RunState.SUCCEEDED, 1, [])


async def test_embedding_is_kept_to_what_was_checked(tmp_path: Path) -> None:
    local, dear = near("z"), paid("a")
    for each in (local, dear):
        each._model = replace(each._model, outputs=("embedding",))
    async with leashed(tmp_path, local) as house:
        plan = await house.check('s1 = embed.texts texts=["a"]')
        assert not plan.checked.needs_approval
        house.ops.ai.gateway.register(dear, "a")
        run = await house.until((await house.start(plan)).run_id)
        assert dear.requests == []
        assert run.steps[0].reason != "", run  # an actor makes no vectors


async def test_what_the_house_made_is_deleted_when_it_is_taken_back(tmp_path: Path) -> None:
    async with leashed(tmp_path) as house:
        run = await house.done("s0 = context.set /a 1\ns1 = scene.save name=opening after=s0")
        assert run.state is RunState.SUCCEEDED, run.reason
        async for _ in house.runs.rollback(run.run_id, LOCAL):
            pass
        run = await house.runs.get(run.run_id)
        assert [step.state for step in run.steps] == [StepState.UNDONE, StepState.UNDONE]


async def test_the_bound_that_was_approved_holds(tmp_path: Path) -> None:
    dear = paid().plays(down("broken"))
    async with leashed(tmp_path, dear) as house:
        run = await house.start(await house.check(PROGRAM))
        assert run.max_cost_usd == pytest.approx(0.04)
        dearer = paid("q")
        dearer._model = replace(dearer._model, prices=(Price("image", 5.0),))
        house.ops.ai.gateway.register(dearer, "q")
        await house.runs.approve(run.run_id, run.digest, OWNER)
        run = await house.until(run.run_id)
        assert (run.state, len(dear.requests), dearer.requests) == (RunState.FAILED, 1, [])
