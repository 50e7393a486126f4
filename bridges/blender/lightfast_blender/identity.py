"""Stable ids for data-blocks: a custom property that travels with them through renames and saves."""

from __future__ import annotations

import uuid
from typing import Any, Dict, Iterable, Tuple

PROPERTY = "lightfast_id"


def assign(items: Iterable[Tuple[str, Any]], previous: Dict[str, str], *, undone: bool = False) -> Dict[str, str]:
    """Return name → id for *items* of (name, data-block), giving ids to those without.

    *previous* is what the last call returned. A duplicate carries the id of its original: whoever bears
    the name the id had keeps it. An undo may take an id away: then (*undone*) the bearer of the name gets it back.
    Data-blocks that cannot be written (linked ones) are known by name.
    """
    result: Dict[str, str] = {}
    owners = {object_id: name for name, object_id in previous.items()}
    pairs = list(items)
    names = {name for name, _ in pairs}
    taken = set()
    late = []
    for name, block in pairs:
        object_id = block.get(PROPERTY)
        if not isinstance(object_id, str) or not object_id:
            late.append((name, block))
            continue
        rightful = owners.get(object_id)
        if object_id in taken or (
            rightful is not None and rightful != name and rightful in names and _bears(pairs, rightful, object_id)
        ):
            late.append((name, block))
            continue
        taken.add(object_id)
        result[name] = object_id
    for name, block in late:
        known = previous.get(name) if undone else None
        object_id = known if known is not None and known not in taken else uuid.uuid4().hex[:16]
        result[name] = object_id if _store(block, object_id) else "name:" + name
        taken.add(object_id)
    return result


def _bears(pairs: Any, name: str, object_id: str) -> bool:
    return any(other == name and block.get(PROPERTY) == object_id for other, block in pairs)


def _store(block: Any, object_id: str) -> bool:
    if getattr(block, "library", None) is not None:
        return False
    try:
        block[PROPERTY] = object_id
    except (AttributeError, TypeError, RuntimeError):
        return False
    return True
