"""What all joined applications share: the store, the bus, the clocks and the records they write."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.conflicts import Conflicts
from lightfast.engine.apps.groups import Groups
from lightfast.engine.apps.hold import Hold
from lightfast.engine.apps.mounts import Mounts
from lightfast.engine.apps.presence import Presence
from lightfast.engine.apps.settings import AppsConfig


@dataclass(frozen=True, slots=True)
class Desk:
    """The shared parts; *tick_s* is how often deadlines are looked at while something is under way."""

    store: Store
    bus: Bus
    clock: Clock
    tasks: TaskGroup
    groups: Groups
    conflicts: Conflicts
    mounts: Mounts
    presence: Presence
    config: AppsConfig
    tick_s: float = 0.25
    hold: Hold = field(default_factory=Hold)
