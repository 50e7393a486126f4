"""A plugin with an operation that cannot be taken back."""

from __future__ import annotations

BURN = """
from lightfast.sdk import Effect, Operation, Outcome, hookimpl


class Burn(Operation):
    name = "test.burn"
    summary = "Burns something for good."
    arguments = {"type": "object"}
    possible_effects = frozenset((Effect.DESTRUCTIVE,))

    async def perform(self, call, bench):
        return Outcome("burnt", stuck="what is burnt is burnt")


@hookimpl
def lightfast_operations(config):
    return [Burn()]
"""
