"""What a program would change, where that takes more than its own words: what a scene holds, what goes with a branch.

The checker tells of the rest; nothing is run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lightfast.core.errors import LightfastError
from lightfast.engine.programs.checked import Checked, PlannedChange
from lightfast.engine.programs.program import Instruction
from lightfast.engine.programs.references import has_reference
from lightfast.engine.scenes.records import Asked, Planned
from lightfast_link.path import is_under

if TYPE_CHECKING:
    from lightfast.engine.planner.rooms import PlannerRooms

MOST_CHANGES = 2_000
"""The most changes that are told; then it says how many more there are."""
MOST_RECALLS = 8
"""The most scenes that are rehearsed for one program."""
ORIGIN = "planner"


async def foreseen(checked: Checked, rooms: PlannerRooms) -> tuple[PlannedChange, ...]:
    """Return the changes of *checked*, in program order, with those of recalls and deletions in full.

    The scenes are compared with what is there now: what earlier instructions change is not reckoned in.
    """
    own: dict[str, Sequence[PlannedChange]] = {}
    recalls = 0
    for each in checked.program.walk():
        if each.op == "scene.recall" and rooms.recalls is not None and recalls < MOST_RECALLS:
            recalls += 1
            own[each.id] = await _recalled(each, rooms)
        elif each.op == "context.delete":
            own[each.id] = _deleted(each, checked, rooms)
    if not own:
        return checked.changes
    by_instruction: dict[str, list[PlannedChange]] = {}
    for change in checked.changes:
        by_instruction.setdefault(change.instruction, []).append(change)
    found: list[PlannedChange] = []
    for each in checked.program.walk():
        told = by_instruction.pop(each.id, [])
        found += own.get(each.id, told)
    found += [change for changes in by_instruction.values() for change in changes]
    if len(found) > MOST_CHANGES:
        found[MOST_CHANGES:] = [PlannedChange("", "", note=f"and {len(found) - MOST_CHANGES} changes more")]
    return tuple(found)


async def _recalled(each: Instruction, rooms: PlannerRooms) -> Sequence[PlannedChange]:
    name = each.arguments.get("name")
    if rooms.recalls is None or not isinstance(name, str) or has_reference(name):
        return [PlannedChange(each.id, "//", note=f"what the scene {name} holds")]
    found: list[PlannedChange] = []
    try:
        steps = cast("AsyncGenerator[Any, None]", rooms.recalls.recall(Asked(name, validate_only=True), origin=ORIGIN))
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Planned):
                    found += [PlannedChange(each.id, one.path, one.before, one.after) for one in step.changes]
                    found += [
                        PlannedChange(each.id, one.path, one.found, one.wished, one.reason) for one in step.problems
                    ]
    except LightfastError as error:
        return [PlannedChange(each.id, "//", note=f"the scene {name} cannot be rehearsed: {error.message}")]
    return found


def _deleted(each: Instruction, checked: Checked, rooms: PlannerRooms) -> Sequence[PlannedChange]:
    told = [change for change in checked.changes if change.instruction == each.id]
    path = each.arguments.get("path")
    if not isinstance(path, str) or has_reference(path):
        return told
    entries = rooms.vocabulary().entries
    below = [
        PlannedChange(each.id, one, value, None, f"deleted with {path}")
        for values in entries.values()
        for one, value in values.items()
        if one != path and is_under(one, path)
    ]
    return [*(told or [replace(PlannedChange(each.id, path, note="deleted"), before=rooms.world.value(path))]), *below]
