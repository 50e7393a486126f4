"""Nodes of the granted part of the tree, as JSON, built in slices so that the loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from lightfast.context.entry import Declaration, Entry
from lightfast.wire.oscquery.values import MAX_ARGUMENTS, extended, shown, size, tags
from lightfast_link.path import Pattern, ascii_path, check_path, compile_pattern, unicode_path

OWN = "/lightfast"
"""What the daemon says of itself: shown only by a grant that names it."""
SLICE = 100
"""How many entries are looked at before the loop gets its turn."""
MAX_NODES = 100_000
"""The most entries of one answer."""
MAX_SCANNED = 1_000_000
"""The most entries that are looked at for one answer."""
MAX_REMEMBERED = 1 << 16
CHUNK = 32_768

ATTRIBUTES = (
    "FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "EXTENDED_TYPE", "CLIPMODE",
    "CRITICAL",
)  # fmt: skip
UNUSED = ("TAGS", "OVERLOADS", "HTML")
"""Attributes of the proposal that no node here has."""

_encode = msgspec.json.encode


class TooLarge(Exception):
    """An answer would be larger than anything reads."""


class NodeStore(Protocol):
    """What is asked of the store."""

    def get(self, path: str) -> Entry | None:
        """Return the live entry at *path*."""

    async def entries(self, pattern: str, limit: int | None = None, after: str = "") -> list[Entry]:
        """Return the live entries that match, ordered by path."""

    def declaration(self, path: str) -> Declaration | None:
        """Return what is declared for *path*."""


class _Branch:
    """One segment on the way to entries."""

    __slots__ = ("below", "own")

    def __init__(self) -> None:
        self.own: bytes | None = None
        self.below: dict[str, _Branch] = {}


class Nodes:
    """Shows what *grants* match; what *write* matches, too, may be written."""

    def __init__(
        self, store: NodeStore, grants: Sequence[str], write: Sequence[str] = (), *, most: int = MAX_NODES
    ) -> None:
        self._store = store
        self._grants = [compile_pattern(grant) for grant in grants]
        self._write = [compile_pattern(grant) for grant in write]
        self._most = most
        self._granted: dict[str, bool] = {}

    def granted(self, path: str) -> bool:
        """Say whether *path* is shown."""
        known = self._granted.get(path)
        if known is None:
            if len(self._granted) >= MAX_REMEMBERED:
                self._granted.clear()
            known = self._granted[path] = any(_shows(grant, path) for grant in self._grants)
        return known

    def readable(self, path: str) -> bool:
        """Say whether the value at *path* is to be read."""
        declared = self._store.declaration(path)
        return declared is None or declared.access != "w"

    async def find(self, raw: str) -> str | None:
        """Return the path that a client means by *raw* (as it came over HTTP), or None where there is nothing.

        Segments hold percent escapes of their own; some clients escape them again, some do not.
        """
        for text in dict.fromkeys((raw, unquote(raw))):
            path = text.rstrip("/") or "/"
            if path == "/":
                return path
            try:
                path = check_path(unicode_path(path))
            except ValueError:
                continue
            if self.entry(path) is not None or await self._is_container(path):
                return path
        return None

    def entry(self, path: str) -> Entry | None:
        """Return the entry at *path* where it is shown."""
        return self._store.get(path) if self.granted(path) else None

    async def _is_container(self, path: str) -> bool:
        async for _ in self._below(path):
            return True
        return False

    def attributes(self, entry: Entry) -> dict[str, Any]:
        """Return all attributes of one entry but CONTENTS."""
        declared = self._store.declaration(entry.path)
        value = entry.reported if entry.value is None else entry.value
        access = self._access(entry.path, declared)
        found: dict[str, Any] = {"FULL_PATH": ascii_path(entry.path), "ACCESS": access}
        count = size(value)
        if count > MAX_ARGUMENTS:
            found["DESCRIPTION"] = f"A value of {count} parts, which is more than OSC carries."
            found["TYPE"] = "N"
            return found
        found["TYPE"] = tags(value)
        if access & 1:
            found["VALUE"] = shown(value)
        special = extended(value)
        if special:
            found["EXTENDED_TYPE"] = special
        # State is not to be lost on the way: it goes over the WebSocket. Of a signal the next value counts.
        found["CRITICAL"] = not entry.signal
        if declared is not None:
            _declared(found, declared, max(1, count), writable=bool(access & 2))
        return found

    def _access(self, path: str, declared: Declaration | None) -> int:
        read = 0 if declared is not None and declared.access == "w" else 1
        written = declared is None or declared.access != "r"
        return read | (2 if written and any(_shows(grant, path) for grant in self._write) else 0)

    async def tree(self, path: str, *, contents_only: bool = False) -> AsyncIterator[bytes]:
        """Yield the JSON of *path* and all below it, in chunks; raises `TooLarge` before the first."""
        root = _Branch()
        own = self.entry(path) if path != "/" else None
        if own is not None:
            root.own = _encode(self.attributes(own))
        count = 0
        start = 0 if path == "/" else len(path)
        async for entry in self._below(path):
            branch = root
            for name in entry.path[start + 1 :].split("/"):
                found = branch.below.get(name)
                if found is None:
                    found = branch.below[name] = _Branch()
                branch = found
            branch.own = _encode(self.attributes(entry))
            count += 1
            if count > self._most:
                raise TooLarge(
                    f"{ascii_path(path)} has more than {self._most} entries, which is the most of one answer: "
                    "ask for a part of it, such as one application"
                )
        gathered: list[bytes] = []
        length = pieces = 0
        for piece in _written(path, root, contents_only=contents_only):
            gathered.append(piece)
            length += len(piece)
            pieces += 1
            if length >= CHUNK or pieces >= 4 * SLICE:
                yield b"".join(gathered)
                gathered, length, pieces = [], 0, 0
                await asyncio.sleep(0)
        yield b"".join(gathered)

    async def _below(self, path: str) -> AsyncIterator[Entry]:
        """Yield the granted entries strictly below *path*."""
        scopes = [path + "//"] if path != "/" else _scopes(self._grants)
        seen: set[str] = set()
        scanned = 0
        for number, scope in enumerate(scopes):
            after = ""
            while page := await self._store.entries(scope, SLICE, after):
                for entry in page:
                    if entry.path == path or not self.granted(entry.path):
                        continue
                    if len(scopes) > 1:
                        if entry.path in seen:
                            continue
                        if number < len(scopes) - 1:
                            seen.add(entry.path)
                    yield entry
                after = page[-1].path
                scanned += len(page)
                if scanned > MAX_SCANNED:
                    raise TooLarge(f"there are more than {MAX_SCANNED} entries to look at: ask for a part of the tree")
                await asyncio.sleep(0)


def _shows(grant: Pattern, path: str) -> bool:
    if not grant.matches(path):
        return False
    return not (path == OWN or path.startswith(OWN + "/")) or grant.text.startswith(OWN)


def _scopes(grants: Sequence[Pattern]) -> list[str]:
    """Return the patterns to look under, without those that another covers."""
    texts = list(dict.fromkeys(grant.text for grant in grants))
    return ["//"] if "//" in texts else texts


def _declared(found: dict[str, Any], declared: Declaration, count: int, *, writable: bool) -> None:
    limits: dict[str, Any] = {}
    if declared.minimum is not None:
        limits["MIN"] = declared.minimum
    if declared.maximum is not None:
        limits["MAX"] = declared.maximum
    if declared.choices:
        limits["VALS"] = list(declared.choices)
    if limits:
        found["RANGE"] = [limits] * count
        if writable and not declared.choices:
            found["CLIPMODE"] = ["both"] * count  # the door clamps what is out of range
    if declared.unit:
        found["UNIT"] = [declared.unit] * count
    if declared.description:
        found["DESCRIPTION"] = declared.description


def _written(path: str, root: _Branch, *, contents_only: bool) -> Iterator[bytes]:
    """Yield the pieces of the JSON, without recursion: paths may be deep."""
    yield b'{"CONTENTS":{' if contents_only else _opening(path, root)
    stack = [(path if path != "/" else "", iter(root.below.items()))]
    first = True
    while stack:
        above, remaining = stack[-1]
        name, branch = next(remaining, ("", None))
        if branch is None:
            stack.pop()
            first = False
            yield b"}}"
            continue
        full = f"{above}/{name}"
        yield (b"" if first else b",") + _encode(ascii_path(name)) + b":"
        if branch.below:
            yield _opening(full, branch)
            stack.append((full, iter(branch.below.items())))
            first = True
        else:
            yield branch.own or b"{}"
            first = False


def _opening(path: str, branch: _Branch) -> bytes:
    own = branch.own or _encode({"FULL_PATH": ascii_path(path), "ACCESS": 0})
    return own[:-1] + b',"CONTENTS":{'
