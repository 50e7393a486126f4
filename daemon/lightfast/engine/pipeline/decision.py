"""How a branch or a map was decided, and the text that keeps it for whoever takes the run up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast_link.value import check_value, from_json, to_json

MOST_ITEMS = 10_000
"""The most turns of one map."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which *block* of a branch is run; or the *items* of a map, their *name*, and how many turns may be under way.

    *parallel* 0: as many as hazards allow.
    """

    block: str = ""
    items: tuple[Any, ...] | None = None
    name: str = "item"
    parallel: int = 0

    def text(self) -> str:
        """Return it as a text."""
        if self.items is None:
            return json.dumps({"block": self.block})
        items = [None if item is None else to_json(item) for item in self.items]
        return json.dumps({"items": items, "name": self.name, "parallel": self.parallel}, ensure_ascii=False)


def decision_of(text: str) -> Decision:
    """Return the decision of a text that `Decision.text` made; raise `InvalidArgument` (NOTE_MALFORMED)."""
    try:
        plain = json.loads(text)
        if "items" not in plain:
            return Decision(block=str(plain["block"]))
        items = tuple(None if item is None else from_json(item) for item in plain["items"])
        return Decision(items=items, name=str(plain["name"]), parallel=int(plain["parallel"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidArgument(
            f"the note of how it was decided cannot be read ({error}): roll the run back and start it again",
            reason="NOTE_MALFORMED",
        ) from error


def turns_of(arguments: Mapping[str, Any]) -> Decision:
    """Return the turns of a map of resolved *arguments*; raise `InvalidArgument` (MAP_ITEMS)."""
    items = arguments.get("items")
    if items is None:
        items = ()
    if not isinstance(items, (list, tuple)):
        raise InvalidArgument(
            f"items is a {type(items).__name__}: flow.map takes a list", reason="MAP_ITEMS", field="arguments.items"
        )
    if len(items) > MOST_ITEMS:
        raise InvalidArgument(
            f"{len(items)} items, the most is {MOST_ITEMS}: map over fewer", reason="MAP_ITEMS", field="arguments.items"
        )
    try:
        for index, item in enumerate(items):
            if item is not None:
                check_value(item, f"items[{index}]")
    except ValueError as error:
        raise InvalidArgument(str(error), reason="MAP_ITEMS", field="arguments.items") from None
    parallel = arguments.get("parallel") or 0
    if not isinstance(parallel, int) or parallel < 0:
        raise InvalidArgument(
            f"parallel is {parallel!r}: use a whole number from 1", reason="MAP_PARALLEL", field="arguments.parallel"
        )
    name = arguments.get("as") or "item"
    return Decision(items=tuple(items), name=str(name), parallel=int(parallel))
