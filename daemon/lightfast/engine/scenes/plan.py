"""What a recall would change, in the order it is written, and what of the scene cannot be recalled and why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from lightfast.context.entry import Entry, Mutation, Precondition, Set, Status
from lightfast.context.scenes.gather import Choice
from lightfast.context.scenes.records import SceneEntry
from lightfast.context.store import Store
from lightfast.core.errors import Exhausted, LightfastError, NotFound
from lightfast.engine.apps.records import AppState
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.scenes.records import Problem
from lightfast.engine.scenes.tracks import Track, track
from lightfast_link.path import parent
from lightfast_link.value import Value, close

log = structlog.get_logger("lightfast.scenes")

MAX_CHANGES = 25_000
"""The most values that one recall changes: an undo of it stays within its own bounds."""
_TURN = 500
"""Entries looked at before others get their turn on the loop."""
_AWAY = (AppState.ABSENT, AppState.GONE)


@dataclass(slots=True)
class Change:
    """One value to recall; *before* is `None` where nothing is there. *path* follows a rename meanwhile.

    *guarded* is written only with a precondition on what it holds, as its conflict policy asks.
    """

    path: str
    before: Value | None
    after: Value
    mount: str = ""
    signal: bool = False
    guarded: bool = False
    track: Track | None = None
    out: str = ""


@dataclass(slots=True)
class Plan:
    """The *changes* in the order they are written: what is not there yet, then what flips, then what moves."""

    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    settled: int = 0
    """Values under mounts that need no change, and that the application holds."""
    away: list[Problem] = field(default_factory=list)
    """Applications that are away and of which nothing changes: whether they hold the scene cannot be told."""


class Planner:
    """Looks at the scene beside the tree of now."""

    def __init__(self, store: Store, apps: AppRegistry, origin: str) -> None:
        self._store = store
        self._apps = apps
        self._origin = origin
        self._away: dict[str, str] = {}

    async def plan(self, entries: Sequence[SceneEntry], choice: Choice) -> Plan:
        """Return the plan for those *entries* that are in the *choice*; raise `Exhausted` (RECALL_TOO_LARGE)."""
        plan = Plan()
        quiet: dict[str, int] = {}
        for number, entry in enumerate(entries):
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            if entry.path in choice:
                self._look(entry, plan, quiet)
        if len(plan.changes) > MAX_CHANGES:
            raise Exhausted(
                f"{len(plan.changes)} values would change, and one recall changes at most {MAX_CHANGES}: "
                "recall it in parts, by patterns",
                reason="RECALL_TOO_LARGE",
            )
        await self._try(plan)
        plan.changes.sort(key=_order)
        changed = {change.mount for change in plan.changes}
        for mount, count in sorted(quiet.items()):
            if mount not in changed:
                reason = f"{self._away[mount]}; its {count} values need no change, as far as is known"
                plan.away.append(Problem(mount, None, None, reason, queued=True))
        plan.problems += plan.away
        return plan

    def _look(self, entry: SceneEntry, plan: Plan, quiet: dict[str, int]) -> None:
        path, wished = entry.path, entry.value
        live, mount, declared = self._store.get(path), self._store.mount_of(path), self._store.declaration(path)
        found = None if live is None else live.value
        away = self.away(mount)
        if live is not None and self._holds(live, wished, mount):
            if away:
                quiet[mount] = quiet.get(mount, 0) + 1
            elif mount:
                plan.settled += live.status is Status.SETTLED
            return
        if declared is not None and declared.access == "r":
            reason = f"it can only be read: it is what {declared.owner or 'its owner'} reports"
            plan.problems.append(Problem(path, wished, found, reason))
            return
        if live is None and mount and not away and not self._creatable(path, mount):
            reason = f"{mount} has nothing there any more: make {parent(path)} there again, then recall the scene"
            plan.problems.append(Problem(path, wished, None, reason))
            return
        change = Change(path, found, wished, mount, signal=declared is not None and declared.signal)
        change.track = track(found, wished, declared.unit if declared is not None else "")
        plan.changes.append(change)

    def _holds(self, live: Entry, wished: Value, mount: str) -> bool:
        if live.value is None or live.status is Status.REJECTED:
            return False
        if not mount:
            return type(live.value) is type(wished) and live.value == wished
        declared = self._store.declaration(live.path)
        return close(live.value, wished, declared.tolerance if declared is not None else 0.0)

    def _creatable(self, path: str, mount: str) -> bool:
        """Say whether an application may know *path* though the tree does not show it."""
        declared = self._store.declaration(path)
        if declared is not None and declared.pattern == path:
            return True
        above = parent(path)
        return above == mount or bool(self._store.select(above + "//", 1))

    def away(self, mount: str) -> str:
        """Return why the application at *mount* takes nothing now; empty where it does, and for no mount."""
        if not mount:
            return ""
        if mount not in self._away:
            self._away[mount] = why_away(self._apps, mount)
        return self._away[mount]

    async def _try(self, plan: Plan) -> None:
        """Leave out of *plan* what the store would refuse now, and say what waits for an application that is away."""
        good: list[Change] = []
        for start in range(0, len(plan.changes), _TURN):
            part = plan.changes[start : start + _TURN]
            refused = await refusals(self._store, part, self._origin)
            for change in part:
                if change.path in refused:
                    plan.problems.append(Problem(change.path, change.after, change.before, refused[change.path]))
                    continue
                good.append(change)
                if away := self.away(change.mount):
                    reason = f"{away}; the value waits as a wish until it is back"
                    plan.problems.append(Problem(change.path, change.after, change.before, reason, queued=True))
            await asyncio.sleep(0)
        plan.changes = good


def why_away(apps: AppRegistry, mount: str) -> str:
    """Return why the application at *mount* is not there; empty where it is."""
    try:
        record = apps.get(mount)
    except NotFound:
        return ""
    return f"{mount} is away: {record.state_reason or record.state}" if record.state in _AWAY else ""


async def refusals(store: Store, changes: Sequence[Change], origin: str) -> dict[str, str]:
    """Return why the store would refuse each of *changes* now, by path; one with a guard is marked as such."""
    try:
        await store.apply(
            mutations_of(changes), origin=origin, preconditions=conditions_of(store, changes), validate_only=True
        )
    except LightfastError as error:
        if len(changes) > 1:
            middle = len(changes) // 2
            first = await refusals(store, changes[:middle], origin)
            return first | await refusals(store, changes[middle:], origin)
        (change,) = changes
        if error.reason == "PRECONDITION_REQUIRED" and not change.guarded:
            change.guarded = True
            return await refusals(store, changes, origin)
        return {change.path: error.message}
    return {}


def mutations_of(changes: Sequence[Change]) -> list[Mutation]:
    """Return what sets the *changes*."""
    return [Set(change.path, change.after) for change in changes]


def conditions_of(store: Store, changes: Sequence[Change]) -> list[Precondition]:
    """Return what the guarded ones among *changes* know of their paths."""
    return list(_conditions(store, changes))


def _conditions(store: Store, changes: Sequence[Change]) -> Iterator[Precondition]:
    for change in changes:
        if change.guarded:
            entry = store.get(change.path)
            if entry is None or entry.value is None:
                yield Precondition(change.path, absent=True)
            else:
                yield Precondition(change.path, value=entry.value)


def _order(change: Change) -> tuple[int, str]:
    return (0 if change.before is None else 1 if change.track is None else 2), change.path
