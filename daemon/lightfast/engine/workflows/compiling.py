"""Turns the steps of a workflow into the instructions of a program.

`if` becomes `flow.branch`, `for_each` and `repeat` become `flow.map`. `while` is unrolled: before each turn an
instruction stands that runs only where the turn before was taken and the condition holds; a turn is a branch on it, so
that the condition is looked at again each time. `approve` becomes an instruction `ask.approval` before the step.
Instructions stand after what they wait for, else in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import resolve
from lightfast.engine.workflows.approval import APPROVAL
from lightfast.engine.workflows.naming import Names, renamed
from lightfast.engine.workflows.records import StepForm, Workflow
from lightfast.engine.workflows.scope import waits_of
from lightfast.engine.workflows.semantics import walk
from lightfast.engine.workflows.steps import MOST_REPEATS


def compile_workflow(workflow: Workflow, parameters: Mapping[str, Any]) -> Program:
    """Return the program of *workflow* with checked *parameters*."""
    names = Names(each.id for each in walk(workflow.steps))
    compiler = _Compiler(parameters, "continue" if workflow.on_failure == "continue" else "stop", names)
    return Program(
        tuple(compiler.block(workflow.steps)), name=workflow.name, parameters=dict(parameters), returns=workflow.returns
    )


def in_order(steps: Sequence[StepForm]) -> list[StepForm]:
    """Return the steps of a block, each after those it waits for, else in the order of the file."""
    waits = waits_of(steps)
    rest, found, done = list(steps), [], set[str]()
    while rest:
        step = next((each for each in rest if waits[each.id] <= done), None)
        if step is None:
            raise ValueError("the steps wait for each other")  # the file was refused before
        rest.remove(step)
        found.append(step)
        done.add(step.id)
    return found


class _Compiler:
    def __init__(self, parameters: Mapping[str, Any], on_failure: str, names: Names) -> None:
        self._parameters = parameters
        self._on_failure = on_failure
        self._names = names

    def block(self, steps: Sequence[StepForm]) -> list[Instruction]:
        found: list[Instruction] = []
        for step in in_order(steps):
            found += self._step(step)
        return found

    def _step(self, step: StepForm) -> list[Instruction]:
        after = step.needs
        before: list[Instruction] = []
        if step.approve:
            ask = Instruction(
                self._names.fresh(f"{step.id}_approval"),
                APPROVAL,
                {"reason": step.approve},
                after=after,
                when=step.when,
                line=step.place.line,
            )
            before.append(ask)
            after = (*after, ask.id)
        if step.shape == "while":
            return [*before, *self._while(step, after)]
        return [*before, self._one(step, after)]

    def _one(self, step: StepForm, after: tuple[str, ...]) -> Instruction:
        blocks: dict[str, tuple[Instruction, ...]] = {}
        op, arguments = step.op, dict(step.arguments)
        if step.shape == "branch":
            op, arguments = "flow.branch", {"condition": step.condition}
            blocks["then"] = tuple(self.block(step.body))
            if step.other:
                blocks["else"] = tuple(self.block(step.other))
        elif step.shape in ("map", "repeat"):
            items = step.items if step.shape == "map" else list(range(self._times(step)))
            op, arguments = "flow.map", {"items": items}
            if step.item_name != "item":
                arguments["as"] = step.item_name
            if step.parallel:
                arguments["parallel"] = step.parallel
            blocks["do"] = tuple(self.block(step.body))
        return Instruction(
            step.id,
            op,
            arguments,
            after=after,
            when=step.when,
            timeout=step.timeout,
            retries=step.retries,
            on_failure=step.on_failure or self._on_failure,
            blocks=blocks,
            line=step.place.line,
        )

    def _times(self, step: StepForm) -> int:
        times = resolve(step.times, {"params": self._parameters})
        if isinstance(times, bool) or not isinstance(times, (int, float)) or not 0 <= times <= MOST_REPEATS:
            raise InvalidArgument(
                f"the step {step.id} is to be repeated {times!r:.40} times: it takes up to {MOST_REPEATS}",
                reason="PARAMETER_RANGE",
                field=f"steps.{step.id}.repeat",
            )
        return int(times)

    def _while(self, step: StepForm, after: tuple[str, ...]) -> list[Instruction]:
        found: list[Instruction] = []
        on_failure = step.on_failure or self._on_failure
        body = self.block(step.body)
        inside = list(identities(body))
        stem = step.id.replace("-", "_")
        goes: list[str] = []
        for turn in range(1, step.most + 1):
            go, block = self._names.fresh(f"{stem}_{turn}_goes"), self._names.fresh(f"{stem}_{turn}")
            conditions = [f"{goes[-1]} == true" if goes else step.when, step.condition]
            found.append(
                Instruction(
                    go,
                    "value.compute",
                    {"expression": "true"},
                    after=(found[-1].id,) if found else after,
                    when=" and ".join(f"({each})" for each in conditions if each),
                    on_failure=on_failure,
                    line=step.place.line,
                )
            )
            goes.append(go)
            roots = {each: self._names.fresh(f"{each}_{turn}") for each in inside}
            found.append(
                Instruction(
                    block,
                    "flow.branch",
                    {"condition": f"{go} == true"},
                    after=(go,),
                    on_failure=on_failure,
                    blocks={"then": renamed(body, roots)},
                    line=step.place.line,
                )
            )
        count = {
            "expression": " + ".join(f"(1 if {go} == true else 0)" for go in goes),
            "names": {go: f"${{{go}}}" for go in goes},
        }
        found.append(Instruction(step.id, "value.compute", count, after=(found[-1].id,), line=step.place.line))
        return found


def identities(block: Iterable[Instruction]) -> Iterable[str]:
    """Yield the identities of a block, those of inner blocks too."""
    for each in block:
        yield each.id
        for inner in each.blocks.values():
            yield from identities(inner)
