"""What an instruction may do, against what it would do now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.core.errors import FailedPrecondition
from lightfast.host.guard import guarded
from lightfast.sdk import HARMLESS, Effect, Operation, World

NOT_APPROVED = "EFFECT_NOT_APPROVED"
_READS = frozenset((Effect.READ,))
_SAID = {
    Effect.REVERSIBLE: "change something",
    Effect.DESTRUCTIVE: "do what cannot be taken back",
    Effect.SPEND: "cost money",
    Effect.NETWORK: "send what it is given to another machine",
}


def effects_now(
    operation: Operation, arguments: Mapping[str, Any], world: World, allowed: frozenset[Effect]
) -> frozenset[Effect]:
    """Return what it would do now, keeping to *allowed* where it can; references are resolved.

    One that cannot say does all that is possible.
    """
    kind = type(operation)
    if kind.effects is Operation.effects and kind.effects_within is Operation.effects_within:
        return operation.possible_effects
    found = guarded(operation.effects_within, arguments, world, allowed)
    return operation.possible_effects if found.value is None else frozenset(found.value)


def check_effects(instruction: str, operation: str, effects: frozenset[Effect], allowed: frozenset[Effect]) -> None:
    """Raise `FailedPrecondition` (EFFECT_NOT_APPROVED) unless *allowed* covers *effects*."""
    covered = allowed | (HARMLESS if Effect.DESTRUCTIVE in allowed else _READS)
    beyond = effects - covered
    if not beyond:
        return
    doing = " and ".join(said for effect, said in _SAID.items() if effect in beyond)
    raise FailedPrecondition(
        f"{operation} would {doing} now, and was not checked and approved for that when the run was started: look at"
        " what has changed (a command, a model or its price, what an earlier step gave), and start it again",
        reason=NOT_APPROVED,
        metadata={"instruction": instruction, "effects": ", ".join(sorted(beyond))},
    )
