"""Rewrites that make a program smaller without changing what it does.

Each keeps, where the plain program succeeds: the context at the end, what is returned, the results that are still
there, and the order of what is done outside, for each resource. Instructions that a person must approve are never
left out, doubled or merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from lightfast.core.errors import InvalidArgument
from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.references import returns_template
from lightfast.sdk import World

ROUNDS = 3


class Optimizer:
    """Implements `lightfast.engine.ports.Rewriter`."""

    def __init__(self, operations: OperationBook) -> None:
        self._operations = operations

    def optimize(self, program: Program, world: World) -> tuple[Program, tuple[Saving, ...]]:
        """Return the program after all rewrites, and what each saved; one that cannot be read stays as it is."""
        *_, (made, savings) = self._rewrites(program, world)
        return (made, tuple(savings)) if savings else (program, ())

    async def gently(self, program: Program, world: World) -> tuple[Program, tuple[Saving, ...]]:
        """Return what `optimize` does, and let others have the loop between the rewrites."""
        found: tuple[Program, list[Saving]] = program, []
        for rewritten in self._rewrites(program, world):
            found = rewritten
            await asyncio.sleep(0)
        made, savings = found
        return (made, tuple(savings)) if savings else (program, ())

    def _rewrites(self, program: Program, world: World) -> Iterator[tuple[Program, list[Saving]]]:
        """Yield the program and all that was saved after each rewrite."""
        from lightfast.engine.programs.optimizer.rewrites import REWRITES, Hazards  # loaded with the first program

        savings: list[Saving] = []
        try:
            made = replace(program, returns=returns_template(program.returns))
            for _ in range(ROUNDS):
                before = made
                for rewrite in REWRITES[:3]:
                    made, saved = rewrite(made, Hazards(self._operations, world))
                    savings += saved
                    yield made, savings
                if made == before:
                    break
            for rewrite in REWRITES[3:]:
                made, saved = rewrite(made, Hazards(self._operations, world))
                savings += saved
                yield made, savings
        except InvalidArgument:
            yield program, []
