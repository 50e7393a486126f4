"""The shape of all links: a forest, so that a change can never come back to where it began."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from lightfast.core.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, slots=True)
class Edge:
    """One link as an edge; a two-way link is one edge, too, and a link of several sources has one for each."""

    link_id: str
    source: str
    target: str


class Forest:
    """The edges of all links. Each path follows at most one link, and between two paths there is at most one way."""

    def __init__(self, edges: Iterable[Edge] = ()) -> None:
        self._edges: dict[str, list[Edge]] = {}
        self._at: dict[str, dict[Edge, str]] = {}
        self._leaders: dict[str, Edge] = {}
        for edge in edges:
            self.add([edge])

    def add(self, edges: Iterable[Edge]) -> None:
        """Take the edges of a link in."""
        for edge in edges:
            self._edges.setdefault(edge.link_id, []).append(edge)
            self._at.setdefault(edge.source, {})[edge] = edge.target
            self._at.setdefault(edge.target, {})[edge] = edge.source
            self._leaders.setdefault(edge.target, edge)

    def remove(self, link_id: str) -> None:
        """Forget the edges of a link."""
        for edge in self._edges.pop(link_id, ()):
            for path in (edge.source, edge.target):
                self._at.get(path, {}).pop(edge, None)
                if not self._at.get(path):
                    self._at.pop(path, None)
            if self._leaders.get(edge.target) == edge:
                del self._leaders[edge.target]

    def check(self, edges: Iterable[Edge]) -> None:
        """Raise `InvalidArgument` or `FailedPrecondition` where the edges of a new link break the forest, showing how.

        A link that has the same identity does not count: it is the one that is changed.
        """
        for new in edges:
            self._check(new)

    def _check(self, new: Edge) -> None:
        if new.source == new.target:
            raise InvalidArgument(f"{new.source} cannot be linked to itself", reason="LINK_CYCLE", field="link.target")
        way = self._way(new)
        if way:
            raise cycle(new.source, new.target, [*way, new.source])
        leader = self._leaders.get(new.target)
        if leader is not None and leader.link_id != new.link_id:
            raise FailedPrecondition(
                f"{new.target} already follows {leader.source} (link {leader.link_id}): two leaders would fight;"
                f" delete that link first, or link {new.source} to {leader.source}",
                reason="LINK_TARGET_TAKEN",
                metadata={"link_id": leader.link_id},
            )

    def _way(self, new: Edge) -> list[str]:
        """Return the paths from the source of *new* to its target along edges of either direction, or nothing.

        A way does not go from one source of a link to another one of it: neither moves the other.
        """
        start = (new.source, "")
        came_from: dict[tuple[str, str], tuple[str, str] | None] = {start: None}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for edge, path in self._at.get(here[0], {}).items():
                there = (path, edge.link_id)
                if edge.link_id in {new.link_id, here[1]} or there in came_from:
                    continue
                came_from[there] = here
                if path == new.target:
                    return _walk_back(came_from, there)
                queue.append(there)
        return []


def check_edge(edges: Iterable[Edge], new: Edge) -> None:
    """Raise `InvalidArgument` or `FailedPrecondition` where *new* would break the forest of *edges*, showing how."""
    Forest(edges).check([new])


def find_round(
    start: str, goals: Collection[str], moved_by: Callable[[str], Iterable[tuple[str, str]]]
) -> tuple[str, ...]:
    """Return the shortest way from *start* to one of *goals*, step by step to what is *moved_by* a path, and by whom.

    No step goes back by the link that made the one before it.
    """
    ways: dict[tuple[str, str], tuple[str, ...]] = {(start, ""): (start,)}
    queue = deque(ways)
    while queue:
        here = queue.popleft()
        for path, link_id in moved_by(here[0]):
            there = (path, link_id)
            if link_id == here[1] or there in ways:
                continue
            ways[there] = (*ways[here], path)
            if path in goals:
                return ways[there]
            queue.append(there)
    return ()


def cycle(source: str, target: str, way: Iterable[str]) -> FailedPrecondition:
    """Return what is wrong with a link from *source* to *target*, which would close a cycle along *way*."""
    shown = " - ".join(way)
    return FailedPrecondition(
        f"a link from {source} to {target} would close a cycle: {shown}; delete one of the links on it first",
        reason="LINK_CYCLE",
        metadata={"cycle": shown},
    )


def _walk_back(came_from: dict[tuple[str, str], tuple[str, str] | None], end: tuple[str, str]) -> list[str]:
    way: list[str] = []
    step: tuple[str, str] | None = end
    while step is not None:
        way.append(step[0])
        step = came_from[step]
    return way[::-1]
