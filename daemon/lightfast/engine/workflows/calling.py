"""Puts workflows in the place of `workflow.call`, so that what a call would do is checked like everything else.

A call becomes a branch of the same identity that is always taken. Its block holds the parameters as one map, the
instructions of the workflow under fresh identities, and last what it returns, which is the result of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.program import MOST_DEPTH, MOST_INSTRUCTIONS, Instruction, Program
from lightfast.engine.programs.references import escape, has_reference, returns_template
from lightfast.engine.workflows.compiling import identities
from lightfast.engine.workflows.naming import Names, renamed, renamed_references

CALL = "workflow.call"
Called = Callable[[str, Mapping[str, Any], bool], Program]
"""Returns the program of a workflow with parameters; whether they may hold references yet is the last argument."""


def expand(program: Program, called: Called) -> Program:
    """Return *program* with each call replaced; raises what a workflow refuses, and PROGRAM_CYCLE."""
    if all(each.op != CALL for each in program.walk()):
        return program
    expander = _Expander(called, Names(identities(program.instructions)))
    return replace(program, instructions=expander.block(program.instructions, (program.name,)))


class _Expander:
    def __init__(self, called: Called, names: Names) -> None:
        self._called = called
        self._names = names
        self._count = 0

    def block(self, block: tuple[Instruction, ...], way: tuple[str, ...]) -> tuple[Instruction, ...]:
        return tuple(self._one(each, way) for each in block)

    def _one(self, instruction: Instruction, way: tuple[str, ...]) -> Instruction:
        self._count += 1
        if self._count > MOST_INSTRUCTIONS:
            raise InvalidArgument(
                f"with all it calls the program has more than {MOST_INSTRUCTIONS} instructions",
                reason="PROGRAM_TOO_LARGE",
            )
        if instruction.op != CALL:
            blocks = {name: self.block(block, way) for name, block in instruction.blocks.items()}
            return replace(instruction, blocks=blocks) if blocks else instruction
        name = instruction.arguments.get("workflow")
        if not isinstance(name, str) or has_reference(name):
            raise InvalidArgument(
                f"{instruction.id}: workflow.call needs the name of a workflow, written out",
                reason="WORKFLOW_UNKNOWN",
                field=f"{instruction.id}.arguments.workflow",
            )
        if name in way:
            circle = " → ".join((*way[way.index(name) :], name))
            raise InvalidArgument(f"{instruction.id}: the workflows call each other: {circle}", reason="PROGRAM_CYCLE")
        if len(way) > MOST_DEPTH:
            raise InvalidArgument(
                f"{instruction.id}: workflows call each other deeper than {MOST_DEPTH}", reason="PROGRAM_TOO_DEEP"
            )
        return self._call(instruction, name, way)

    def _call(self, instruction: Instruction, name: str, way: tuple[str, ...]) -> Instruction:
        given = instruction.arguments.get("parameters") or {}
        if not isinstance(given, Mapping):
            raise InvalidArgument(
                f"{instruction.id}: parameters is no map", field=f"{instruction.id}.arguments.parameters"
            )
        inner = self._called(name, given, has_reference(given))
        stem = instruction.id.replace("-", "_")[:40]
        bound = self._names.fresh(f"{stem}_params")
        roots = {each: self._names.fresh(f"{stem}_{each}") for each in identities(inner.instructions)}
        roots["params"] = bound
        # What the call gives is a template as all arguments are; what the file has as usual stands for itself.
        held = {key: value if key in given else _plain(value) for key, value in inner.parameters.items()}
        body = [_value(bound, held, instruction.line)]
        body += renamed(self.block(inner.instructions, (*way, name)), roots)
        if inner.returns:
            told = renamed_references(returns_template(inner.returns), roots)
            body.append(_value(self._names.fresh(f"{stem}_returns"), told, instruction.line))
        return replace(
            instruction, op="flow.branch", arguments={"condition": "true"}, retries=0, blocks={"then": tuple(body)}
        )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _value(identity: str, value: Any, line: int) -> Instruction:
    return Instruction(identity, "value.compute", {"expression": "it", "names": {"it": value}}, line=line)
