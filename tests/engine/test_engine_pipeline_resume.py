"""A run that is cut off at any record of its journal and taken up ends as one that was not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pipeline_programs import programs
from tests.support.pipelines import NO_WORLD, Act, Book, Memory, Outside, Serial

from lightfast.core.errors import Unavailable
from lightfast.engine.pipeline import machine
from lightfast.engine.pipeline.control import Control
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.pipeline.runner import run
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import Step, StepState
from lightfast.sdk import Outcome


@pytest.fixture(autouse=True, scope="module")
def _soon() -> Any:
    before = machine.BACKOFF_S
    machine.BACKOFF_S = 0.0005
    yield
    machine.BACKOFF_S = before


async def piped(program: Program, journal: Memory, book: Book, **how: Any) -> RunEnd:
    """Run a program in the pipeline, with what the journal has."""
    recorded = dict(journal.rows)
    return await run(
        program, book, journal, Pools(), run_id="r", origin="run:r", world=NO_WORLD, recorded=recorded, **how
    )


async def until_dead(program: Program, journal: Memory, book: Book) -> RunEnd | None:
    """Run until the daemon dies; return the end, if it came first."""
    task = asyncio.create_task(piped(program, journal, book))
    death = asyncio.create_task(journal.dead.wait())
    done, _ = await asyncio.wait((task, death), timeout=60, return_when=asyncio.FIRST_COMPLETED)
    death.cancel()
    assert done, f"the run neither ended nor died: {journal.rows}"
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(60):
            await task
    return None


async def cut_everywhere(program: Program, delay: int) -> None:
    """Cut a program at every record, and compare."""
    whole, book = Memory(delay=delay), Book()
    end = await piped(program, whole, book)
    for before in (False, True):
        for cut in range(1, whole.records + 1):
            outside = Outside()
            journal = Memory(cut, before=before, delay=delay)
            assert await until_dead(program, journal, Book(outside=outside)) is None, "it died"
            again = journal.again()
            second = await piped(program, again, Book(outside=outside))
            where = (cut, before)
            assert second == end, where
            assert again.values == whole.values, where
            assert again.order == whole.order, where
            assert results(again) == results(whole), where
            assert dict(outside.done) == dict(book.outside.done), where


def results(journal: Memory) -> dict[str, Any]:
    """Return what the rows say, but how often it was tried."""
    return {name: (step.state, step.result, step.reason) for name, step in journal.rows.items()}


@given(programs(most=6), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_a_run_that_is_taken_up_ends_as_if_nothing_had_been(program: Program, delay: int) -> None:
    serial = Serial(Book())
    asyncio.run(serial.run(program))
    if not serial.failed:  # one that failed is not taken up
        asyncio.run(cut_everywhere(program, delay))


@given(programs(most=8, faults=True))
@settings(max_examples=100, deadline=None)
def test_the_records_are_the_run(program: Program) -> None:
    """A run that is replayed from all its records performs nothing, and ends the same."""

    async def body() -> None:
        journal, book = Memory(), Book()
        end = await piped(program, journal, book)
        if end.state != "SUCCEEDED":
            return
        again, second = journal.again(), Book()
        assert await piped(program, again, second) == end
        assert not again.history, "nothing is written again"
        assert not second.outside.done
        assert not again.reads

    asyncio.run(body())


def states(journal: Memory) -> list[str]:
    """Return the states of all rows, in the order of the steps."""
    return [str(journal.rows[name].state) for name in sorted(journal.rows)]


def acting(*operations: str) -> Program:
    """Return a program of independent acts."""
    return Program(
        tuple(
            Instruction(f"s{n}", op, {"thing": f"t{n}", "what": n, "path": f"/done/{n}"})
            for n, op in enumerate(operations, 1)
        )
    )


async def test_what_cannot_be_known_needs_a_person() -> None:
    program = acting("act", "act.blind", "act.keyed", "act.blind")
    journal, outside = Memory(), Outside()
    journal.rows = {
        "s2": Step("s2", "act.blind", StepState.STARTED, attempts=1),
        "s3": Step("s3", "act.keyed", StepState.STARTED, attempts=1),
        "s4": Step("s4", "act.blind", StepState.STARTED, attempts=1),
    }
    outside.do("t3", "r/s3", "s3:3")
    end = await piped(program, journal, Book(outside=outside))
    assert end.state == "NEEDS_YOU"
    assert end.unknown == ("s2", "s4")
    assert states(journal) == ["DONE", "UNKNOWN", "STARTED", "UNKNOWN"], "what is before it is committed, in order"
    assert "cannot be known" in journal.rows["s2"].error
    assert outside.done["t3"] == ["s3:3"], "it was asked with the same key, and did nothing again"

    journal.rows["s2"] = Step("s2", "act.blind", StepState.DONE, attempts=1)
    end = await piped(program, journal, Book(outside=outside))
    assert (end.state, end.unknown) == ("NEEDS_YOU", ("s4",))
    assert states(journal) == ["DONE", "DONE", "DONE", "UNKNOWN"]
    assert journal.values["/done/3"] == "3"

    journal.rows["s4"] = Step("s4", "act.blind", StepState.PENDING)
    end = await piped(program, journal, Book(outside=outside))
    assert end.state == "SUCCEEDED"
    assert outside.done == {"t1": ["s1:1"], "t3": ["s3:3"], "t4": ["s4:4"]}


async def test_what_a_former_daemon_began_is_unknown_when_the_run_is_cancelled() -> None:
    block = (Instruction("a", "act", {"thing": "t", "what": 1}),)
    branch = Instruction("s2", "flow.branch", {"condition": "true"}, blocks={"then": block})
    program = Program((Instruction("s1", "act", {"thing": "u", "what": 1}), branch))
    journal, book, control = Memory(), Book(), Control()
    journal.rows = {
        "s1": Step("s1", "act", StepState.STARTED, attempts=1),
        "s2": Step("s2", "flow.branch", StepState.STARTED, attempts=1, note='{"block": "then"}'),
        "s2.then.a": Step("s2.then.a", "act", StepState.STARTED, attempts=1),
    }
    control.cancel("enough")
    end = await piped(program, journal, book, control=control)
    assert (end.state, end.unknown) == ("CANCELLED", ("s1", "s2.then.a"))
    assert states(journal) == ["UNKNOWN", "FAILED", "UNKNOWN"]
    assert not book.outside.done


async def test_what_an_operation_does_not_know_needs_a_person() -> None:
    class Unsure(Act):
        async def perform(self, call: Any, bench: Any) -> Any:
            raise Unavailable("it was restarted in between", reason="OUTCOME_UNKNOWN")

    outside, journal = Outside(), Memory()
    unsure = Instruction("s1", "unsure", {"thing": "a", "what": 1}, retries=3)
    plain = Instruction("s2", "act.blind", {"thing": "b", "what": 2})
    fails = Instruction("s3", "act.blind", {"thing": "c", "what": 3, "fails": True}, on_failure="continue")
    program = Program((unsure, plain, fails, Instruction("s4", "act", {"thing": "a", "what": 4})))
    book = Book(Unsure(outside, "unsure", keyed=True), outside=outside)
    end = await piped(program, journal, book)
    assert (end.state, end.unknown) == ("NEEDS_YOU", ("s1",))
    assert states(journal) == ["UNKNOWN", "DONE", "FAILED"], "what is known is on record"
    journal.rows["s1"] = Step("s1", "unsure", StepState.SKIPPED)
    end = await piped(program, journal, book)
    assert end.state == "SUCCEEDED"
    assert outside.done == {"b": ["s2:2"], "a": ["s4:4"]}


async def test_nothing_new_is_begun_after_a_doubt() -> None:
    program = acting("act.blind", "act", "act")
    journal, outside = Memory(), Outside()
    journal.rows = {"s1": Step("s1", "act.blind", StepState.UNKNOWN, attempts=1)}
    end = await piped(program, journal, Book(outside=outside))
    assert (end.state, end.unknown, end.reason) == ("NEEDS_YOU", ("s1",), "STEP_UNKNOWN")
    assert not outside.done
    assert not journal.history


async def test_an_act_is_on_the_disk_before_it_happens() -> None:
    seen: list[tuple[str, bool]] = []
    journal = Memory(delay=3)

    class Spy(Act):
        async def perform(self, call: Any, bench: Any) -> Any:
            seen.append((call.step_id, journal.rows[call.step_id].state is StepState.STARTED))
            await bench.keep("job-7")
            assert journal.rows[call.step_id].note == "job-7"
            return await super().perform(call, bench)

    outside = Outside()
    program = acting("spy", "spy")
    end = await piped(program, journal, Book(Spy(outside, "spy"), outside=outside))
    assert end.state == "SUCCEEDED"
    assert sorted(seen) == [("s1", True), ("s2", True)]


async def test_a_note_comes_back_with_its_key() -> None:
    seen: list[tuple[str, str, int]] = []
    outside = Outside()

    class Spy(Act):
        async def perform(self, call: Any, bench: Any) -> Any:
            seen.append((call.key, call.note, call.attempt))
            return await super().perform(call, bench)

    journal = Memory()
    journal.rows = {"s1": Step("s1", "spy", StepState.STARTED, note="job-7", attempts=1)}
    end = await piped(acting("spy"), journal, Book(Spy(outside, "spy", keyed=True), outside=outside))
    assert end.state == "SUCCEEDED"
    assert seen == [("r/s1", "job-7", 1)]


async def test_a_step_goes_on_with_the_arguments_it_was_begun_with() -> None:
    """What it was told was read by a step that was not committed yet, and has changed since."""
    read = Instruction("s1", "slow.get", {"pattern": "/told"})
    tell = Instruction("s2", "act", {"thing": "t", "what": "${s1.told}"})
    journal, outside = Memory(), Outside()
    journal.values["/told"] = "anew"
    journal.rows = {"s2": Step("s2", "act", StepState.STARTED, '{"thing":"t","what":"before"}', attempts=1)}
    end = await piped(Program((read, tell)), journal, Book(outside=outside))
    assert end.state == "SUCCEEDED"
    assert outside.done["t"] == ["s2:before"]
    assert journal.rows["s2"].arguments == '{"thing":"t","what":"before"}'


@pytest.mark.parametrize("delay", [0, 1, 3])
async def test_what_was_read_before_an_act_is_on_the_disk_before_it(delay: int) -> None:
    """A step that reads is performed again unless it is committed; then it must not see what a later one did."""
    slow = Instruction("s1", "slow.get", {"pattern": "/x", "delay": 40})
    peek = Instruction("s2", "peek", {"thing": "lamp", "delay": 1})
    act = Instruction("s3", "act", {"thing": "lamp", "what": 1})
    again = Instruction("s4", "act.keyed", {"thing": "lamp", "what": 2})
    await cut_everywhere(Program((slow, peek, act, again)), delay)


async def test_a_decision_stays_as_it_was_made() -> None:
    """The block of a branch changes what its condition reads; a daemon that takes it up goes on in the same block."""
    step = Instruction("a", "context.set", {"path": "/x", "value": 1})
    block = (step, Instruction("b", "act", {"thing": "t", "what": 1}), Instruction("c", "act.keyed", {"thing": "t"}))
    other = (Instruction("d", "act", {"thing": "wrong"}),)
    branch = Instruction("s1", "flow.branch", {"condition": 'not exists("/x")'}, blocks={"then": block, "else": other})
    program = Program((branch,), returns="${s1}")
    await cut_everywhere(program, 1)
    journal, book = Memory(), Book()
    end = await piped(program, journal, book)
    assert end.result == {"did": "None"}
    assert "wrong" not in book.outside.done


async def test_a_begun_step_whose_operation_is_gone_needs_a_person() -> None:
    """Its plugin was removed in between: whether it happened cannot be known, and is not guessed."""
    journal, outside = Memory(), Outside()
    journal.rows = {"s1": Step("s1", "gone.away", StepState.STARTED, '{"thing":"t1"}', attempts=1)}
    end = await piped(acting("gone.away", "act"), journal, Book(outside=outside))
    assert (end.state, end.unknown) == ("NEEDS_YOU", ("s1",))
    assert states(journal)[0] == "UNKNOWN"
    assert "gone.away" in journal.rows["s1"].error


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0], ids=["nan", "inf", "negative"])
async def test_a_cost_that_is_no_amount_is_a_mistake_of_its_operation(cost: float) -> None:
    class Odd(Act):
        async def perform(self, call: Any, bench: Any) -> Any:
            bench.progress(float("inf"))
            return Outcome(1, cost_usd=cost)

    journal = Memory()
    end = await piped(acting("odd"), journal, Book(Odd(Outside(), "odd")))
    assert (end.state, end.reason, states(journal)) == ("FAILED", "OPERATION_BROKEN", ["FAILED"])
