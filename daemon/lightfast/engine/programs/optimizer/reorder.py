"""Reordering: long calls of services are begun earlier, past what they have nothing to do with, so that more overlaps.

What acts outside keeps its order for each resource: an instruction never passes one that writes or reads what it
writes, and calls of services keep their order among themselves.
"""

from __future__ import annotations

from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.optimizer.hazards import Hazards, depend
from lightfast.engine.programs.optimizer.uses import Block, map_blocks, names_used
from lightfast.engine.programs.program import BLOCKS, Instruction, Program

LONG = frozenset(("provider", "media"))
"""The pools whose instructions are begun earlier."""
FARTHEST = 100
"""How many instructions one may pass."""


def reorder(program: Program, hazards: Hazards) -> tuple[Program, list[Saving]]:
    """Return *program* with long calls moved up."""
    moved: list[tuple[str, int]] = []

    def change(block: Block, top: bool) -> Block:
        made = list(block)
        end = len(made) if top else len(made) - 1
        for index in range(1, end):
            if not _long(made[index], hazards):
                continue
            place = _place(made, index, hazards)
            if place < index:
                moved.append((made[index].id, index - place))
                made.insert(place, made.pop(index))
        return tuple(made)

    made = map_blocks(program, change)
    if not moved:
        return program, []
    names = tuple(name for name, _ in moved)
    summary = ", ".join(f"{name} begins {count} earlier" for name, count in moved[:4]) + (
        " …" if len(moved) > 4 else ""
    )
    return made, [Saving("reorder", names, summary)]


def _long(each: Instruction, hazards: Hazards) -> bool:
    operation = hazards.operations.find(each.op)
    return each.op not in BLOCKS and operation is not None and operation.pool in LONG


def _place(made: list[Instruction], index: int, hazards: Hazards) -> int:
    """Return how far up the instruction at *index* may go: past what is not a long call itself, and not in its way."""
    each = made[index]
    touch, names = hazards.touch(each), names_used(each) | set(each.after)
    place = index
    while place and index - place < FARTHEST:
        other = made[place - 1]
        if other.id in names or _holds_long(other, hazards) or _decides(other):
            break
        before = hazards.touch(other)
        if not before.known or depend(before, touch):
            break
        place -= 1
    return place


def _holds_long(each: Instruction, hazards: Hazards) -> bool:
    if _long(each, hazards):
        return True
    return any(_holds_long(inner, hazards) for block in each.blocks.values() for inner in block)


def _decides(each: Instruction) -> bool:
    """Say whether a person or a moment is waited for here: what comes after it begins after it."""
    return each.op.startswith(("ask.", "wait."))
