"""Who leads and who follows now: it comes from the roles that are meant, and from who is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.records import AppRecord, AppState
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.transport.follower import SAMPLES, Follower
from lightfast.engine.transport.lead import Lead
from lightfast.engine.transport.member import Member
from lightfast.engine.transport.outbox import Outbox
from lightfast.engine.transport.playhead import Playhead
from lightfast.engine.transport.records import INTERNAL, AppTransport, Follow, Options, Role, Standing
from lightfast.engine.transport.roles import follows_of, leader_of
from lightfast.engine.transport.timecode import FrameRate
from lightfast.sdk import Timeline
from lightfast_link.value import Value

log = structlog.get_logger("lightfast.transport")

_JOINED = {AppState.LIVE, AppState.DEGRADED}


class Team:
    """The leader's half and the followers' halves.

    A leader that goes leaves the timeline running by itself. One that comes while the timeline plays is first brought
    in step like a follower, and leads from there; where it cannot be moved, it leads once it plays, and the jump is
    told. *moved* is told what the leader did (see `Lead`), *tell* what is worth telling, *by_hand* that a follower was
    played or stopped by hand where that leads, *wake* that there is something to do.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        registry: AppRegistry,
        clock: Clock,
        tasks: TaskGroup,
        head: Playhead,
        rate: Callable[[], FrameRate],
        options: Options,
        *,
        moved: Callable[[str, float], None],
        tell: Callable[[str], None],
        by_hand: Callable[[bool], None],
        wake: Callable[[], None],
    ) -> None:
        self.wanted = INTERNAL
        self.held = ""
        self.lead: Lead | None = None
        self._back: Follower | None = None
        self._followers: dict[str, Follower] = {}
        self._wrong: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._known: dict[str, Timeline | None] = {}
        self._joined: set[str] = set()
        self._store = store
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._head = head
        self._rate = rate
        self._options = options
        self._moved = moved
        self._tell = tell
        self._by_hand = by_hand
        self._wake = wake
        self._outbox = Outbox(store, tasks, "transport", trusted=False, trouble=self._trouble)

    @property
    def leading(self) -> str:
        """Return who leads now: `internal`, or a mount."""
        return self.lead.member.mount if self.lead is not None else INTERNAL

    @property
    def idle(self) -> bool:
        """Say whether nobody leads or follows but the daemon's own clock."""
        return self.lead is None and self._back is None and not self._followers

    def rebuild(self) -> None:
        """Look at the roles and at who is there."""
        apps = {record.mount: record for record in self._registry.list()}
        self._known = {mount: self._timeline(record) for mount, record in apps.items()}
        self._joined = {mount for mount in apps if self._there(apps, mount)}
        try:
            self.wanted = leader_of(self._store)
        except InvalidArgument as error:
            self.wanted = INTERNAL
            self._tell(error.message)
        self._choose_leader(apps)
        self._choose_followers(apps)
        self._since = {mount: record.connect_time for mount, record in apps.items()}

    def tick(self, now: float) -> bool:
        """Do what is due; say whether more will be, also while the timeline stands still."""
        if self.lead is not None:
            self.lead.tick(now)
        if self.held:
            return False
        busy = self._bring_back(now) if self._back is not None else False
        for follower in self._followers.values():
            busy = follower.tick(now) or busy
        return busy

    def follow(self, *, sought: bool) -> None:
        """Tell all followers that the timeline was started, stopped or *sought*."""
        for follower in self._followers.values():
            follower.moved(sought=sought)
        if self._back is not None:
            self._back.moved(sought=sought)

    def hold(self, reason: str) -> None:
        """Move nobody until `release`; what waited to be written is forgotten."""
        self.held = reason
        self._outbox.drop()

    def release(self) -> None:
        """Bring everybody in step again."""
        self.held = ""
        for follower in (*self._followers.values(), *([self._back] if self._back is not None else [])):
            if follower.member.alive:
                follower.joined()

    def close(self) -> None:
        """Let everybody go."""
        self._drop_lead()
        for follower in (*self._followers.values(), *([self._back] if self._back is not None else [])):
            follower.member.close()
        self._followers, self._back = {}, None

    def records(self) -> list[AppTransport]:
        """Return everybody who has a transport, or is meant to follow or lead, ordered by mount."""
        found: dict[str, AppTransport] = {}
        for mount, timeline in self._known.items():
            if timeline is not None:
                standing = Standing.FREE if mount in self._joined else Standing.AWAY
                has = self._member(mount, timeline).has
                found[mount] = AppTransport(mount, Role.NONE, standing, has=has)
        for mount, reason in self._wrong.items():
            found[mount] = AppTransport(mount, Role.FOLLOWER, Standing.AWAY, reason)
        for mount, follower in self._followers.items():
            found[mount] = _record(follower.member, Role.FOLLOWER, follower.standing, follower.reason, follower)
        if self.lead is not None:
            member = self.lead.member
            found[member.mount] = _record(member, Role.LEADER, Standing.IN_STEP, "", None)
        elif self._back is not None:
            member = self._back.member
            words = self._back.reason or f"{member.mount} is back and is brought in step before it leads"
            standing = self._back.standing
            standing = Standing.CATCHING_UP if standing is Standing.IN_STEP else standing
            found[member.mount] = _record(member, Role.LEADER, standing, words, self._back)
        elif self.wanted != INTERNAL:
            reason = self._why_not(self.wanted)
            found[self.wanted] = AppTransport(self.wanted, Role.LEADER, Standing.AWAY, reason)
        return [found[mount] for mount in sorted(found)]

    # The leader.

    def _choose_leader(self, apps: dict[str, AppRecord]) -> None:
        lead, wanted = self.lead, self.wanted
        if lead is not None:
            mount = lead.member.mount
            if mount != wanted:
                self._drop_lead()
                self._tell(f"{mount} leads no more")
            elif not self._there(apps, mount) or self._is_anew(apps, mount):
                self._drop_lead()
                self._tell(f"{mount} went away: the timeline goes on by itself at {self._head.tempo:g} bpm")
        if self._back is not None:
            mount = self._back.member.mount
            if mount != wanted or not self._there(apps, mount) or self._is_anew(apps, mount):
                self._back.member.close()
                self._back = None
        if wanted == INTERNAL or self.lead is not None or self._back is not None or not self._there(apps, wanted):
            return
        timeline = self._timeline(apps[wanted])
        if timeline is None:
            return
        known = self._followers.pop(wanted, None)
        if known is not None:
            known.member.close()
        member = self._member(wanted, timeline)
        member.alive = True
        if self._head.playing:
            self._back = Follower(member, self._head, self._options, Follow(), lambda _: None)
            member.open(self._bus, self._back)
        else:
            self._adopt(member)

    def _bring_back(self, now: float) -> bool:
        back = self._back
        if back is None:
            return False
        member = back.member
        if not self._head.playing:
            self._adopt(member)
            return True
        if member.can_play:
            back.tick(now)
        else:  # moved along, it would look as if it moved by itself
            back.reason = f"{member.mount} stands still: it leads when it plays"
        has = {name.rstrip("*") for name in member.has}
        measured = "position" not in has or member.meter.recent(SAMPLES) is not None
        plays = member.playing is True if member.shows_playing else "position" not in has or measured
        error = member.meter.recent(SAMPLES) or 0.0
        in_step = back.standing is Standing.IN_STEP and abs(error) <= back.threshold
        helpless = not (member.can_play and member.can_locate) or back.standing is Standing.DEGRADED
        if plays and measured and (in_step or helpless):
            self._adopt(member)
        return True

    def _adopt(self, member: Member) -> None:
        now = self._clock.monotonic()
        self._back = None
        member.offset, member.folds = 0.0, False
        self.lead = Lead(member, self._head, self._clock, self._moved)
        played, was = self._head.playing, self._head.seconds(now)
        jumped = self.lead.adopt(now)
        member.open(self._bus, self.lead)
        self._tell(f"{member.mount} leads" + (f"; the timeline jumped by {jumped:+.3f} s" if jumped else ""))
        if self._head.playing is not played or abs(self._head.seconds(now) - was) > 1e-3:
            self._moved("jump" if jumped else "seek", jumped)

    def _drop_lead(self) -> None:
        if self.lead is not None:
            self.lead.member.close()
            self.lead = None
            self._head.set_speed(self._clock.monotonic(), 1.0)

    def _why_not(self, mount: str) -> str:
        if mount in self._joined and self._known.get(mount) is None:
            return f"{mount} has no transport that is known: it cannot lead"
        return f"{mount} is not joined: the timeline runs by itself until it comes"

    # The followers.

    def _choose_followers(self, apps: dict[str, AppRecord]) -> None:
        meant = follows_of(self._store)
        self._wrong = {mount: words for mount, words in meant.items() if isinstance(words, str)}
        leader = self.wanted if self.lead is not None or self._back is not None else ""
        for mount, follower in tuple(self._followers.items()):
            if meant.get(mount) != follower.follow or mount == leader:
                follower.member.close()
                del self._followers[mount]
        for mount, follow in meant.items():
            if isinstance(follow, str) or mount == leader:
                continue
            record = apps.get(mount)
            timeline = self._timeline(record) if record is not None else None
            if timeline is None:
                why = (
                    "has no transport that is known"
                    if mount in self._joined
                    else "is not joined: it follows when it comes"
                )
                self._wrong[mount] = f"{mount} {why}"
                continue
            known = self._followers.get(mount)
            if known is None:
                member = self._member(mount, timeline)
                known = Follower(member, self._head, self._options, follow, self._by_hand)
                self._followers[mount] = known
                member.open(self._bus, known)
            there = self._there(apps, mount)
            if there and known.member.alive and self._is_anew(apps, mount):
                known.joined()
            known.member.alive = there

    def _member(self, mount: str, timeline: Timeline) -> Member:
        return Member(
            mount, timeline, self._store, self._clock, self._head, self._rate, self._put, self._outbox.holds, self._wake
        )

    def _put(self, values: Mapping[str, Value | None]) -> None:
        if not self.held:
            self._outbox.put(values)

    def _timeline(self, record: AppRecord) -> Timeline | None:
        return self._registry.timeline(record.kind)

    def _there(self, apps: dict[str, AppRecord], mount: str) -> bool:
        return mount in apps and apps[mount].state in _JOINED

    def _is_anew(self, apps: dict[str, AppRecord], mount: str) -> bool:
        """Say whether it left and came again since the last look."""
        return self._since.get(mount, apps[mount].connect_time) != apps[mount].connect_time

    def _trouble(self, path: str, reason: str) -> None:
        halves: list[Follower | Lead] = [*self._followers.values()]
        halves += [half for half in (self._back, self.lead) if half is not None]
        for half in halves:
            if path.startswith(half.member.mount + "/"):
                half.on_refused(path, reason)


def _record(member: Member, role: Role, standing: Standing, reason: str, half: Follower | None) -> AppTransport:
    meter = member.meter
    return AppTransport(
        member.mount,
        role,
        standing,
        reason,
        half.follow if half is not None else Follow(),
        meter.phase_ms,
        meter.p99_ms,
        meter.drift_ppm,
        len(meter),
        half.corrections if half is not None else 0,
        member.has,
    )
