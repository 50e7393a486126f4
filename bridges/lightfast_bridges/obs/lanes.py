"""The order of wishes: OBS works requests off side by side, and of two that are under way the first may come last."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from lightfast.sdk import Wish
from lightfast_bridges.obs.surface import TWINS

ALONE = "*"
"""The lane of what changes names: nothing else is under way meanwhile."""


class Lanes:
    """Carries wishes out in their order: those for one thing one by one, those for different things side by side.

    Of those for one value that wait, the newest counts: it is carried out, and answers for all.
    """

    def __init__(
        self,
        begin: Callable[[Coroutine[None, None, None]], object | None],
        carry_out: Callable[[Sequence[Wish]], Awaitable[None]],
    ) -> None:
        """*begin* begins a task, or gives None where all is over; *carry_out* takes wishes for one value."""
        self._begin, self._carry_out = begin, carry_out
        self._lanes: dict[str, dict[str, list[Wish]]] = {}
        self._later: deque[Wish] = deque()
        self._wanted: Counter[str] = Counter()

    def take(self, wish: Wish) -> None:
        """Take a wish, for now or for later."""
        self._later.append(wish)
        self._admit()

    def wants(self, path: str) -> bool:
        """Say whether a wish for *path* is under way, or waits in its lane."""
        return self._wanted[path] > 0

    def _admit(self) -> None:
        while self._later and not self._blocked(self._later[0]):
            self._put(self._later.popleft())

    def _blocked(self, wish: Wish) -> bool:
        return bool(self._lanes) if _lane_of(wish) == ALONE else ALONE in self._lanes

    def _put(self, wish: Wish) -> None:
        lane = _lane_of(wish)
        begins = lane not in self._lanes
        self._lanes.setdefault(lane, {}).setdefault(_value_of(wish.path), []).append(wish)
        self._wanted[wish.path] += 1
        if begins and self._begin(self._work(lane)) is None:
            del self._lanes[lane]  # the end of the session speaks for it

    async def _work(self, lane: str) -> None:
        while waiting := self._lanes[lane]:
            wishes = waiting.pop(next(iter(waiting)))
            await self._carry_out(wishes)
            for wish in wishes:
                self._wanted[wish.path] -= 1
                if not self._wanted[wish.path]:
                    del self._wanted[wish.path]
        del self._lanes[lane]
        self._admit()


def _lane_of(wish: Wish) -> str:
    """Return the thing that a wish changes: an item or a filter, an input, a scene's stack, or what is global."""
    if wish.moved_from or wish.value is None:
        return ALONE
    parts = wish.path.split("/")
    if parts[0] not in {"inputs", "scenes"}:
        return ""
    whole = parts[2:3] in (["items"], ["filters"]) and parts[-1] != "sceneItemIndex"
    return "/".join(parts[: 4 if whole else 2])


def _value_of(path: str) -> str:
    """Return *path*, or of two that hold the same thing one for both."""
    base, _, name = path.rpartition("/")
    return min(path, f"{base}/{TWINS[name]}") if name in TWINS else path
