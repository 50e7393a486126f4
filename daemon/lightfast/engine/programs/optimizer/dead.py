"""Dead code: instructions that never run, and those that only compute or read what nobody uses.

What is left out cannot fail any more either: a program that would have failed in it goes on. The last instruction of a
block stays, since its result is that of the block; at the top it stays where the program says nothing of what it
returns, and where a program only reads all of it stays.
"""

from __future__ import annotations

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.arguments import constant
from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.optimizer.hazards import Hazards
from lightfast.engine.programs.optimizer.uses import Block, Remap, Stand, map_blocks, references_to, returned, used
from lightfast.engine.programs.program import BLOCKS, Instruction, Program


def remove_dead(program: Program, hazards: Hazards) -> tuple[Program, list[Saving]]:
    """Return *program* without dead code."""
    gone: list[Instruction] = []
    never: list[Instruction] = []
    needed, kept_names = used(program), returned(program)
    remap = Remap()
    # A program that only reads and does not say what it returns is there to be looked at.
    reading = not program.returns and all(each.op in BLOCKS or hazards.removable(each) for each in program.walk())

    def nothing(each: Instruction) -> bool:
        """Say whether `null` can be put wherever the result of an instruction that never runs is used."""
        if each.id not in needed:
            return True
        if each.id in kept_names:
            return False
        found = references_to(program, each.id)
        return found is not None and not any(reference.path for reference in found)

    def change(block: Block, top: bool) -> Block:
        kept = []
        for index, each in enumerate(block):
            last = index == len(block) - 1 and not (top and program.returns)
            if each.when and constant(each.when) is False and not last and nothing(each):
                never.append(each)
            elif each.id not in needed and not last and not (top and reading) and hazards.removable(each):
                gone.append(each)
            else:
                kept.append(each)
                continue
            remap.after[each.id] = each.after
            remap.stands[each.id] = Stand()
        return tuple(kept)

    try:
        made = remap.program(map_blocks(program, change))
    except InvalidArgument:
        return program, []
    savings = []
    if gone:
        names = tuple(each.id for each in gone)
        savings.append(Saving("dead_code", names, f"nobody uses what {_listed(names)} brought", len(gone)))
    if never:
        names = tuple(each.id for each in never)
        count = sum(_size(each) for each in never)
        savings.append(Saving("dead_code", names, f"{_listed(names)} would never have run", count))
    return made, savings


def _size(each: Instruction) -> int:
    return 1 + sum(_size(inner) for block in each.blocks.values() for inner in block)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
