"""A transaction in the making: mutations become events and rows, checked against the head."""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Any

import msgspec
from msgspec import UNSET

from lightfast.context.codec import encode
from lightfast.context.declarations import Declarations, Rule, check_access, conform, within
from lightfast.context.entry import (
    Delete,
    Entry,
    Event,
    EventType,
    Merge,
    Move,
    Mutation,
    Report,
    Set,
    Status,
    Transaction,
)
from lightfast.context.head import Changes, Head
from lightfast.context.kinds import Kind, mark
from lightfast.context.policies import Policy
from lightfast.context.suggest import suggest
from lightfast.core.errors import AlreadyExists, InvalidArgument, NotFound
from lightfast_link.path import check_path, is_under
from lightfast_link.value import Value, check_value, kind_of

MAX_SIZE = 2 << 20
MAX_EVENTS = 100_000
"""Bounds of one transaction: bytes of values, entries that a move or delete touches."""
_replace = msgspec.structs.replace
_OBJECT_DEPTH = 3  # mount, collection, name


class Draft:
    """Collects the events of one transaction; nothing is visible to anyone before `Head.push`.

    *trusted* writes are the engine's: access and range are not enforced, and reports are allowed.
    """

    __slots__ = (
        "cause", "changes", "conditions", "declarations", "events", "first_row", "group", "head", "label", "lease",
        "origin", "record_time", "revision", "rows", "size", "text_size", "touched", "trusted", "undone",
    )  # fmt: skip

    def __init__(
        self,
        head: Head,
        declarations: Declarations,
        *,
        revision: int,
        first_row: int,
        record_time: int,
        origin: str,
        cause: int = 0,
        group: str = "",
        label: str = "",
        lease: str = "",
        trusted: bool = False,
        undone: tuple[int, ...] = (),
    ) -> None:
        self.head = head
        self.declarations = declarations
        self.revision = revision
        self.first_row = first_row
        self.record_time = record_time
        self.origin = origin
        self.cause = cause
        self.group = group
        self.label = label
        self.lease = lease
        self.trusted = trusted
        self.undone = undone
        self.conditions: Collection[str] = ()
        self.touched: list[tuple[str, Policy, bool]] = []
        self.changes: Changes = {}
        self.events: list[Event] = []
        self.rows: list[tuple[Any, ...]] = []
        self.size = 0
        self.text_size = 0

    def get(self, path: str) -> Entry | None:
        """Return the entry at *path* as the transaction finds it by now."""
        if path in self.changes:
            return self.changes[path]
        return self.head.get(path)

    def change(self, mutation: Mutation) -> None:
        """Add one mutation, or raise what is wrong with it."""
        kind = type(mutation)
        if kind is Set:
            self.set(mutation)  # type: ignore[arg-type]
        elif kind is Report:
            self._report(mutation)  # type: ignore[arg-type]
        elif kind is Delete:
            self._delete(mutation)  # type: ignore[arg-type]
        elif kind is Merge:
            self._merge(mutation)  # type: ignore[arg-type]
        elif kind is Move:
            self._move(mutation)  # type: ignore[arg-type]
        else:
            raise ValueError(f"{kind.__name__} is no mutation")

    def set(self, mutation: Set) -> None:
        """Set one value; under a mount it becomes a wish."""
        path = mutation.path
        old = self.get(path)
        if old is None:
            check_path(path)
        rule = self.declarations.rule(path)
        value = check_value(mutation.value, path)
        if not self.trusted:
            check_access(rule, path)
            if rule.policy is not None:
                self.guard(path, rule.policy, self.conditions)
            if old is None and rule.mount and rule.declaration is None:
                raise self._undeclared(path, rule)
            if rule.limited and rule.declaration is not None:
                value = conform(rule.declaration, path, value)
        entry = self._entry(path, value, old, mutation.event_time, rule, mutation.object_id)
        if rule.mount:
            entry = _replace(entry, status=Status.PENDING, **_reported(old))
        self.size += self._put(entry, old, Kind.SET)
        if self.size > MAX_SIZE:
            raise InvalidArgument(
                f"the values of the transaction take more than {MAX_SIZE} bytes: split it, or store assets",
                reason="TRANSACTION_TOO_LARGE",
            )

    def guard(self, path: str, policy: Policy, known: Container[str]) -> None:
        """Raise what `Owners.check` raises, else touch *path*; of *known* paths the writer knows what they hold."""
        self.declarations.owners.check(path, policy, self.origin, known, self.record_time)
        self.touched.append((path, policy, False))

    def _merge(self, mutation: Merge) -> None:
        old = self.get(mutation.path)
        if type(mutation.value) is not dict:
            raise InvalidArgument(f"{mutation.path}: only a map can be merged: send a map, or use set", field="value")
        known = {} if old is None or old.value is None else old.value
        if not isinstance(known, dict):
            raise InvalidArgument(
                f"{mutation.path} holds a {kind_of(known)}, and a map can only be merged into a map: use set",
                reason="NOT_A_MAP",
                field="path",
            )
        self.set(Set(mutation.path, {**known, **mutation.value}))

    def _delete(self, mutation: Delete) -> None:
        path = check_path(mutation.path)
        paths = self._subtree(path) if mutation.recursive else [path]
        for each in paths:
            old = self.get(each)
            if old is None:
                continue
            if not self.trusted:
                rule = self.declarations.rule(each)
                # An object of an application (`/blender/objects/Cube`) goes with all it has, read-only values too.
                if each == path or not rule.mount or path.count("/") < _OBJECT_DEPTH:
                    check_access(rule, each)
                if rule.policy is not None:
                    self.guard(each, rule.policy, self.conditions)
            self.erase(old)

    def erase(self, old: Entry) -> None:
        """Delete one entry."""
        gone = _replace(
            old,
            revision=self.revision,
            version=old.version + 1,
            origin=self.origin,
            cause=self.cause,
            event_time=self.record_time,
            record_time=self.record_time,
        )
        self._row(Kind.DELETE, gone, "", 2)
        self.events.append(Event(EventType.DELETE, gone, old))
        self.changes[old.path] = None

    def _move(self, mutation: Move) -> None:
        source, target = check_path(mutation.source), check_path(mutation.target)
        if is_under(target, source):
            raise InvalidArgument(f"{source} cannot move to {target}, which lies in itself", field="to")
        paths = self._subtree(source)
        if not paths:
            raise NotFound(f"there is nothing at {source} to move", metadata={"path": source}, field="from")
        taken = self._subtree(target)
        if taken:
            raise AlreadyExists(
                f"{source} cannot move to {target}: {taken[0]} exists. Delete it first, or choose another path",
                reason="TARGET_TAKEN",
                metadata={"path": taken[0]},
                field="to",
            )
        for path in paths:
            moved = target + path[len(source) :]
            if not self.trusted:
                self._check_move(path, moved)
            self.relocate(path, moved)

    def _check_move(self, source: str, target: str) -> None:
        before, after = self.declarations.rule(source), self.declarations.rule(target)
        if before.policy is not None:
            self.guard(source, before.policy, self.conditions)
        if after.policy is not None:
            self.guard(target, after.policy, (target,))  # that nothing is there was seen
        if not before.mount or before.mount != after.mount or before.declaration != after.declaration:
            # A rename of an application's object changes none of its values, so read-only ones may come along.
            check_access(before, source)
            check_access(after, target)
        if after.mount and after.declaration is None and before.mount != after.mount:
            raise self._undeclared(target, after)

    def relocate(self, source: str, target: str) -> None:
        """Move one entry; its history and identity go with it."""
        check_path(target)
        old = self.get(source)
        if old is None:
            raise NotFound(f"there is nothing at {source} to move", metadata={"path": source})
        moved = _replace(
            old,
            path=target,
            revision=self.revision,
            version=old.version + 1,
            origin=self.origin,
            cause=self.cause,
            record_time=self.record_time,
        )
        left = _replace(old, revision=self.revision, record_time=self.record_time, origin=self.origin)
        self._row(Kind.LEFT, left, "", 2)  # directly before its MOVE: the history relies on it
        self._row(Kind.MOVE, moved, source, mark(moved))
        self.events.append(Event(EventType.MOVE, moved, old, source))
        self.changes[source] = None
        self.changes[target] = moved

    def _report(self, mutation: Report) -> None:
        path = mutation.path
        if not self.trusted:
            raise InvalidArgument(f"{path}: only an application reports; use set", field="path")
        old = self.get(path)
        entry = self.reported(mutation, old)
        if entry is not None:
            self._put(entry, old, Kind.REPORT)

    def reported(self, mutation: Report, old: Entry | None) -> Entry | None:
        """Return the entry after a report, or `None` where it is about an entry that does not exist."""
        path = mutation.path
        value = mutation.value if mutation.value is not UNSET or old is not None else mutation.reported
        if value is not UNSET:
            check_value(value, path)
        elif old is None:
            return None
        if old is None:
            check_path(path)
        rule = self.declarations.rule(path)
        if rule.policy is not None and old is not None and mutation.value not in (UNSET, old.value) and not self.cause:
            self.touched.append((path, rule.policy, True))  # no answer to a wish: a hand on the real thing
        reason = mutation.reason
        wished = old.value if value is UNSET and old is not None else value
        entry = self._entry(path, wished, old, mutation.event_time, rule, mutation.object_id)  # type: ignore[arg-type]
        kept = _reported(old)
        if mutation.reported is not UNSET:
            kept = {"reported": check_value(mutation.reported, path), "reported_revision": self.revision}
            if rule.limited and rule.declaration is not None and not reason:
                reason = within(rule.declaration, path, mutation.reported)
        return _replace(entry, status=mutation.status, status_reason=reason, **kept)

    def settle(self, moving: Entry) -> None:
        """Commit a signal as it is now; its origin stays that of its last writer."""
        created = moving.create_revision or self.revision
        entry = _replace(moving, revision=self.revision, create_revision=created, record_time=self.record_time)
        self._put(entry, moving, Kind.SET)

    def restore(self, path: str, before: Entry) -> None:
        """Give *path* the value, the object and the lease of *before* again; under a mount as a wish."""
        old = self.get(path)
        rule = self.declarations.rule(path)
        entry = _replace(
            self._entry(path, before.value, old, 0, rule, before.object_id), lease=before.lease, signal=before.signal
        )
        if rule.mount:
            entry = _replace(entry, status=Status.PENDING, **_reported(old))
        self._put(entry, old, Kind.SET)

    def _entry(
        self, path: str, value: Value | None, old: Entry | None, event_time: int, rule: Rule, object_id: str | None
    ) -> Entry:
        if old is None:
            created, version = self.revision, 1
        else:
            created, version = old.create_revision or self.revision, old.version + 1
            if object_id is None:
                object_id = old.object_id
        return Entry(
            path,
            value,
            self.revision,
            created,
            version,
            self.origin,
            self.cause,
            event_time or self.record_time,
            self.record_time,
            rule.signal,
            object_id or "",
            lease=self.lease,
        )

    def _put(self, entry: Entry, old: Entry | None, kind: Kind) -> int:
        self.events.append(Event(EventType.SET, entry, old))
        self.changes[entry.path] = entry
        return self._row(kind, entry, None, mark(entry))

    def _row(self, kind: Kind, entry: Entry, source: str | None, live: int) -> int:
        """Add one row of `sink`; return the length of its text."""
        if len(self.rows) >= MAX_EVENTS:
            raise InvalidArgument(
                f"the transaction touches more than {MAX_EVENTS} entries: move or delete smaller parts",
                reason="TRANSACTION_TOO_LARGE",
            )
        text = encode(entry)
        self.text_size += len(text)
        row = self.first_row + len(self.rows)
        self.rows.append((0, self.revision, row, entry.path, int(kind), source or None, entry.event_time, text, live))
        return len(text)

    def _subtree(self, path: str) -> list[str]:
        """Return the paths of the entries at and below *path* as the transaction finds them by now, ordered."""
        found = self.head.below(path)
        if self.changes:
            found = [child for child in found if self.get(child) is not None]
            known = set(found)
            found += [
                child
                for child, entry in self.changes.items()
                if entry is not None and child != path and child not in known and is_under(child, path)
            ]
            found.sort()
        return [path, *found] if self.get(path) is not None else found

    def _undeclared(self, path: str, rule: Rule) -> NotFound:
        hint = suggest(path, self.head.tree, self.declarations.under(rule.mount))
        return NotFound(
            f"{path} is not known: the application at {rule.mount} declares no such path.{hint}",
            reason="PATH_UNDECLARED",
            metadata={"path": path, "mount": rule.mount},
            field="path",
        )

    def finish(self) -> tuple[list[tuple[Any, ...]], Transaction]:
        """Return the rows to write and the transaction to publish."""
        undone = "[" + ",".join(map(str, self.undone)) + "]" if self.undone else None
        head = (self.record_time, self.origin, self.cause, self.group, self.label, undone, len(self.rows))
        if self.rows:
            self.rows[0] = (1, *self.rows[0][1:], *head)
        else:
            self.rows.append((2, self.revision, self.first_row, None, None, None, None, None, 0, *head))
        transaction = Transaction(
            self.revision,
            self.record_time,
            self.origin,
            self.cause,
            self.group,
            self.label,
            tuple(self.events),
            self.undone,
        )
        return self.rows, transaction

    def entries(self) -> tuple[Entry, ...]:
        """Return the entries after the transaction, in the order they were first touched."""
        return tuple([entry for entry in self.changes.values() if entry is not None])


def _reported(old: Entry | None) -> dict[str, Any]:
    if old is None or old.reported is None:
        return {}
    return {"reported": old.reported, "reported_revision": old.reported_revision}
