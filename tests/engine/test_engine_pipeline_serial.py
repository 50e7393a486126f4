"""Whatever overlaps, a run brings what plain serial execution brings: random programs, and all tiny ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from tests.support.pipeline_programs import programs
from tests.support.pipelines import NO_WORLD, Book, Memory, Serial

from lightfast.engine.pipeline import machine
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.pipeline.runner import run
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import StepState


@pytest.fixture(autouse=True, scope="module")
def _soon() -> Any:
    before = machine.BACKOFF_S
    machine.BACKOFF_S = 0.0005
    yield
    machine.BACKOFF_S = before


async def piped(program: Program, journal: Memory, book: Book, **how: Any) -> RunEnd:
    """Run a program in the pipeline."""
    return await run(program, book, journal, Pools(), run_id="r", origin="run:r", world=NO_WORLD, **how)


async def both(program: Program) -> tuple[Serial, Any, Memory, RunEnd, Book]:
    """Run a program in both ways."""
    serial = Serial(Book())
    result = await serial.run(program)
    journal, book = Memory(delay=1), Book()
    async with asyncio.timeout(60):
        end = await piped(program, journal, book)
    return serial, result, journal, end, book


def rows(journal: Memory) -> dict[str, tuple[StepState, Any, str]]:
    """Return the rows as the serial execution has them."""
    return {step.step_id: (step.state, step.result, step.reason) for step in journal.rows.values()}


@given(programs(most=10))
@settings(max_examples=300, deadline=None)
def test_a_run_is_what_serial_execution_is(program: Program) -> None:
    compare(program)


@given(programs(faults=True))
@settings(max_examples=300, deadline=None)
def test_a_run_that_fails_is_what_serial_execution_is(program: Program) -> None:
    compare(program)


def compare(program: Program) -> None:
    """Compare both ways."""
    serial, result, journal, end, book = asyncio.run(both(program))
    assert end.failed_step == (serial.failed or "")
    assert end.state == ("FAILED" if serial.failed else "SUCCEEDED"), end
    assert journal.values == serial.values
    found = rows(journal)
    if not serial.failed:
        assert journal.order == serial.order
        assert found == serial.rows
        assert end.result == result
        assert dict(book.outside.done) == dict(serial.book.outside.done)
        return
    assert {name: row for name, row in found.items() if name in serial.rows} == serial.rows
    before = journal.order[: len(serial.order)]
    assert before == serial.order
    for thing, done in serial.book.outside.done.items():
        assert book.outside.done[thing][: len(done)] == done
    acted = {key.removeprefix("r/") for key in book.outside.keys}
    assert acted <= set(found), "whatever acted is on record"
    assert not [step for step in journal.rows.values() if step.state is StepState.STARTED]
