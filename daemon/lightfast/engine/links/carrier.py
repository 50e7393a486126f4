"""One link at work: which of its ends leads now, and what the other one should hold.

Each end has a *turn*: when its value last changed, counted over all that the link saw; what the
link itself wrote has the turn of the value it carried. So the end with the later turn leads, and
two changes at the same time end in agreement, whichever was written last. What an application answers
to a carried value is no news: its answer belongs to the turn it answers, so that a knob that went on
turning meanwhile is not thrown back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace

import msgspec

from lightfast.context.entry import Declaration, Entry, Event
from lightfast.core.clock import SYSTEM
from lightfast.engine.links.asides import Asides, View, WaitsError, rate_missing
from lightfast.engine.links.convert import convert
from lightfast.engine.links.ends import ECHO_S, End, Sent, Side, confirms, rounded, same
from lightfast.engine.links.glide import Glide, like, numbers_of
from lightfast.engine.links.link import Link
from lightfast.engine.links.ways import Converter, Ways
from lightfast_link.value import Value, close, kind_of

__all__ = ["MAX_BOUNCES", "Carrier", "Carry", "Link", "Side"]

MAX_BOUNCES = 4
"""How often applications may answer a carried value with another one before the link gives in."""
MAX_OWN = 256
"""How many revisions written by a link are remembered, to recognize answers to them."""


class Carry(msgspec.Struct, frozen=True, gc=False):
    """One value to write: *cause* is the revision that brought it, *follower* what is there now."""

    side: Side
    path: str
    value: Value
    cause: int
    follower: Entry | None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """The ways between ends that are declared so; None where they change with the rates."""

    source: Declaration | None
    target: Declaration | None
    ways: Ways | None
    kinds: tuple[str, str]
    """The declared kinds of source and target; empty where none is."""


class Carrier:
    """The state of one link; the loop's thread only. Raises `InvalidArgument` for a formula that cannot serve."""

    def __init__(self, link: Link) -> None:
        self.settings = link
        self.link_id = link.link_id
        self.origin = "link:" + link.link_id
        self._source, self._target = End(link.source), End(link.target)
        self.ends = {Side.SOURCE: self._source, Side.TARGET: self._target}
        self.two_way = link.two_way
        self.tolerance = link.tolerance
        self.max_rate_hz = link.max_rate_hz
        self.off = link.disabled or link.bypass
        self.asides = Asides.of(link)
        self.gliding: Glide | None = None
        self.carried = link.carried
        self.last_error = ""
        self.waiting = ""
        self.after = 0
        self.dirty = self.stalled = self.paused = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._smooth_s = link.smooth_s
        self._converter = Converter(link)
        self._plan: _Plan | None = None
        self._led = Side.SOURCE
        self._aside_changed = 0
        self._own: OrderedDict[int, Sent] = OrderedDict()
        self.look_after = 0.0
        self._looked = False
        self._now = self._since = self._rate = 0.0
        self._counted = 0

    @property
    def link(self) -> Link:
        """Return the link as it stands."""
        return replace(
            self.settings,
            source=self.ends[Side.SOURCE].path,
            target=self.ends[Side.TARGET].path,
            carried=self.carried,
            last_error=self.last_error,
            waiting=self.waiting,
            rate_hz=self._rate_now(),
        )

    def begin(self, store: View) -> None:
        """Take the ends as they are: nothing that was committed before counts as news."""
        for end in self.ends.values():
            entry = store.get(end.path)
            if entry is not None:
                end.seen, end.changed = entry.version, entry.revision
        self.dirty = not self.off

    def rest(self, revision: int) -> None:
        """Leave off: what was to be carried is not, until the next change after *revision*."""
        self.after = revision
        self.dirty = self.stalled = False
        self.gliding = None

    def observe(self, side: Side, event: Event, turn: int) -> bool:
        """Take an event of one end; say whether there may be work.

        *turn* grows from event to event, by more than 1.
        """
        end, entry, previous = self.ends[side], event.entry, event.previous
        end.seen = entry.version
        if previous is not None and same(previous.value, entry.value) and not _set_again(entry):
            return self.stalled
        own = entry.origin == self.origin
        if side is Side.TARGET and previous is None and self.last_error and not own:
            return True  # it was waited for: the source leads
        end.changed = entry.revision
        answered = self._own.get(entry.cause)
        if own:
            sent = end.sent or Sent(end.turn, end.bounces, entry.value)
            end.turn, end.bounces = sent.turn, sent.bounces
            if entry.revision:
                self._remember(entry.revision, Sent(sent.turn, sent.bounces, entry.value, sent.passing))
        elif answered is None:
            if end.sent is not None and end.is_echo(entry, SYSTEM.monotonic(), self._declared(side)):
                end.echoes += 1
            else:
                end.echoes, self._looked = 0, False
            end.turn, end.bounces = turn, end.echoes
        elif answered.passing or confirms(entry.value, answered.value, self._tolerance(side)):
            end.turn, end.bounces = answered.turn, answered.bounces
        else:
            end.turn, end.bounces = answered.turn + 1, answered.bounces + 1  # later than it, before all other news
            if rounded(entry.value, answered.value, self._declared(side)):
                end.made_of, end.made = answered.value, entry.value
        return side is Side.SOURCE or self.two_way

    def observe_aside(self, event: Event) -> None:
        """Take an event of something the link depends on beside its ends."""
        self._aside_changed = event.entry.revision

    def forget(self, side: Side) -> None:
        """Take note that the entry of one end is gone: the other one keeps its value."""
        self.ends[side].seen = 0

    def next_carry(self, store: View) -> Carry | None:
        """Return what is to be written, or nothing where the ends agree; raise `ValueError` where it cannot be."""
        lead = self.leader(store)
        end, follow = (self._source, self._target) if lead is Side.SOURCE else (self._target, self._source)
        leader, follower = store.get(end.path), store.get(follow.path)
        # Unseen news of the leader only confirms its lead; news of the follower may take it away.
        self.stalled = self.two_way and self._unseen(follower, follow)
        if self.stalled:
            return None  # it goes on with the event that is on its way
        if self.asides is not None or self.waiting or leader is None:
            self.waiting = self.why_not(store)
            if self.waiting:
                self.gliding = None
        if self.waiting or leader is None or leader.value is None:
            return None
        try:
            value = self.converted(store, lead, leader.value)
        except WaitsError as error:
            self.waiting = str(error)
            return None
        held = follower.value if follower is not None else None
        if held is not None and self._agree(store, lead, leader.value, held, value):
            self.gliding = None
            return None
        if end.bounces >= MAX_BOUNCES:
            if end.echoes:
                # The application means one thing by two of its paths, and rounds: once it is calm, one last look.
                self.look_after = 0.0 if self._looked else end.sent_at + ECHO_S
                return None
            raise ValueError(
                f"the ends do not agree: {end.path} holds {leader.value!r}, which {follow.path} does not take"
            )
        if self._smooth_s:
            value = self._on_the_way(lead, held, value)
            if self.gliding is not None and same(value, held):
                self._led = lead
                return None  # a whole number stays for some steps
        cause = max(end.changed, self._aside_changed) or leader.revision
        return Carry(lead.other, follow.path, value, cause, follower, self.gliding is not None)

    def sending(self, carry: Carry) -> None:
        """Note that *carry* is being written."""
        lead, follow = self.ends[carry.side.other], self.ends[carry.side]
        follow.sent = Sent(lead.turn, lead.bounces, carry.value, carry.passing)
        follow.sent_at = self._now = SYSTEM.monotonic()
        self._led = carry.side.other

    def look(self) -> None:
        """Take the ends as they are once more, after they echoed each other."""
        self._looked, self.look_after, self.dirty = True, 0.0, not self.off
        for end in self.ends.values():
            end.echoes = end.bounces = 0

    def sent(self) -> None:
        """Count a value that was carried."""
        self.carried += 1
        self._counted += 1
        if self._now - self._since >= 1.0:
            self._rate = self._counted / (self._now - self._since) if self._since else 0.0
            self._counted, self._since = 0, self._now

    def why_not(self, store: View) -> str:
        """Return why nothing can be carried now, whatever changes at the ends; empty where it can."""
        source = self.ends[Side.SOURCE].path
        if self.asides is not None and (unmet := self.asides.unmet(store, source)):
            return unmet
        lead = self.ends[self.leader(store)].path
        entry = store.get(lead)
        return f"{lead} holds nothing yet" if entry is None or entry.value is None else ""

    def converted(self, store: View, lead: Side, value: Value) -> Value:
        """Return *value* of the end *lead* as the other end should hold it; raise `ValueError`, or `WaitsError`."""
        source, target = self._source.path, self._target.path
        here, there = store.declaration(source), store.declaration(target)
        ahead = lead is Side.SOURCE
        try:
            plan = self._plan
            if plan is None or plan.source is not here or plan.target is not there:
                plan = self._planned(here, there)
            ways = plan.ways or self._at_rates(store, here, there)
            if self.asides is not None and self.asides.formula is not None:
                value = self.asides.combine(store, source, value)
            whole = ways.whole_there if ahead else ways.whole_back
            if whole is not None:
                value = whole(value)
            kind = plan.kinds[ahead] or _kind(store, target if ahead else source)
            return convert(value, ways.there if ahead else ways.back, kind)
        except WaitsError:
            raise
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"{source if ahead else target} to {target if ahead else source}: {error}") from None

    def leader(self, store: View) -> Side:
        """Return the end that leads now."""
        source, target = self._source, self._target
        if not self.two_way or store.get(target.path) is None:
            return Side.SOURCE
        if target.turn == source.turn:
            return self._led if store.get(source.path) is not None else Side.TARGET
        return Side.TARGET if target.turn > source.turn or store.get(source.path) is None else Side.SOURCE

    def _planned(self, here: Declaration | None, there: Declaration | None) -> _Plan:
        needed = self._converter.rates(here, there)
        if needed and self.asides is None:
            raise ValueError(rate_missing(needed[0]))
        kinds = (here.kind if here is not None else "", there.kind if there is not None else "")
        self._plan = _Plan(here, there, None if needed else self._converter.ways(here, there, {}), kinds)
        return self._plan

    def _at_rates(self, store: View, here: Declaration | None, there: Declaration | None) -> Ways:
        needed = self._converter.rates(here, there)
        return self._converter.ways(here, there, self.asides.rates(store, needed) if self.asides is not None else {})

    def _on_the_way(self, lead: Side, held: Value | None, goal: Value) -> Value:
        """Return where the follower should be now on its way to *goal*."""
        there, here = numbers_of(goal), numbers_of(held)
        if there is None or here is None or len(there) != len(here):
            self.gliding = None
            return goal
        now = SYSTEM.monotonic()
        if self.gliding is None or lead is not self._led:
            self.gliding = Glide(here, now)
        at = self.gliding.step(there, now, self._smooth_s)
        if self.gliding.arrived:
            self.gliding = None
            return goal
        return like(at, goal)

    def _agree(self, store: View, lead: Side, leader: Value, follower: Value, wanted: Value) -> bool:
        if close(follower, wanted, self.tolerance):
            return True
        follow = self.ends[lead.other]
        if follow.made_of is not None and follow.makes(wanted, follower, self.tolerance):
            return True
        if not self.two_way or self.ends[lead].turn != follow.turn:
            return False
        # One end was made from the other, where rounding may only be taken back one way.
        try:
            back = self.converted(store, lead.other, follower)
        except ValueError:
            return False
        return close(leader, back, self.tolerance)

    def _declared(self, side: Side) -> Declaration | None:
        if self._plan is None:
            return None
        return self._plan.source if side is Side.SOURCE else self._plan.target

    def _tolerance(self, side: Side) -> float:
        declared = self._declared(side)
        return self.tolerance or (declared.tolerance if declared is not None else 0.0)

    def _unseen(self, entry: Entry | None, end: End) -> bool:
        """Say whether the event that made *entry* is still on its way: it may turn the tables."""
        return entry is not None and entry.version > end.seen

    def _remember(self, revision: int, sent: Sent) -> None:
        self._own[revision] = sent
        while len(self._own) > MAX_OWN:
            self._own.popitem(last=False)

    def _rate_now(self) -> float:
        idle = SYSTEM.monotonic() - self._since
        return self._rate if idle < 2.0 else (self._counted / idle if self._since else 0.0)


def _kind(store: View, path: str) -> str:
    """Return the kind of value that an application's property at *path* has; empty where anything goes."""
    entry = store.get(path)
    if entry is None or entry.value is None or not store.mount_of(path):
        return ""
    return kind_of(entry.value)


def _set_again(entry: Entry) -> bool:
    """Say whether someone set the value it had already: reports and settled signals do not count."""
    return not (entry.signal or entry.origin == "daemon" or entry.origin.startswith("app:"))
