"""The shape of all links: a forest, so that a change can never come back to where it began."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from lightfast.core.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, slots=True)
class Edge:
    """One link as an edge; a two-way link is one edge, too."""

    link_id: str
    source: str
    target: str


def check_edge(edges: Iterable[Edge], new: Edge) -> None:
    """Raise `InvalidArgument` or `FailedPrecondition` where *new* would break the forest, showing how.

    Each path follows at most one other, and between two paths there is at most one way.
    """
    if new.source == new.target:
        raise InvalidArgument(f"{new.source} cannot be linked to itself", reason="LINK_CYCLE", field="link.target")
    known = [edge for edge in edges if edge.link_id != new.link_id]
    way = _way(known, new.source, new.target)
    if way:
        shown = " - ".join([*way, new.source])
        raise FailedPrecondition(
            f"a link from {new.source} to {new.target} would close a cycle: {shown};"
            " delete one of the links on it first",
            reason="LINK_CYCLE",
            metadata={"cycle": shown},
        )
    for edge in known:
        if edge.target == new.target:
            raise FailedPrecondition(
                f"{new.target} already follows {edge.source} (link {edge.link_id}): two leaders would fight;"
                f" delete that link first, or link {new.source} to {edge.source}",
                reason="LINK_TARGET_TAKEN",
                metadata={"link_id": edge.link_id},
            )


def _way(edges: Iterable[Edge], start: str, goal: str) -> list[str]:
    """Return the paths from *start* to *goal* along edges of either direction, or nothing."""
    neighbors: dict[str, list[str]] = {}
    for edge in edges:
        neighbors.setdefault(edge.source, []).append(edge.target)
        neighbors.setdefault(edge.target, []).append(edge.source)
    came_from = {start: ""}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        if here == goal:
            return _walk_back(came_from, here)
        for there in neighbors.get(here, ()):
            if there not in came_from:
                came_from[there] = here
                queue.append(there)
    return []


def _walk_back(came_from: dict[str, str], end: str) -> list[str]:
    way = [end]
    while came_from[way[-1]]:
        way.append(came_from[way[-1]])
    return way[::-1]
