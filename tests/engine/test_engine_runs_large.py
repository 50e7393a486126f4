"""Large runs: results, arguments and answers are bounded, and what is left out is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.pipelines import Act, Book, Memory, Outside
from tests.support.runs import Service, open_runs, program

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.runner import run as piped
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import split
from lightfast.engine.runs.records import Run, RunState, Step, StepState
from lightfast.sdk import Outcome
from lightfast.wire.grpc.run_messages import MOST_BYTES, put_list, put_run


def large(steps: int, size: int) -> Run:
    return Run(
        "run-1",
        RunState.SUCCEEDED,
        program(*(("act.plain", {"what": "x"}) for _ in range(steps))),
        "local",
        "run:run-1",
        1,
        digest="large",
        steps=tuple(Step(f"s{n}", "act.plain", StepState.DONE, "x" * 4000, "y" * size) for n in range(1, steps + 1)),
    )


def test_a_run_of_many_steps_fits_into_one_answer() -> None:
    message = pb.EngineRun()
    put_run(message, large(10_000, 10_000))
    assert message.ByteSize() < 1.2 * MOST_BYTES
    assert len(message.steps) == 10_000
    assert message.steps[0].result.string_value
    assert message.steps[0].message == ""
    assert (message.steps[-1].state, message.steps[-1].HasField("result")) == (pb.STEP_STATE_DONE, False)
    assert "do not fit" in message.steps[-1].message


def test_a_small_run_is_whole() -> None:
    message = pb.EngineRun()
    put_run(message, large(3, 10))
    assert [step.result.string_value for step in message.steps] == ["y" * 10] * 3
    assert message.yaml


def test_a_list_of_long_runs_fits_into_one_answer() -> None:
    response = pb.ListRunsResponse()
    one = large(1, 10)
    listed = [
        Run(
            f"run-{n}",
            RunState.SUCCEEDED,
            one.program,
            "local",
            "",
            1,
            result="z" * 1_000_000,
            digest="large",
            steps=(),
        )
        for n in range(50)
    ]
    put_list(response, listed)
    assert response.ByteSize() < 1.2 * MOST_BYTES
    assert [each.run_id for each in response.runs] == [f"run-{n}" for n in range(50)]
    assert response.runs[0].HasField("result")
    assert not response.runs[-1].HasField("result")
    assert not any(each.yaml for each in response.runs)


async def test_a_result_that_is_too_large_fails_its_step_and_says_so(tmp_path: Path) -> None:
    class Much(Act):
        async def perform(self, call: Any, bench: Any) -> Any:
            return Outcome(["y" * 1_000_000] * 20)

    async with open_runs(tmp_path, Service()) as house:
        house.operations.kinds["much"] = Much(Outside(), "much")
        run = await house.done(program(("much", {"thing": "t", "what": 1})))
        assert (run.state, run.steps[0].state, run.steps[0].reason) == (
            RunState.FAILED,
            StepState.FAILED,
            "RESULT_TOO_LARGE",
        )


async def test_references_that_multiply_are_refused_before_they_take_the_memory() -> None:
    class Many(Act):
        async def perform(self, call: Any, bench: Any) -> Any:
            return Outcome(list(range(60_000)))

    journal, outside = Memory(), Outside()
    first = Instruction("s1", "many", {"thing": "a", "what": 1})
    second = Instruction("s2", "act", {"thing": "b", "what": ["${s1}"] * 50_000})
    made = Program((first, second))
    book: Any = Book(Many(outside, "many"), outside=outside)
    world: Any = None
    end = await piped(made, book, journal, Pools(), run_id="r", origin="run:r", world=world)
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s2", "ARGUMENTS_TOO_LARGE")
    assert not outside.done


def test_long_texts_are_not_kept_once_they_were_read() -> None:
    text = "${s1} " + "x" * 100_000
    assert split(text) is not split(text)
    assert split("${s1} x") is split("${s1} x")
