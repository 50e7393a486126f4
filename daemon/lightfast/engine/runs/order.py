"""The order of steps: as the program has them, the turns of a loop one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import ENDED, Run, Step

_TURN = re.compile(r"(.*)\[(\d+)\]\Z")
_LAST = 1 << 30


class Places:
    """Says where in a program the steps of a run come; steps are named as in `s3`, `s3.then.s1`, `s3[0].s1`."""

    def __init__(self, program: Program) -> None:
        self._root = _index(program.instructions)
        self._inner: dict[int, dict[str, tuple[int, Instruction]]] = {}

    def of(self, step_id: str) -> tuple[int, ...]:
        """Return what orders *step_id*; what the program does not have comes last."""
        found: list[int] = []
        block = self._root
        parts = step_id.split(".")[::-1]
        while parts:
            name = parts.pop()
            turn = _TURN.match(name)
            index, instruction = block.get(turn[1] if turn else name, (_LAST, None))
            found.append(index)
            if instruction is None:
                break
            inner = "do" if turn else parts.pop() if parts else ""
            if turn is not None:
                found.append(int(turn[2]))
            elif inner:
                found.append([*instruction.blocks, inner].index(inner))
            block = self._block(instruction.blocks.get(inner, ()))
        return tuple(found)

    def operation(self, step_id: str) -> str:
        """Return the operation of a step; empty: the program has none such."""
        block, name = self._root, step_id
        for part in step_id.split("."):
            turn = _TURN.match(part)
            name = turn[1] if turn else part
            if name not in block:
                continue  # it names a block, which was entered already
            inner = block[name][1].blocks.values()
            if inner and part != step_id.rpartition(".")[2]:
                block = {each: found for one in inner for each, found in self._block(one).items()}
        return block[name][1].op if name in block else ""

    def _block(self, instructions: Sequence[Instruction]) -> dict[str, tuple[int, Instruction]]:
        found = self._inner.get(id(instructions))
        if found is None:
            found = self._inner[id(instructions)] = _index(instructions)
        return found


def _index(instructions: Sequence[Instruction]) -> dict[str, tuple[int, Instruction]]:
    return {each.id: (index, each) for index, each in enumerate(instructions)}


def in_order(program: Program, steps: Sequence[Step], *, ended: bool) -> tuple[Step, ...]:
    """Return *steps* in the order of *program*, and while it goes on the instructions that were not begun, too."""
    known = {step.step_id for step in steps}
    every = list(steps)
    if not ended:
        every += [Step(each.id, each.op) for each in program.instructions if each.id not in known]
    places = Places(program)
    return tuple(sorted(every, key=lambda step: places.of(step.step_id)))


def untouched(run: Run) -> Run:
    """Return the record of a run none of whose steps has a row yet, with its steps, as it is read from the disk."""
    steps = in_order(run.program, (), ended=run.state in ENDED)
    return replace(run, steps=steps, steps_known=len(run.program.instructions))
