"""Why a person is asked: what an instruction does, in words of one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.engine.programs.budget import usd
from lightfast.engine.programs.program import Instruction
from lightfast.engine.programs.references import has_reference
from lightfast.host.guard import guarded
from lightfast.sdk import ASKING, Effect, Operation, World

_LONGEST = 160


def approval_reason(
    instruction: Instruction, operation: Operation, effects: frozenset[Effect], cost: float | None, world: World
) -> str:
    """Return the line for an instruction that a person must approve; empty where nobody needs to."""
    if not effects & ASKING:
        return ""
    what = _subject(instruction, operation, world)
    parts = []
    if Effect.DESTRUCTIVE in effects:
        parts.append("cannot be taken back")
    if Effect.SPEND in effects:
        parts.append("costs money, and nothing bounds how much" if cost is None else f"costs up to {usd(cost)}")
    if Effect.NETWORK in effects:
        parts.append("sends what it is given to another machine")
    return f"{instruction.id}: {what} {', and '.join(parts)}"


def _subject(instruction: Instruction, operation: Operation, world: World) -> str:
    arguments = instruction.arguments
    if instruction.op == "app.command":
        mount, name = _said(arguments, "app"), _said(arguments, "command")
        command = world.commands(mount).get(name) if mount and name else None
        about = _cut(str(getattr(command, "description", "") or ""))
        shown = f"{name or 'a command'} of {mount or 'an application'}"
        return f"{shown} ({about.rstrip('.')})" if about else shown
    model = _cut(guarded(operation.about, arguments, world).value or "") or _said(arguments, "model")
    if instruction.op.startswith("generate."):
        kind = instruction.op.removeprefix("generate.")
        return f"{model or 'the usual model'} making {'an' if kind in {'image', 'audio'} else 'a'} {kind}"
    if model:
        return f"{instruction.op} by {model}"
    target = next((_said(arguments, name) for name in ("workflow", "name", "path") if _said(arguments, name)), "")
    if target:
        return f"{instruction.op} {target}"
    return f"{instruction.op} ({_cut(operation.summary).rstrip('.')})"


def _said(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    return _cut(value) if isinstance(value, str) and not has_reference(value) else ""


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
