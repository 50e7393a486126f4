"""The live tree: every entry by its path, and what lies below what.

Everything is ordered by path as plain text. Leaves cost nothing but their entry: only a path with
something below it has a record of its children, whose keys are the paths themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from lightfast.context.entry import Entry
from lightfast.context.records import Child
from lightfast.context.stub import Held, Stub
from lightfast_link.path import Pattern, compile_pattern, decode_segment, parent

VISITED = 1000
"""The most children that are looked at in one step of a visit."""


class Tree:
    """Entries by path; `entries` may be read directly, and is written only here.

    Where a `Stub` stands for an entry, *recall* brings it back; *cold* is how many there are.
    """

    __slots__ = ("_children", "_sorted", "cold", "entries", "recall")

    def __init__(self) -> None:
        self.entries: dict[str, Held] = {}
        self.cold = 0
        self.recall: Callable[[Sequence[Stub]], list[Entry]] = _nowhere
        self._children: dict[str, dict[str, None]] = {}
        self._sorted: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, path: str, entry: Entry) -> None:
        """Set the entry at *path*."""
        old = self.entries.get(path)
        if old is None:
            self._link(path)
        elif type(old) is Stub:
            self.cold -= 1
        self.entries[path] = entry

    def cool(self, stub: Stub) -> None:
        """Let *stub* stand for the entry at its path."""
        self.entries[stub.path] = stub
        self.cold += 1

    def load(self, entries: Iterable[Held]) -> None:
        """Set many entries, at paths that have none."""
        mine = self.entries
        for entry in entries:
            self._link(entry.path)
            mine[entry.path] = entry
            if type(entry) is Stub:
                self.cold += 1

    def get(self, path: str) -> Entry | None:
        """Return the entry at *path*."""
        entry = self.entries.get(path)
        if type(entry) is Stub:
            return self.recall((entry,))[0]
        return entry  # type: ignore[return-value]  # no stub

    def whole(self, held: Sequence[Held]) -> list[Entry]:
        """Return the entries that *held* stands for."""
        stubs = [each for each in held if type(each) is Stub] if self.cold else None
        if not stubs:
            return list(held)  # type: ignore[arg-type]  # no stubs
        found = iter(self.recall(stubs))
        return [next(found) if type(each) is Stub else each for each in held]  # type: ignore[misc]

    def remove(self, path: str) -> Held | None:
        """Take the entry at *path* away, and return it."""
        entry = self.entries.pop(path, None)
        if entry is None:
            return None
        if type(entry) is Stub:
            self.cold -= 1
        above = parent(path)
        self._sorted.pop(above, None)
        while path not in self._children and path not in self.entries:
            siblings = self._children[above]
            del siblings[path]
            self._sorted.pop(above, None)
            if siblings or above == "/":
                break
            del self._children[above]
            self._sorted.pop(above, None)
            path, above = above, parent(above)
            self._sorted.pop(above, None)
        return entry

    def below(self, path: str) -> list[str]:
        """Return the paths of all entries strictly below *path*, in no order."""
        found: list[str] = []
        waiting = [path]
        while waiting:
            for child in self._children.get(waiting.pop(), ()):
                if child in self.entries:
                    found.append(child)
                if child in self._children:
                    waiting.append(child)
        return found

    def children(self, path: str) -> list[Child]:
        """Return the children of *path*, ordered by path."""
        return [
            Child(child, decode_segment(child[child.rfind("/") + 1 :]), child in self.entries, child in self._children)
            for child in sorted(self._children.get(path, ()))
        ]

    def names(self, path: str, most: int) -> set[str]:
        """Return the last segments of the children of *path*, at most *most* of them."""
        return {child[child.rfind("/") + 1 :] for child in islice(self._children.get(path, ()), most)}

    def select(self, pattern: Pattern, limit: int | None = None, after: str = "") -> list[Held]:
        """Return what matches, ordered by path, at most *limit* of those after *after*."""
        if pattern.exact:
            entry = self.entries.get(pattern.text)
            return [entry] if entry is not None and pattern.text > after and limit != 0 else []
        if limit is None and not after:
            return self._select_all(pattern)
        found: list[Held] = []
        if limit == 0:
            return found
        for path in self._walk(pattern, after):
            if pattern.matches(path):
                found.append(self.entries[path])
                if len(found) == limit:
                    break
        return found

    def _select_all(self, pattern: Pattern) -> list[Held]:
        """Select without a bound: to sort what was found is faster than to walk in order."""
        entries = self.entries
        found = list(entries) if pattern.text == "//" else [path for paths in self.visit(pattern) for path in paths]
        found.sort()
        return [entries[path] for path in found]

    def visit(self, pattern: Pattern) -> Iterator[list[str]]:
        """Yield the paths that match, in no order and pruned level by level: a few at a time, often none.

        The tree may change between two steps: what is there all along is found, and found once.
        """
        entries, below, matches = self.entries, self._children, pattern.matches
        whole = pattern.text == _subtree(pattern.prefix)
        levels = _levels(pattern)
        waiting = [pattern.prefix]
        if pattern.prefix in entries and (whole or matches(pattern.prefix)):
            yield [pattern.prefix]
        while waiting:
            path = waiting.pop()
            depth = 0 if path == "/" else path.count("/")
            if levels is not None and (depth >= len(levels) or (depth and not levels[depth - 1].may_be(path))):
                yield []
                continue
            children: Iterable[str] = below.get(path, ())
            if levels is not None and levels[depth].literal:
                child = (path if depth else "") + "/" + levels[depth].literal
                children = (child,) if child in children else ()
            names = list(children)
            if not names:
                yield []
            while names:
                some = names[-VISITED:]
                del names[-VISITED:]
                waiting += [child for child in some if child in below]
                yield [child for child in some if child in entries and (whole or matches(child))]

    def _link(self, path: str) -> None:
        """Make *path* known to everything above it."""
        while True:
            above = parent(path)
            self._sorted.pop(above, None)
            siblings = self._children.get(above)
            if siblings is not None:
                siblings[path] = None
                return
            self._children[above] = {path: None}
            if above == "/":
                return
            path = above

    def _keys(self, path: str) -> list[str]:
        """Return what comes directly below *path*, ordered: entries, and with a `/` behind, subtrees."""
        keys = self._sorted.get(path)
        if keys is None:
            keys = []
            for child in self._children.get(path, ()):
                if child in self.entries:
                    keys.append(child)
                if child in self._children:
                    keys.append(child + "/")
            keys.sort()
            self._sorted[path] = keys
        return keys

    def _walk(self, pattern: Pattern, after: str) -> Iterator[str]:
        """Yield the paths that may match and come after *after*, ordered, pruned level by level."""
        top = pattern.prefix
        levels = _levels(pattern)
        if top in self.entries and top > after:
            yield top
        stack = [iter(self._from(top, after, levels))]
        while stack:
            key = next(stack[-1], None)
            if key is None:
                stack.pop()
            elif not key.endswith("/"):
                yield key
            else:
                path = key[:-1]
                depth = path.count("/")
                if levels is None or (depth < len(levels) and levels[depth - 1].may_be(path)):
                    stack.append(iter(self._from(path, after, levels)))

    def _from(self, path: str, after: str, levels: list[_Level] | None) -> list[str]:
        """Return the keys below *path* that lead to something after *after*."""
        depth = 0 if path == "/" else path.count("/")
        if levels is not None and depth < len(levels) and levels[depth].literal:
            keys = self._literal(path if depth else "", levels[depth].literal)
        else:
            keys = self._keys(path)
        if not after:
            return keys
        start = bisect_right(keys, after)
        if start and keys[start - 1].endswith("/") and after.startswith(keys[start - 1]):
            start -= 1
        return keys[start:]

    def _literal(self, path: str, name: str) -> list[str]:
        child = path + "/" + name
        keys = [child] if child in self.entries else []
        return [*keys, child + "/"] if child in self._children else keys


class _Level:
    """One level of a pattern: its *literal* name, or, where there are wildcards, the pattern down to here."""

    __slots__ = ("_pattern", "literal")

    def __init__(self, name: str, pattern: str) -> None:
        self.literal = "" if "*" in name or "?" in name else name
        self._pattern = None if self.literal else compile_pattern(pattern)

    def may_be(self, path: str) -> bool:
        """Say whether *path*, which fits all levels above, fits this one; a literal was looked up."""
        return self._pattern is None or self._pattern.matches(path)


def _levels(pattern: Pattern) -> list[_Level] | None:
    """Return one pattern per level of the tree, or `None` where the depth is open."""
    text = pattern.text
    if "//" in text or "{" in text or "[" in text:
        return None  # a list or a range may hold a slash; such patterns are matched as a whole
    parts = text.split("/")
    return [_Level(parts[depth], "/".join(parts[: depth + 1])) for depth in range(1, len(parts))]


def _nowhere(stubs: Sequence[Stub]) -> list[Entry]:
    raise LookupError(f"{stubs[0].path} is not in memory, and there is nowhere to read it from")


def _subtree(prefix: str) -> str:
    return "//" if prefix == "/" else prefix + "//"
