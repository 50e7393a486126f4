"""What the planner works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightfast.engine.planner.settings import PlannerSettings

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.context.views.views import Views
    from lightfast.core.clock import Clock
    from lightfast.engine.apps.registry import AppRegistry
    from lightfast.engine.planner.grammar.vocabulary import Vocabulary
    from lightfast.engine.ports import Checker, OperationBook, Rewriter
    from lightfast.engine.scenes.recalls import Recalls
    from lightfast.gateway.router import Gateway
    from lightfast.sdk import World
    from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class PlannerRooms:
    """The rooms.

    *vocabulary* makes the words of now; without *gateway* no model plans, without *views* none is told
    the context, without *recalls* the changes of a recall are not known before. *ready* makes *world* complete.
    """

    book: OperationBook
    checker: Checker
    rewriter: Rewriter
    world: World
    clock: Clock
    vocabulary: Callable[[], Vocabulary]
    settings: Callable[[], PlannerSettings] = PlannerSettings
    gateway: Gateway | None = None
    views: Callable[[], Views] | None = None
    recalls: Recalls | None = None
    ready: Callable[[], Awaitable[None]] | None = None


class Surroundings:
    """Makes the vocabulary of what is connected; one that was made is kept until the context changes."""

    def __init__(self, store: Store, registry: AppRegistry, world: World) -> None:
        self._store, self._registry, self._world = store, registry, world
        self._kept: tuple[tuple[int, Sequence[str]], Vocabulary] | None = None

    def vocabulary(self) -> Vocabulary:
        """Return the words there are now."""
        from lightfast.engine.planner.grammar.vocabulary import MOST_ENTRIES, Vocabulary  # loaded with the first intent

        records = self._registry.mounts()
        stamp = (self._store.revision, tuple(f"{mount}={kind}" for mount, kind in sorted(records.items())))
        if self._kept is not None and self._kept[0] == stamp:
            kept = self._kept[1]
            return Vocabulary(self._world, kept.entries, kept.dialects, kept.timelines, kept.kinds).like(kept)
        kinds = self._registry.kinds
        dialects = {
            mount: dialect
            for mount, kind in records.items()
            if kind in kinds and (dialect := kinds[kind].dialect) is not None
        }
        found = Vocabulary(
            self._world,
            {mount: self._entries(mount, MOST_ENTRIES) for mount in records},
            dialects,
            {mount: self._registry.timeline(kind) for mount, kind in records.items()},
            records,
        )
        self._kept = (stamp, found)
        return found

    def _entries(self, mount: str, most: int) -> dict[str, Value]:
        found = self._store.select(f"{mount}//", most)
        return {entry.path: entry.value for entry in found if entry.value is not None}
