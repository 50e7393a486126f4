"""Answers conflict records: the choice is written as one transaction, which takes the record away."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lightfast.context.entry import Delete, Entry, Mutation, Precondition, Set
from lightfast.context.store import Store
from lightfast.core.errors import FailedPrecondition, LightfastError, NotFound
from lightfast.engine.apps.conflicts import ROOT, Conflicts
from lightfast_link.path import is_under, join
from lightfast_link.value import Value


class Choice(StrEnum):
    """Which of the two values is to hold."""

    WISHED = "wished"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A conflict that is over: the *revision* of the choice, and the entry, `None` where the choice was its absence."""

    revision: int
    path: str
    entry: Entry | None


async def resolve(
    store: Store, conflicts: Conflicts, conflict_id: str, choice: Choice | Value, *, origin: str
) -> Resolved:
    """Write *choice*, or a value of the caller's own, and take the record away, as *origin* and because of the record.

    Under a mount it is an ordinary wish, checked like any other. The application's value is wished, too: so it
    holds even where it has changed since. Raises `NotFound`, `FailedPrecondition` where the record does not hold what
    was chosen, `Conflict` where somebody else resolves it at the same moment, and what `Store.apply` raises.
    """
    target = join(ROOT, conflict_id) if conflict_id else ROOT
    record = store.get(target) if is_under(target, ROOT) else None
    body = record.value if record is not None else None
    if record is None or not isinstance(body, dict):
        raise NotFound(
            f"there is no conflict {conflict_id!r}: it was resolved, or never was; see 'lightfast apps conflicts'",
            reason="CONFLICT_UNKNOWN",
            field="conflict_id",
        )
    path = str(body["path"])
    entry = store.get(path)
    value = _chosen(conflict_id, body, choice)
    writes: list[Mutation] = [Set(path, value)] if value is not None else []
    gone = value is None and bool(body.get("open")) and entry is not None
    if gone:
        writes = [Delete(path)]
    here = Precondition(path, revision=entry.revision) if entry is not None else Precondition(path, absent=True)
    if writes:  # checked as the write of a client, then written together with what no client may write
        checked = await store.apply(writes, origin=origin, preconditions=[here], validate_only=True)
        writes = [Set(path, entry.value) for entry in checked.entries if entry.value is not None] or writes
    not_yet = conflicts.resolved(target, path, gone=record.revision if gone else 0)
    try:
        applied = await store.apply(
            [*writes, Delete(target)],
            origin=origin,
            cause=record.revision,
            label=f"conflict {conflict_id} resolved",
            preconditions=[Precondition(target, revision=record.revision), *([here] if writes else [])],
            trusted=True,
        )
    except LightfastError:
        not_yet()
        raise
    return Resolved(applied.revision, path, store.get(path))


def _chosen(conflict_id: str, body: dict[str, Value], choice: Choice | Value) -> Value | None:
    """Return the value to write; `None` where there is none to write."""
    if choice is Choice.REPORTED:
        return body.get("reported")
    if choice is not Choice.WISHED:
        return choice
    if "wished" not in body:
        path = str(body["path"])
        raise FailedPrecondition(
            f"conflict {conflict_id} was about {path} being deleted or renamed, not about a value: "
            "choose reported to let it be, or give a value",
            reason="CONFLICT_HAS_NO_VALUE",
            metadata={"path": path},
        )
    return body["wished"]
