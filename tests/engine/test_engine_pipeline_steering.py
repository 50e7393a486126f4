"""Pause, resume, cancel, deadlines, retries, failures: what a run leaves behind is true and in order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pipeline_programs import programs
from tests.support.pipelines import NO_WORLD, Act, Book, Memory, Outside, Serial, idle

from lightfast.core.errors import Exhausted
from lightfast.engine.pipeline import machine
from lightfast.engine.pipeline.control import Control
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.pipeline.runner import run
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import StepState
from lightfast.sdk import Effect, Outcome


@pytest.fixture(autouse=True, scope="module")
def _soon() -> Any:
    before = machine.BACKOFF_S
    machine.BACKOFF_S = 0.0005
    yield
    machine.BACKOFF_S = before


async def piped(program: Program, journal: Memory, book: Book, **how: Any) -> RunEnd:
    """Run a program in the pipeline, with what the journal has."""
    given_ = {"world": NO_WORLD, "recorded": dict(journal.rows), **how}
    pools = given_.pop("pools", None) or Pools()
    return await run(program, book, journal, pools, run_id="r", origin="run:r", **given_)


async def steer(program: Program, moves: list[tuple[str, int]]) -> tuple[RunEnd, Memory, Book]:
    """Run a program while somebody pauses and resumes it, and at last cancels it or lets it go on."""
    journal, book, control = Memory(delay=1), Book(), Control()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(piped(program, journal, book, control=control))
        for move, turns in moves:
            await idle(turns)
            {"pause": control.pause, "resume": control.resume, "cancel": control.cancel}[move]()
        if not any(move == "cancel" for move, _ in moves):
            control.resume()
        end = await task
    return end, journal, book


MOVES = st.lists(st.tuples(st.sampled_from(("pause", "resume")), st.integers(0, 30)), max_size=6)


@given(programs(most=8), MOVES)
@settings(max_examples=100, deadline=None)
def test_pausing_changes_nothing(program: Program, moves: list[tuple[str, int]]) -> None:
    serial = Serial(Book())
    asyncio.run(serial.run(program))
    end, journal, book = asyncio.run(steer(program, moves))
    assert (end.state == "FAILED") is bool(serial.failed)
    assert journal.values == serial.values
    if not serial.failed:
        assert journal.order == serial.order
        assert book.outside.done == serial.book.outside.done


@given(programs(most=8, faults=True), MOVES, st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_what_is_cancelled_is_in_order_and_on_record(
    program: Program, moves: list[tuple[str, int]], turns: int
) -> None:
    serial = Serial(Book())
    asyncio.run(serial.run(program))
    end, journal, book = asyncio.run(steer(program, [*moves, ("cancel", turns)]))
    if end.state == "SUCCEEDED":
        assert journal.values == serial.values
        return
    assert end.state in ("CANCELLED", "FAILED")
    whole = [name for name in journal.order if "acted before" not in journal.rows[name].message]
    done = [name for name in whole if journal.rows[name].state in (StepState.DONE, StepState.SKIPPED)]
    assert done == [name for name in serial.order if name in done], "in program order"
    acted = {key.removeprefix("r/") for key in book.outside.keys}
    assert acted <= set(journal.rows), "whatever acted is on record"
    assert not [step for step in journal.rows.values() if step.state is StepState.STARTED], "nothing is left open"
    assert not book.outside.under_way


def act(identity: str, **arguments: Any) -> Instruction:
    """Return an act on a thing of its own."""
    return Instruction(identity, "act", {"thing": identity, "what": 1, **arguments})


async def test_a_paused_run_may_be_left_and_taken_up() -> None:
    journal, book, control = Memory(), Book(), Control()
    control.pause(leave=True)
    program = Program((act("s1"), act("s2")))
    assert (await piped(program, journal, book, control=control)).state == "PAUSED"
    assert not journal.history
    assert (await piped(program, journal, book)).state == "SUCCEEDED"


async def test_a_failure_ends_what_is_later_and_lets_end_what_is_earlier() -> None:
    early = Instruction("s1", "slow.get", {"pattern": "/x", "delay": 30})
    bad = act("s2", fails=True, delay=5)
    done = act("s3", path="/left/out")
    slow = act("s4", delay=100_000)
    stays = Instruction("s5", "context.set", {"path": "/y", "value": 1})
    never = act("s6", delay=0)
    after = Instruction("s7", "act", {"thing": "s7", "what": 1}, after=("s3",))
    journal, book = Memory(), Book()
    end = await piped(Program((early, bad, done, slow, stays, never, after)), journal, book)
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s2", "UNWILLING")
    rows = journal.rows
    assert rows["s1"].state is StepState.DONE
    assert (rows["s2"].state, rows["s2"].error) == (StepState.FAILED, "it does not want to")
    assert rows["s3"].state is StepState.DONE
    assert "left out" in rows["s3"].message
    assert (rows["s4"].state, rows["s4"].reason) == (StepState.FAILED, "CANCELLED")
    assert rows["s6"].state is StepState.DONE
    assert "s5" not in rows
    assert "s7" not in rows
    assert journal.values == {}, "what was to be committed after it is not"


async def test_a_refused_commit_fails_its_step() -> None:
    bad = Instruction("s1", "context.set", {"path": "/a", "value": "refused"}, on_failure="continue")
    reads = Instruction("s2", "context.set", {"path": "/b", "value": [1]}, when="s1 == null")
    worse = Instruction("s3", "context.set", {"path": "/a", "value": "refused"})
    last = Instruction("s4", "context.set", {"path": "/c", "value": 1})
    journal = Memory()
    end = await piped(Program((bad, reads, worse, last)), journal, Book())
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s3", "REFUSED")
    assert journal.values == {"/b": [1]}
    assert [journal.rows[name].state for name in ("s1", "s2", "s3")] == ["FAILED", "DONE", "FAILED"]


async def test_only_what_may_be_done_again_is_tried_again() -> None:
    keyed = Instruction("s1", "act.keyed", {"thing": "a", "what": 1, "passing": 2}, retries=2)
    once = Instruction("s2", "act", {"thing": "b", "what": 1, "passing": 1}, retries=2, on_failure="continue")
    short = Instruction("s3", "act.keyed", {"thing": "c", "what": 1, "passing": 2}, retries=1)
    journal, book = Memory(), Book()
    end = await piped(Program((keyed, once, short)), journal, book)
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s3", "UNAVAILABLE")
    assert [journal.rows[name].attempts for name in ("s1", "s2", "s3")] == [3, 1, 2]
    assert [step.attempts for kind, step in journal.history if kind == "started" and step.step_id == "s1"] == [1, 2, 3]


async def test_a_step_and_a_run_have_their_deadlines() -> None:
    journal, book = Memory(), Book()
    slow = Instruction("s1", "act", {"thing": "a", "delay": 10**9}, timeout=0.05)
    end = await piped(Program((slow,)), journal, book)
    assert (end.state, end.reason) == ("FAILED", "DEADLINE_EXCEEDED")
    assert "0.05 s" in end.error
    assert not book.outside.under_way

    journal = Memory()
    end = await piped(Program((act("s1", delay=10**9), act("s2"))), journal, book, deadline_s=1.0)
    assert (end.state, end.reason, end.failed_step) == ("FAILED", "DEADLINE_EXCEEDED", "")
    assert journal.rows["s1"].reason == "CANCELLED"
    assert journal.rows["s2"].state is StepState.DONE


async def test_what_will_not_end_is_unknown() -> None:
    free = asyncio.Event()

    class Stubborn(Act):
        async def perform(self, call: Any, bench: Any) -> Outcome:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue
            return Outcome()

    outside, control, journal = Outside(), Control(), Memory()
    book = Book(Stubborn(outside, "stubborn"), outside=outside)
    program = Program((Instruction("s1", "stubborn", {"thing": "a"}),))
    task = asyncio.create_task(piped(program, journal, book, control=control, stop_s=0.05))
    try:
        while "s1" not in journal.rows:
            await asyncio.sleep(0)
        control.cancel("enough")
        end = await task
    finally:
        free.set()  # else nothing ends it, and the loop waits for it
    assert (end.state, end.error, end.unknown) == ("CANCELLED", "enough", ("s1",))
    assert journal.rows["s1"].state is StepState.UNKNOWN


@pytest.mark.parametrize("how", ["exit", "cancel", "nothing", "object", "raise"])
async def test_a_rude_plugin_fails_its_step_and_nothing_else(how: str) -> None:
    rude = Instruction("s1", "rude", {"how": how}, on_failure="continue")
    journal = Memory()
    end = await piped(Program((rude, act("s2"))), journal, Book())
    assert end.state == "SUCCEEDED"
    reason = {"nothing": "OPERATION_BROKEN", "object": "OPERATION_BROKEN", "cancel": "CANCELLED"}
    assert journal.rows["s1"].reason == reason.get(how, "OPERATION_FAILED")
    assert journal.rows["s2"].state is StepState.DONE


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (Instruction("s1", "no.such"), "OPERATION_UNKNOWN"),
        (Instruction("s1", "context.set", {"path": "${nobody}", "value": 1}), "REFERENCE_UNKNOWN"),
        (Instruction("s1", "context.set", {"path": "${", "value": 1}), "REFERENCE_INVALID"),
        (Instruction("s1", "context.set", {"path": "/a", "value": 1}, when="1 +"), "EXPRESSION_INVALID"),
        (Instruction("s1", "value.compute", {"expression": "1 / 0"}), "EXPRESSION_FAILED"),
        (Instruction("s1", "flow.map", {"items": 3}, blocks={"do": ()}), "MAP_ITEMS"),
        (Instruction("s1", "flow.map", {"items": [1], "parallel": "x"}, blocks={"do": ()}), "MAP_PARALLEL"),
        (Instruction("s1", "flow.branch", {}, blocks={"then": ()}), "EXPRESSION_INVALID"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_cannot_be_decoded_fails_its_step(instruction: Instruction, reason: str) -> None:
    journal = Memory()
    end = await piped(Program((act("s0"), instruction, act("s2"))), journal, Book())
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s1", reason)
    assert journal.rows["s0"].state is StepState.DONE
    assert journal.rows["s1"].state is StepState.FAILED


async def test_names_may_be_given_to_an_expression() -> None:
    one = Instruction("s1", "value.compute", {"expression": "params.n + 1"})
    two = Instruction("s2", "value.compute", {"expression": "it * s1", "names": {"it": "${s1}"}})
    journal = Memory()
    end = await piped(Program((one, two), parameters={"n": 2}, returns="n = ${s2}"), journal, Book())
    assert end.result == "n = 9"
    assert journal.rows["s2"].result == 9


async def test_a_budget_is_never_exceeded() -> None:
    given_: list[float] = []

    class Dear(Act):
        possible_effects = frozenset((Effect.SPEND,))

        def cost(self, arguments: Any, world: Any) -> float | None:
            return cast("float | None", arguments.get("most"))

        async def perform(self, call: Any, bench: Any) -> Outcome:
            given_.append(call.budget_usd)
            await idle(3)
            return Outcome(cost_usd=min(call.budget_usd, 0.4))

    outside = Outside()
    book = Book(Dear(outside, "dear"), outside=outside)
    costs: list[dict[str, Any]] = [{"most": 0.3}, {"most": 0.3}, {}, {"most": 0.3}]
    program = Program(tuple(Instruction(f"s{n}", "dear", {"thing": n, **each}) for n, each in enumerate(costs)))
    journal = Memory()
    end = await piped(program, journal, book, budget_usd=1.0)
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s3", "BUDGET_EXHAUSTED")
    assert given_ == pytest.approx([0.3, 0.3, 0.4])
    assert sum(step.cost_usd for step in journal.rows.values()) == pytest.approx(1.0)


async def test_a_journal_that_fails_ends_the_run() -> None:
    class Full(Memory):
        async def committed(self, step: Any, changes: Any) -> int:
            raise Exhausted("the disk is full", reason="DISK_FULL")

        async def ended(self, step: Any) -> None:
            raise Exhausted("the disk is full", reason="DISK_FULL")

    end = await piped(Program((act("s1"), act("s2", delay=10**9))), Full(), book := Book())
    assert (end.state, end.reason) == ("FAILED", "DISK_FULL")
    assert not book.outside.under_way


async def test_rows_that_change_nothing_go_together_and_changes_alone() -> None:
    class Slow(Memory):
        most = 0

        async def committed(self, step: Any, changes: Any) -> int:
            self.most = max(self.most, self.committing + 1)
            return await super().committed(step, changes)

    reads = tuple(Instruction(f"r{n}", "context.get", {"pattern": f"/x/{n}"}) for n in range(5))
    sets = tuple(Instruction(f"s{n}", "context.set", {"path": f"/x/{n}", "value": n}) for n in range(5))
    journal = Slow(delay=4)
    program = Program((*reads, *sets))
    assert (await piped(program, journal, Book())).state == "SUCCEEDED"
    assert journal.order == [each.id for each in program.instructions]
    assert journal.most == 5


async def test_a_row_that_is_refused_among_others_fails_its_step() -> None:
    class Once(Memory):
        async def committed(self, step: Any, changes: Any) -> int:
            if step.step_id == "s2":
                raise Exhausted("too much to do", reason="STORE_BUSY")
            return await super().committed(step, changes)

    reads = tuple(Instruction(f"s{n}", "context.get", {"pattern": "/x"}) for n in (1, 2, 3))
    journal, book = Once(delay=3), Book()
    end = await piped(Program((*reads, act("s4", delay=50, path="/y"))), journal, book)
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s2", "STORE_BUSY")
    assert journal.rows["s1"].state is StepState.DONE
    assert journal.rows["s2"].state is StepState.FAILED
    assert journal.values == {}
    assert not book.outside.under_way


async def test_turns_of_a_map_overlap_as_far_as_it_says() -> None:
    for parallel, most in ((0, 6), (1, 1), (2, 2)):
        body = (
            Instruction("a", "act", {"thing": "${item}", "what": "${index}", "delay": 20}),
            Instruction("b", "context.set", {"path": "/turn/${index}", "value": "${a.did}"}),
        )
        each = Instruction("s1", "flow.map", {"items": list("uvwxyz"), "parallel": parallel}, blocks={"do": body})
        journal, book = Memory(), Book()
        end = await piped(Program((each,), returns="s1"), journal, book)
        assert end.result == [f"/turn/{n}" for n in range(6)]
        assert journal.values == {f"/turn/{n}": str(n) for n in range(6)}
        assert book.outside.most == most
