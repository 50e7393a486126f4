"""Pins: entries below `/pins`, written by whoever wants something kept.

The value of a pin says what: a pattern of paths (their entries stay in memory, the assets they refer to stay), the
SHA-256 or the address of an asset, the id or key of a memory, the id of a frame; or a list of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightfast.context.entry import Entry
from lightfast.context.upkeep.collect_records import Reached
from lightfast.context.upkeep.references import named
from lightfast_link.path import compile_pattern
from lightfast_link.value import Asset, Value

ROOT = "/pins"


class Pins:
    """The pins of the tree, as roots."""

    name = "pin"

    def __init__(self, select: Callable[[str], Sequence[Entry]]) -> None:
        """*select* returns the live entries of a pattern."""
        self._select = select

    async def reach(self, reached: Reached) -> None:
        """Add what pins name."""
        for entry in self._select(ROOT + "//"):
            self._add(entry.value, reached)

    def _add(self, value: Value | None, reached: Reached) -> None:
        if isinstance(value, list):
            for each in value:
                self._add(each, reached)
        elif isinstance(value, Asset):
            reached.assets[value.sha256] = self.name
        elif isinstance(value, str):
            found = named([value])
            reached.assets.update(dict.fromkeys(found, self.name))
            if value.startswith("/"):
                try:
                    reached.patterns.append((compile_pattern(value), self.name))
                except ValueError:
                    return  # it pins nothing: no path is like that
            elif not found:
                reached.names[value] = self.name
