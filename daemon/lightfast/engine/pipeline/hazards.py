"""The scoreboard: what the instructions under way read and write, found by path.

Each access is kept at the path that all it matches lies at or below, so that looking for what overlaps takes the
ancestors of one path, and for a pattern those and what lies below it; never all accesses.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator

from lightfast.engine.pipeline.overlap import overlap
from lightfast_link.path import Pattern


class _Accesses:
    """Accesses at one path, by the order of their instructions."""

    __slots__ = ("orders", "patterns")

    def __init__(self) -> None:
        self.orders: list[int] = []
        self.patterns: dict[int, list[Pattern]] = {}

    def add(self, order: int, pattern: Pattern) -> None:
        held = self.patterns.get(order)
        if held is not None:
            held.append(pattern)
            return
        self.patterns[order] = [pattern]
        if not self.orders or self.orders[-1] < order:
            self.orders.append(order)
        else:
            insort(self.orders, order)

    def remove(self, order: int) -> None:
        if self.patterns.pop(order, None) is not None:
            del self.orders[bisect_left(self.orders, order)]

    def latest(self, before: int, above: int, pattern: Pattern, free: Container[int]) -> int:
        """Return the last instruction between *above* and *before* with an access that overlaps; -1: none."""
        for index in range(bisect_left(self.orders, before) - 1, -1, -1):
            order = self.orders[index]
            if order <= above:
                return -1
            if order not in free and any(overlap(pattern, each) for each in self.patterns[order]):
                return order
        return -1


class _Node:
    """One path: accesses of exactly it, accesses by patterns with it as their prefix, and the paths below."""

    __slots__ = ("below", "exact", "wide")

    def __init__(self) -> None:
        self.exact = _Accesses()
        self.wide = _Accesses()
        self.below: set[str] = set()

    @property
    def empty(self) -> bool:
        return not (self.exact.orders or self.wide.orders or self.below)


class Accesses:
    """All reads, or all writes, that instructions under way have declared."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, order: int, patterns: Iterable[Pattern]) -> None:
        """Add the accesses of an instruction."""
        for pattern in patterns:
            node = self._node(pattern.prefix)
            (node.exact if pattern.exact else node.wide).add(order, pattern)

    def remove(self, order: int, patterns: Iterable[Pattern]) -> None:
        """Take the accesses of an instruction away."""
        for pattern in patterns:
            node = self._nodes.get(pattern.prefix)
            if node is None:
                continue
            (node.exact if pattern.exact else node.wide).remove(order)
            if node.empty:
                self._drop(pattern.prefix)

    def latest(self, before: int, patterns: Iterable[Pattern], free: Container[int] = ()) -> int:
        """Return the last instruction earlier than *before* that has an access overlapping *patterns*; -1: none.

        Instructions in *free* do not count.
        """
        found = -1
        for pattern in patterns:
            for accesses in self._near(pattern):
                if accesses.orders and accesses.orders[0] < before:
                    found = max(found, accesses.latest(before, found, pattern, free))
        return found

    def _near(self, pattern: Pattern) -> Iterator[_Accesses]:
        path = pattern.prefix
        node = self._nodes.get(path)
        if node is not None:
            yield node.exact
            yield node.wide
            if not pattern.exact:
                yield from self._under(node)
        while path != "/":
            path = path[: path.rfind("/")] or "/"
            node = self._nodes.get(path)
            if node is not None:
                yield node.wide

    def _under(self, node: _Node) -> Iterator[_Accesses]:
        todo = list(node.below)
        while todo:
            each = self._nodes[todo.pop()]
            yield each.exact
            yield each.wide
            todo.extend(each.below)

    def _node(self, path: str) -> _Node:
        node = self._nodes.get(path)
        if node is None:
            node = self._nodes[path] = _Node()
            if path != "/":
                self._node(path[: path.rfind("/")] or "/").below.add(path)
        return node

    def _drop(self, path: str) -> None:
        """Forget an empty path, and those above it that are empty then."""
        while path in self._nodes and self._nodes[path].empty:
            del self._nodes[path]
            if path == "/":
                return
            above = path[: path.rfind("/")] or "/"
            self._nodes[above].below.discard(path)
            path = above
