"""What is wrong with a workflow that only those who know the operations can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.workflows.records import FileProblem, Place, StepForm, Workflow


def problems_of(workflow: Workflow, book: OperationBook) -> tuple[FileProblem, ...]:
    """Return the operations and arguments of *workflow* that nobody knows, and those that are missing."""
    return tuple(sorted(problem for step in walk(workflow.steps) for problem in _step(step, book)))


def walk(steps: Sequence[StepForm]) -> Iterator[StepForm]:
    """Yield all steps, those inside others after them."""
    for each in steps:
        yield each
        yield from walk(each.body)
        yield from walk(each.other)


def _step(step: StepForm, book: OperationBook) -> Iterator[FileProblem]:
    if step.shape != "plain" or not step.op:
        return
    operation = book.find(step.op)
    if operation is None:
        near = did_you_mean(step.op, book.names())
        yield _problem(
            step.places.get("op", step.place), "OPERATION_UNKNOWN", f"there is no operation {step.op!r}{near}"
        )
        return
    schema = operation.arguments
    properties = schema.get("properties", {})
    for name in step.arguments:
        if name not in properties and schema.get("additionalProperties", True) is False:
            near = did_you_mean(name, properties)
            place = step.places.get(f"arguments.{name}", step.place)
            yield _problem(place, "ARGUMENT_UNKNOWN", f"{step.op} has no argument {name!r}{near}")
    for name in schema.get("required", ()):
        if name not in step.arguments:
            yield _problem(
                step.places.get("op", step.place), "ARGUMENT_MISSING", f"{step.op} needs the argument {name}"
            )


def _problem(place: Place, reason: str, message: str) -> FileProblem:
    return FileProblem(place.line, place.column, reason, message)
