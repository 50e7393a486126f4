"""Folding: what is known before it runs is computed now.

Expressions over literals and parameters become values, conditions that are always true go, branches with such a
condition become the block that runs, and maps over short written-out lists of single writes become these writes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.optimizer.hazards import Hazards, plain
from lightfast.engine.programs.optimizer.uses import Block, Remap, Stand, map_blocks, references_to, returned, used
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import Reference, has_reference
from lightfast_link.value import Asset

MOST_TURNS = 32
"""The longest list whose map is written out."""
MOST_FOLDED = 20_000
"""The longest JSON text of a value that is put in the place of its computing."""
WRITES = ("context.set", "context.merge", "context.delete")


def fold(program: Program, hazards: Hazards) -> tuple[Program, list[Saving]]:
    """Return *program* with everything computed that is known."""
    savings: list[Saving] = []
    for step in (_conditions, _values, _branches, _maps):
        try:
            program, saved = step(program)
        except InvalidArgument:
            continue
        savings += saved
    return program, savings


def known(text: str, program: Program) -> tuple[bool, Any]:
    """Return whether an expression has a value that nothing can change, and that value."""
    try:
        expression = compile_expression(text)
        if expression.reads or expression.names - {"params"}:
            return False, None
        return True, expression.evaluate({"params": program.parameters})
    except InvalidArgument:
        return False, None


def _conditions(program: Program) -> tuple[Program, list[Saving]]:
    changed: list[str] = []

    def change(block: Block, top: bool) -> Block:
        found = []
        for each in block:
            constant, value = known(each.when, program) if each.when else (False, None)
            if constant and each.when not in {"", "false"}:
                changed.append(each.id)
                found.append(replace(each, when="" if value else "false"))
            else:
                found.append(each)
        return tuple(found)

    made = map_blocks(program, change)
    if not changed:
        return program, []
    return made, [Saving("fold", tuple(changed), f"{len(changed)} condition(s) are known before")]


def _values(program: Program) -> tuple[Program, list[Saving]]:
    remap = Remap()
    needed = used(program) - returned(program)
    for each in program.walk():
        if each.op != "value.compute" or each.when or each.on_failure != "stop" or each.id not in needed:
            continue
        text = each.arguments.get("expression")
        if not isinstance(text, str) or each.arguments.get("names"):
            continue
        constant, value = known(text, program)
        if constant and _fits(value, program, each.id):
            remap.stands[each.id] = Stand(value=value)
    if not remap.stands:
        return program, []
    names = tuple(remap.stands)
    return remap.program(program), [Saving("fold", names, f"{', '.join(names[:4])} computed before the run")]


def _fits(value: Any, program: Program, name: str) -> bool:
    """Say whether a value can be put where a result is used."""
    if isinstance(value, (tuple, bytes, Asset)) or len(repr(value)) > MOST_FOLDED:
        return False
    found = references_to(program, name)
    for reference in found or ():
        try:
            Reference("it", reference.path, reference.text).resolve({"it": value})
        except InvalidArgument:
            return False
    # A $ beside the brackets of what follows it would read as a reference.
    return "$" not in repr(value)


def _branches(program: Program) -> tuple[Program, list[Saving]]:
    remap = Remap()
    changed: list[tuple[str, int]] = []
    needed = used(program)

    def change(block: Block, top: bool) -> Block:
        made: list[Instruction] = []
        for index, each in enumerate(block):
            inner = _taken(each, program)
            last = index == len(block) - 1 and not (top and program.returns)
            if inner is None or (not inner and (each.id in needed or last)):
                made.append(each)
                continue
            if inner:
                remap.stands[each.id] = Stand(inner[-1].id)
            remap.after[each.id] = tuple(one.id for one in inner) or each.after
            made += [replace(one, after=tuple(dict.fromkeys((*each.after, *one.after)))) for one in inner]
            changed.append((each.id, _size(each) - sum(map(_size, inner))))
        return tuple(made)

    made = map_blocks(program, change)
    if not changed:
        return program, []
    names = tuple(name for name, _ in changed)
    summary = f"which way {', '.join(names[:4])} goes is known before"
    # What stands for a branch may be a branch that became its block, too.
    for name, stand in remap.stands.items():
        root = stand.root
        while root in remap.stands:
            root = remap.stands[root].root
        remap.stands[name] = Stand(root)
    return remap.program(made), [Saving("fold", names, summary, sum(count for _, count in changed))]


def _taken(each: Instruction, program: Program) -> Block | None:
    """Return the block that a branch always takes; `None`: that is not known, or it has ways of its own."""
    if each.op != "flow.branch" or not plain(each):
        return None
    condition = each.arguments.get("condition")
    constant, value = (True, condition) if isinstance(condition, bool) else known(str(condition), program)
    if not constant or not isinstance(condition, (str, bool)):
        return None
    return each.blocks.get("then" if value else "else", ())


def _maps(program: Program) -> tuple[Program, list[Saving]]:
    needed = used(program)
    taken = {each.id for each in program.walk()}
    remap = Remap()
    changed: list[str] = []

    def change(block: Block, top: bool) -> Block:
        made: list[Instruction] = []
        for index, each in enumerate(block):
            last = index == len(block) - 1 and not top
            turns = None if last or each.id in needed or not plain(each) else _turns(each, taken)
            if turns is None:
                made.append(each)
                continue
            remap.after[each.id] = tuple(one.id for one in turns) or each.after
            made += [replace(one, after=each.after) for one in turns]
            changed.append(each.id)
        return tuple(made)

    made = map_blocks(program, change)
    if not changed:
        return program, []
    return remap.program(made), [
        Saving("fold", tuple(changed), f"{', '.join(changed[:4])} is written out turn by turn")
    ]


def _turns(each: Instruction, taken: set[str]) -> Block | None:
    """Return the turns of a map over a written-out list whose block is one write; `None`: it is none such."""
    items, block = each.arguments.get("items"), each.blocks.get("do", ())
    if each.op != "flow.map" or not isinstance(items, list) or len(items) > MOST_TURNS or has_reference(items):
        return None
    if len(block) != 1 or block[0].op not in WRITES or not plain(block[0]) or block[0].after:
        return None
    if "$" in repr(items) or len(repr(items)) > MOST_FOLDED:
        return None
    name = str(each.arguments.get("as") or "item")
    found = []
    for index, item in enumerate(items):
        identity = f"{block[0].id[:56]}-{index}"
        if identity in taken:
            return None
        stands = {"index": Stand(value=index), "item": Stand(value=item), name: Stand(value=item)}
        try:
            (one,) = Remap(stands).block((block[0],))
        except InvalidArgument:
            return None
        found.append(replace(one, id=identity))
    taken |= {one.id for one in found}
    return tuple(found)


def _size(each: Instruction) -> int:
    return 1 + sum(_size(inner) for block in each.blocks.values() for inner in block)
