"""One link at work: which of its ends leads now, and what the other one should hold.

Each end has a *turn*: when its value last changed, counted over all that the link saw; what the
link itself wrote has the turn of the value it carried. So the end with the later turn leads, and
two changes at the same time end in agreement, whichever was written last. What an application answers
to a carried value is no news: its answer belongs to the turn it answers, so that a knob that went on
turning meanwhile is not thrown back.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from lightfast.context.entry import Entry, Event
from lightfast.context.store import Store
from lightfast.core.measures import between
from lightfast.engine.links.convert import convert
from lightfast.engine.links.expression import Expression, compile_expression
from lightfast_link.value import Value, close, kind_of

MAX_BOUNCES = 4
"""How often applications may answer a carried value with another one before the link gives in."""
MAX_OWN = 256
"""How many revisions written by a link are remembered, to recognize answers to them."""


@dataclass(frozen=True, slots=True)
class Link:
    """One live mapping; see `links.proto`."""

    source: str
    target: str
    link_id: str = ""
    two_way: bool = False
    expression: str = ""
    tolerance: float = 0.0
    disabled: bool = False
    carried: int = 0
    last_error: str = ""
    max_rate_hz: float = 0.0
    raw_units: bool = False


class Side(Enum):
    """The ends of a link."""

    SOURCE = 0
    TARGET = 1

    @property
    def other(self) -> Side:
        """Return the opposite end."""
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class _End:
    path: str
    turn: int = 0
    seen: int = 0
    changed: int = 0
    bounces: int = 0
    sent_turn: int = 0
    sent_bounces: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    """One value that the link wrote: when it was news, and what answers it has had."""

    turn: int
    bounces: int
    value: Value | None


@dataclass(frozen=True, slots=True)
class Carry:
    """One value to write: *cause* is the revision that brought it, *follower* what is there now."""

    side: Side
    path: str
    value: Value
    cause: int
    follower: Entry | None


@dataclass(slots=True, eq=False)
class Carrier:
    """The state of one link; the loop's thread only."""

    link_id: str
    ends: dict[Side, _End]
    two_way: bool
    expression: Expression
    inverse: Callable[[float], float] | None
    tolerance: float
    disabled: bool
    max_rate_hz: float = 0.0
    raw_units: bool = False
    carried: int = 0
    last_error: str = ""
    dirty: bool = False
    idle: asyncio.Event = field(default_factory=_set_event)
    stalled: bool = False
    paused: bool = False
    _own: OrderedDict[int, _Sent] = field(default_factory=OrderedDict)

    @classmethod
    def of(cls, link: Link) -> Carrier:
        """Return the carrier of *link*; raise `InvalidArgument` for a formula that cannot serve."""
        expression = compile_expression(link.expression)
        return cls(
            link_id=link.link_id,
            ends={Side.SOURCE: _End(link.source), Side.TARGET: _End(link.target)},
            two_way=link.two_way,
            expression=expression,
            inverse=expression.inverse() if link.two_way else None,
            tolerance=link.tolerance,
            disabled=link.disabled,
            max_rate_hz=link.max_rate_hz,
            raw_units=link.raw_units,
        )

    @property
    def origin(self) -> str:
        """Return who writes what the link carries."""
        return "link:" + self.link_id

    @property
    def link(self) -> Link:
        """Return the link as it stands."""
        return Link(
            source=self.ends[Side.SOURCE].path,
            target=self.ends[Side.TARGET].path,
            link_id=self.link_id,
            two_way=self.two_way,
            expression=self.expression.text,
            tolerance=self.tolerance,
            disabled=self.disabled,
            carried=self.carried,
            last_error=self.last_error,
            max_rate_hz=self.max_rate_hz,
            raw_units=self.raw_units,
        )

    def begin(self, store: Store) -> None:
        """Take the ends as they are: nothing that was committed before counts as news."""
        for end in self.ends.values():
            entry = store.get(end.path)
            if entry is not None:
                end.seen, end.changed = entry.version, entry.revision
        self.dirty = not self.disabled

    def observe(self, side: Side, event: Event, turn: int) -> bool:
        """Take an event of one end; say whether there may be work.

        *turn* grows from event to event, by more than 1.
        """
        end, entry, previous = self.ends[side], event.entry, event.previous
        end.seen = entry.version
        if previous is not None and _equal(previous.value, entry.value) and not _set_again(entry):
            return self.stalled
        own = entry.origin == self.origin
        if side is Side.TARGET and previous is None and self.last_error and not own:
            return True  # it was waited for: the source leads
        end.changed = entry.revision
        answered = self._own.get(entry.cause)
        if own:
            end.turn, end.bounces = end.sent_turn, end.sent_bounces
            self._remember(entry.revision, _Sent(end.turn, end.bounces, entry.value))
        elif answered is None:
            end.turn, end.bounces = turn, 0
        elif _confirms(entry.value, answered.value, self.tolerance):
            end.turn, end.bounces = answered.turn, answered.bounces
        else:
            end.turn, end.bounces = answered.turn + 1, answered.bounces + 1  # later than it, before all other news
        return side is Side.SOURCE or self.two_way

    def forget(self, side: Side) -> None:
        """Take note that the entry of one end is gone: the other one keeps its value."""
        self.ends[side].seen = 0

    def next_carry(self, store: Store) -> Carry | None:
        """Return what is to be written, or nothing where the ends agree; raise `ValueError` where it cannot be."""
        lead = self._leader(store)
        end, follow = self.ends[lead], self.ends[lead.other]
        leader, follower = store.get(end.path), store.get(follow.path)
        # Unseen news of the leader only confirms its lead; news of the follower may take it away.
        self.stalled = self.two_way and self._unseen(follower, follow)
        if self.stalled or leader is None or leader.value is None:
            return None  # a stalled link goes on with the event that is on its way
        value = self.converted(store, lead, leader.value)
        held = follower.value if follower is not None else None
        if held is not None and self._agree(store, lead, leader.value, held, value):
            return None
        if end.bounces >= MAX_BOUNCES:
            raise ValueError(
                f"the ends do not agree: {end.path} holds {leader.value!r}, which {follow.path} does not take"
            )
        return Carry(lead.other, follow.path, value, end.changed or leader.revision, follower)

    def sending(self, carry: Carry) -> None:
        """Note that *carry* is being written."""
        lead = self.ends[carry.side.other]
        follow = self.ends[carry.side]
        follow.sent_turn, follow.sent_bounces = lead.turn, lead.bounces

    def converted(self, store: Store, lead: Side, value: Value) -> Value:
        """Return *value* of the end *lead* as the other end should hold it; raise `ValueError`."""
        follow = self.ends[lead.other].path
        formula = self._units(store, lead)
        if not self.expression.identity:
            formula = self.expression.apply if lead is Side.SOURCE else self.inverse
        try:
            return convert(value, formula, _kind(store, follow))
        except ValueError as error:
            raise ValueError(f"{self.ends[lead].path} to {follow}: {error}") from None

    def _units(self, store: Store, lead: Side) -> Callable[[float], float] | None:
        """Return the way from the unit of the end *lead* to that of the other; a formula of the user's replaces it."""
        if self.raw_units:
            return None
        here, there = (store.declaration(self.ends[side].path) for side in (lead, lead.other))
        ways = between(here.unit, there.unit) if here is not None and there is not None else None
        return ways[0] if ways else None

    def _leader(self, store: Store) -> Side:
        source, target = self.ends[Side.SOURCE], self.ends[Side.TARGET]
        if not self.two_way or store.get(target.path) is None:
            return Side.SOURCE
        if store.get(source.path) is None or target.turn > source.turn:
            return Side.TARGET
        return Side.SOURCE

    def _agree(self, store: Store, lead: Side, leader: Value, follower: Value, wanted: Value) -> bool:
        if close(follower, wanted, self.tolerance):
            return True
        if not self.two_way or self.ends[lead].turn != self.ends[lead.other].turn:
            return False
        # One end was made from the other, where rounding may only be taken back one way.
        try:
            back = self.converted(store, lead.other, follower)
        except ValueError:
            return False
        return close(leader, back, self.tolerance)

    def _unseen(self, entry: Entry | None, end: _End) -> bool:
        """Say whether the event that made *entry* is still on its way: it may turn the tables."""
        return entry is not None and entry.version > end.seen

    def _remember(self, revision: int, sent: _Sent) -> None:
        if revision:
            self._own[revision] = sent
            while len(self._own) > MAX_OWN:
                self._own.popitem(last=False)


def _kind(store: Store, path: str) -> str:
    """Return the kind of value that *path* takes: the declared one, or that of an application's property."""
    declared = store.declaration(path)
    if declared is not None and declared.kind:
        return declared.kind
    entry = store.get(path)
    if entry is None or entry.value is None or not store.mount_of(path):
        return ""
    return kind_of(entry.value)


def _set_again(entry: Entry) -> bool:
    """Say whether someone set the value it had already: reports and settled signals do not count."""
    return not (entry.signal or entry.origin == "daemon" or entry.origin.startswith("app:"))


def _confirms(held: Value | None, sent: Value | None, tolerance: float) -> bool:
    if held is None or sent is None:
        return held is sent
    return close(held, sent, tolerance)


def _equal(left: Value | None, right: Value | None) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return type(left) is type(right) and left == right
