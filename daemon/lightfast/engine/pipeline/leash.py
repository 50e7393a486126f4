"""The leash: an instruction does what it was checked for, and approved for where it had to be, and no more.

What it would do may have changed since: an argument that was a reference is known now, a command of an application has
become another, a model costs money. So each is asked once more, right before it is performed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.engine.programs.allowing import check_effects, effects_now
from lightfast.sdk import Effect, Operation, World

_READS = frozenset((Effect.READ,))
_ALL = frozenset(Effect)


class Leash:
    """What each instruction of a run may do, by its identity; `None`: whatever it does (where nothing was checked)."""

    def __init__(self, allowed: Mapping[str, frozenset[Effect]] | None, world: World) -> None:
        self._allowed, self._world = allowed, world

    def of(self, instruction: str) -> frozenset[Effect]:
        """Return what an instruction may do; one that nobody has checked may only read."""
        return _ALL if self._allowed is None else self._allowed.get(instruction, _READS) | _READS

    def check(self, instruction: str, operation: Operation, arguments: Mapping[str, Any]) -> None:
        """Raise `FailedPrecondition` (EFFECT_NOT_APPROVED) where it would do more now; references are resolved."""
        if self._allowed is None:
            return
        allowed = self.of(instruction)
        effects = effects_now(operation, arguments, self._world, allowed)
        check_effects(instruction, operation.name, effects, allowed)
