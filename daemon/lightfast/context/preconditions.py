"""What must hold for a transaction to be committed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import UNSET

from lightfast.context.entry import Entry, Precondition
from lightfast.context.head import Head
from lightfast.core.errors import Conflict, InvalidArgument
from lightfast_link.path import check_path
from lightfast_link.value import Value


def check_preconditions(head: Head, preconditions: Sequence[Precondition]) -> None:
    """Raise `Conflict` with the entries that stand against *preconditions*."""
    failed: list[str] = []
    entries: list[Entry] = []
    for index, condition in enumerate(preconditions):
        left_out = (condition.revision is UNSET) + (condition.value is UNSET) + (condition.absent is UNSET)
        if left_out != 2:
            where = f"preconditions[{index}]"
            raise InvalidArgument(f"{where} must give one of revision, value and absent", field=where)
        entry = head.get(condition.path)
        try:
            if entry is None:
                check_path(condition.path)
        except ValueError as error:
            where = f"preconditions[{index}]"
            raise InvalidArgument(f"{where}: {error}", field=f"{where}.path") from None
        problem = _problem(condition, entry)
        if problem:
            failed.append(f"{condition.path} {problem}")
            if entry is not None:
                entries.append(entry)
    if failed:
        raise Conflict(
            "; ".join(failed[:5]) + ": read it again and decide anew",
            metadata={"path": failed[0].split(" ", 1)[0]},
            details=tuple(entries),
            field="preconditions",
        )


def _problem(condition: Precondition, entry: Entry | None) -> str:
    if condition.revision is not UNSET:
        actual = 0 if entry is None else entry.revision
        return "" if actual == condition.revision else f"is at revision {actual}, not {condition.revision}"
    if condition.absent is not UNSET:
        if condition.absent:
            return "" if entry is None else f"exists, since revision {entry.create_revision}"
        return "" if entry is not None else "does not exist"
    if entry is None:
        return "does not exist"
    return "" if same(entry.value, condition.value) else "holds another value"  # type: ignore[arg-type]


def same(left: Value | None, right: Value | None) -> bool:
    """Say whether two values are equal in kind and content, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(item, right[name]) for name, item in left.items())
    return left == right
