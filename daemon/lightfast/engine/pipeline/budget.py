"""What a run may spend: each instruction that spends takes its part before it is performed."""

from __future__ import annotations

from lightfast.core.errors import Exhausted
from lightfast.engine.pipeline.slots import Slot
from lightfast.host.guard import guarded
from lightfast.sdk import Effect, World


class Budget:
    """*whole* in USD, 0: there is none; *spent* so far.

    One whose cost has no upper bound, or more than is left, waits until no other spends, and takes all that is left;
    those that come after it wait behind it.
    """

    def __init__(self, whole: float, spent: float, world: World) -> None:
        self.spent = spent
        self._whole = whole
        self._world = world
        self._spending: set[Slot] = set()
        self._waiting: list[Slot] = []

    def reserve(self, slot: Slot) -> bool:
        """Take the part of an instruction; say whether it may begin. Raises `Exhausted` (BUDGET_EXHAUSTED)."""
        operation = slot.operation
        if self._whole <= 0.0 or operation is None or Effect.SPEND not in operation.possible_effects:
            return True
        said = guarded(operation.cost, slot.arguments, self._world)
        cost = said.value if said.error is None else None
        if cost is not None and cost <= 0.0:
            return True
        left = self._whole - self.spent - sum(each.reserved for each in self._spending)
        if cost is None or cost > left or self._waiting:
            if self._spending:
                self._waiting.append(slot)
                return False
            if left <= 0.0:
                raise Exhausted(
                    f"the budget of the run, {self._whole:.2f} USD, is used up: give it more, or use local models",
                    reason="BUDGET_EXHAUSTED",
                )
            cost = left
        slot.reserved = cost
        self._spending.add(slot)
        return True

    def release(self, slot: Slot) -> list[Slot]:
        """Give back what an instruction had taken; return those that waited for it."""
        if slot not in self._spending:
            return []
        self._spending.discard(slot)
        slot.reserved = 0.0
        woken, self._waiting = self._waiting, []
        return woken
