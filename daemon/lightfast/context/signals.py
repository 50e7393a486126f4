"""Signals: volatile values, of which the latest wins. Nothing here touches the disk or waits."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from msgspec import UNSET

from lightfast.context.declarations import Declarations, Rule, check_access, conform, within
from lightfast.context.entry import Entry, Event, EventType, Merge, Mutation, Precondition, Report, Set, Status
from lightfast.context.head import Head
from lightfast.context.settle import Settler
from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument
from lightfast_link.path import check_path
from lightfast_link.value import Value, check_value


class Signals:
    """Makes volatile entries: revision 0, and a version of their own that grows with each update."""

    def __init__(self, head: Head, declarations: Declarations, settler: Settler, clock: Clock) -> None:
        self._head = head
        self._declarations = declarations
        self._settler = settler
        self._clock = clock

    def only(self, mutations: Sequence[Mutation]) -> bool:
        """Say whether *mutations* write signals alone."""
        rule = self._declarations.rule
        for mutation in mutations:
            kind = type(mutation)
            if kind is Set or kind is Report or kind is Merge:
                if not rule(mutation.path).signal:  # type: ignore[union-attr]
                    return False
            else:
                return False
        return bool(mutations)

    def prepare_all(
        self,
        mutations: Sequence[Mutation],
        origin: str,
        preconditions: Sequence[Precondition],
        *,
        trusted: bool,
        lease: str,
    ) -> list[Event]:
        """Return the events of updates that count together, or raise what is wrong with the first bad one."""
        known = {condition.path for condition in preconditions}
        try:
            return [self.prepare(each, origin, trusted=trusted, lease=lease, known=known) for each in mutations]
        except ValueError as error:
            raise InvalidArgument(str(error), field="mutations") from None

    def prepare(
        self, mutation: Mutation, origin: str, *, trusted: bool, lease: str = "", known: Container[str] = ()
    ) -> Event:
        """Return the event of one update, or raise what is wrong with it; *known* are paths with a precondition."""
        if not isinstance(mutation, (Set, Report, Merge)):
            raise InvalidArgument(f"{type(mutation).__name__.lower()} is not allowed for signals: use set")
        path = mutation.path
        rule = self._declarations.rule(path)
        if not rule.signal:
            raise InvalidArgument(
                f"{path} is not declared a signal: declare it so, or use apply", reason="NOT_A_SIGNAL", field="path"
            )
        old = self._head.get(path)
        if old is None:
            check_path(path)
        if not trusted:
            check_access(rule, path)
        now = self._clock.now_ns()
        if rule.policy is not None and not trusted:
            self._declarations.owners.check(path, rule.policy, origin, known, now)
        extra: dict[str, Any] = {}
        if rule.mount or type(mutation) is Report:
            extra = self._report(mutation, old, rule, trusted)
        return Event(
            EventType.SET,
            Entry(
                path,
                self._value(mutation, old, rule, trusted),
                0,
                0 if old is None else old.create_revision,
                1 if old is None else old.version + 1,
                origin,
                0,
                getattr(mutation, "event_time", 0) or now,
                now,
                True,
                getattr(mutation, "object_id", None) or ("" if old is None else old.object_id),
                lease=lease,
                **extra,
            ),
            old,
        )

    def _value(self, mutation: Set | Report | Merge, old: Entry | None, rule: Rule, trusted: bool) -> Value | None:
        if isinstance(mutation, Report):
            value = mutation.reported if mutation.value is UNSET else mutation.value
            if value is UNSET:
                return None if old is None else old.value
            return check_value(value, mutation.path)
        value = check_value(mutation.value, mutation.path)
        if isinstance(mutation, Merge):
            known = {} if old is None or old.value is None else old.value
            if not isinstance(known, dict) or not isinstance(value, dict):
                raise InvalidArgument(
                    f"{mutation.path}: only a map can be merged into a map: use set", reason="NOT_A_MAP", field="path"
                )
            value = {**known, **value}
        if rule.limited and not trusted and rule.declaration is not None:
            value = conform(rule.declaration, mutation.path, value)
        return value

    def _report(self, mutation: Set | Report | Merge, old: Entry | None, rule: Rule, trusted: bool) -> dict[str, Any]:
        """Return the fields that entries under a mount have besides; a signal's wish is not answered."""
        if not isinstance(mutation, Report):
            if old is None or old.reported is None:
                return {"status": Status.SETTLED}
            return {
                "status": Status.SETTLED,
                "reported": old.reported,
                "reported_revision": old.reported_revision,
            }
        if not trusted:
            raise InvalidArgument(f"{mutation.path}: only an application reports; use set", field="path")
        reason = mutation.reason
        if mutation.reported is UNSET:
            reported = None if old is None else old.reported
        else:
            reported = check_value(mutation.reported, mutation.path)
            if rule.limited and rule.declaration is not None and not reason:
                reason = within(rule.declaration, mutation.path, reported)
        return {"status": mutation.status, "status_reason": reason, "reported": reported}

    def put(self, events: Sequence[Event]) -> None:
        """Make prepared updates the live values."""
        tree = self._head.tree
        touch = self._settler.touch
        for event in events:
            path = event.entry.path
            tree.put(path, event.entry)
            touch(path)
        if self._declarations.guarded:
            self._touch(events)

    def _touch(self, events: Sequence[Event]) -> None:
        """Note who has their hand on what; an application's signals are its own, never answers."""
        for event in events:
            entry = event.entry
            policy = self._declarations.rule(entry.path).policy
            if policy is not None:
                hand = entry.origin.startswith("app:")
                self._declarations.owners.touch(entry.path, policy, entry.origin, entry.record_time, hand=hand)
