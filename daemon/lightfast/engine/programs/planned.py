"""What a program would change in the context, as far as it can be known before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.engine.programs.checked import PlannedChange
from lightfast.engine.programs.program import Instruction
from lightfast.engine.programs.references import find, has_reference
from lightfast.sdk import Effect, World
from lightfast_link.value import Value

MOST_CHANGES = 2_000
"""How many changes are told."""
_UNKNOWN = object()


class Planned:
    """Collects changes in program order; each sees what those before it would have left."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now: dict[str, Any] = {}
        self.changes: list[PlannedChange] = []

    def add(self, instruction: Instruction, effects: frozenset[Effect], where: str, writes: tuple[str, ...]) -> None:
        """Add what one instruction would change; *where* says what that depends on."""
        if len(self.changes) >= MOST_CHANGES:
            return
        arguments = instruction.arguments
        path = arguments.get("path")
        match instruction.op:
            case "context.apply":
                for change in arguments.get("changes", ()):
                    if isinstance(change, Mapping):
                        self._change(instruction, str(change.get("kind", "set")), change, where)
            case "context.set" | "context.merge" | "context.delete" | "context.move":
                self._change(instruction, instruction.op.removeprefix("context."), arguments, where)
            case "app.command":
                target = f"{arguments.get('command', '')} of {arguments.get('app', '')}"
                self._note(instruction, str(arguments.get("app", "")), f"what {target} changes", effects, where)
            case _ if instruction.op.startswith("generate.") and isinstance(path, str):
                model = arguments.get("model") or "the usual model"
                self._note(instruction, path, f"what {model} makes", effects, where)
            case _:
                for each in writes[:4]:
                    self._note(instruction, each, f"what {instruction.op} changes", effects, where)

    def _change(self, instruction: Instruction, kind: str, given: Mapping[str, Any], where: str) -> None:
        path = given.get("path")
        if not isinstance(path, str):
            return
        notes = [where] if where else []
        if has_reference(path):
            self._put(instruction, path, None, None, ["the path is known when it runs", *notes])
            return
        before = self._before(path)
        after: Any = None
        value: Any = given.get("source") if kind == "move" else given.get("value")
        if kind == "move":
            after = self._before(value) if isinstance(value, str) and not has_reference(value) else None
            notes.insert(0, f"moved from {value}")
            if isinstance(value, str) and not where:
                self._now[value] = None
        elif has_reference(value):
            notes.insert(0, "from " + ", ".join(sorted({reference.text for _, reference in find(value)})[:4]))
        elif kind == "merge" and isinstance(value, Mapping):
            after = {**before, **value} if isinstance(before, Mapping) else dict(value)
        elif kind == "delete":
            notes.insert(0, "deleted")
        else:
            after = value
        self._put(instruction, path, before, after, notes)
        if not where:
            self._now[path] = after if kind == "delete" or after is not None else _UNKNOWN

    def _before(self, path: str) -> Value | None:
        if path not in self._now:
            return self._world.value(path)
        found: Value | None = None if self._now[path] is _UNKNOWN else self._now[path]
        return found

    def _note(self, instruction: Instruction, path: str, note: str, effects: frozenset[Effect], where: str) -> None:
        if effects - {Effect.READ}:
            self._put(instruction, path, None, None, [note, where] if where else [note])

    def _put(self, instruction: Instruction, path: str, before: Any, after: Any, notes: list[str]) -> None:
        if len(self.changes) < MOST_CHANGES:
            self.changes.append(PlannedChange(instruction.id, path, before, after, "; ".join(notes)))
