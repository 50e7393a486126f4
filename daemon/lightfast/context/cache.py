"""The bound on the active context: values that nobody lives with stay in memory only as long as there is room.

Always in memory are signals, what goes with a lease, what an application has reported or still has to answer
(`Status`), everything below the mounts that are held, and every value that takes less than a stub would save.
All else (documents, notes, what applications that are gone have left) has its place by use: the ones that are used
least give way to a `Stub`, which is replaced by the entry when somebody asks for it.

The order is that of S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): what is
new passes a short queue and must have been used there to get into the long one; what was lately put out goes there
at once. So a long scan does not empty the cache, and a use costs one number.

Coherence needs no invalidation: a stub names a row, rows never change, and an entry goes back only where its
own stub still stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from lightfast.context.codec import decode
from lightfast.context.entry import Delete, Entry, Move, Mutation
from lightfast.context.footprint import footprint
from lightfast.context.kinds import COOL, PLAIN
from lightfast.context.stub import Held, Stub
from lightfast.context.tree import Tree
from lightfast.core.errors import Unavailable

T = TypeVar("T")

DEFAULT_SIZE = 256 << 20
"""Bytes of values that may be in memory where nobody says otherwise."""
MIN_SIZE = 512
"""Bytes of text below which an entry stays, unless its application is gone: a stub would not take much less."""
OVERHEAD = 640
"""Bytes that an entry takes besides its values, with its place in the queues."""
_SHORT = 10
"""The short queue has one part in so many."""
_MOST_USES = 3
_SLACK = 8
"""Places in a queue that the dead may take, however few live."""
_STEP_SIZE = 4 << 20
_STEP_ROWS = 2000
"""Bounds of what is read at a time."""


class Rows(Protocol):
    """What the cache needs of the database."""

    async def read(self, function: Callable[[Any], T]) -> T:
        """Run *function* in a reader thread with a connection."""

    def read_now(self, function: Callable[[Any], T]) -> T:
        """Run *function* at once, with a connection."""


class _Slot:
    """The place of one entry in a queue; *alive* until it is put out or superseded."""

    __slots__ = ("alive", "bytes", "long", "path", "revision", "row", "size", "uses")

    def __init__(self, path: str, revision: int, row: int, size: int, taken: int) -> None:
        self.path = path
        self.revision = revision
        self.row = row
        self.size = size
        self.bytes = taken
        self.uses = 0
        self.long = False
        self.alive = True


class Cache:
    """Keeps the values of *tree* within *size* bytes; used on the loop only.

    *hits* are entries that were asked for and in memory, *disk* those that were read from the disk off the loop,
    *waited* those for which the loop had to wait, *evictions* those put out.
    """

    def __init__(self, db: Rows, tree: Tree, size: int = DEFAULT_SIZE) -> None:
        self.size = size
        self.used = 0
        self.hits = self.disk = self.waited = self.evictions = 0
        self._db = db
        self._tree = tree
        self._entries = tree.entries
        self._slots: dict[str, _Slot] = {}
        self._short: deque[_Slot] = deque()
        self._long: deque[_Slot] = deque()
        self._short_bytes = 0
        self._lately: dict[str, None] = {}
        self._held: dict[str, int] = {"/lightfast": 1}
        tree.recall = self.recall

    @property
    def counted(self) -> int:
        """Return how many entries in memory count towards the bound."""
        return len(self._slots)

    @property
    def cold(self) -> int:
        """Return how many entries are on the disk alone."""
        return self._tree.cold

    # ---- what is asked for

    def get(self, path: str) -> Entry | None:
        """Return the live entry at *path*, from the disk where it must be."""
        entry = self._entries.get(path)
        if type(entry) is Stub:
            return self.recall((entry,))[0]
        if self._slots:
            self.use(path)
        return entry  # type: ignore[return-value]  # no stub

    def use(self, path: str) -> None:
        """Note that somebody asked for *path*."""
        slot = self._slots.get(path)
        if slot is not None and slot.uses < _MOST_USES:
            slot.uses += 1

    def recall(self, stubs: Sequence[Stub]) -> list[Entry]:
        """Return the entries of *stubs* at once: the loop waits for the disk. The way to avoid that is `load`."""
        found: dict[int, Entry] = {}
        for step in _steps(stubs):
            rows = [stub.row for stub in step]
            found.update(self._db.read_now(lambda connection, rows=rows: read_rows(connection, rows)))  # type: ignore[misc]
        self.waited += len(stubs)
        entries: list[Entry] = []
        for stub in stubs:
            entry = found.get(stub.row)
            if entry is None:
                raise Unavailable(
                    f"the value of {stub.path} cannot be read: row {stub.row} of the history is gone",
                    reason="VALUE_LOST",
                    metadata={"path": stub.path, "revision": str(stub.revision)},
                )
            entries.append(entry)
            self._admit(stub, entry)
        self._shrink()
        return entries

    async def load(self, held: Sequence[Held], *, keep: bool = True) -> list[Entry | None]:
        """Return the entries that *held* stands for, read in a reader thread where need be.

        `None` stands for one whose row is gone: it was overwritten, and its past dropped meanwhile. What was read
        comes into memory, unless *keep* says that it is used just once.
        """
        stubs = [each for each in held if type(each) is Stub]
        self.hits += len(held) - len(stubs)
        if not stubs:
            return list(held)  # type: ignore[arg-type]  # no stubs
        found: dict[int, Entry] = {}
        for step in _steps(stubs):
            rows = [stub.row for stub in step]
            some = await self._db.read(lambda connection, rows=rows: read_rows(connection, rows))  # type: ignore[misc]
            found.update(some)
            self.disk += len(some)
            if keep:
                for stub in step:
                    if stub.row in some:
                        self._admit(stub, some[stub.row])
                self._shrink()
        return [found.get(each.row) if type(each) is Stub else each for each in held]  # type: ignore[misc]

    async def warm(self, paths: Iterable[str]) -> None:
        """Bring what lies at *paths* into memory."""
        entries = self._entries
        stubs = [entry for path in paths if type(entry := entries.get(path)) is Stub]
        if stubs:
            await self.load(stubs)

    def ready(self, mutations: Sequence[Mutation], others: Iterable[str]) -> Awaitable[None] | None:
        """Return what to wait for before *mutations* are checked, and *others* looked at; `None` for nothing."""
        entries, tree = self._entries, self._tree
        cold: list[str] = []
        for mutation in mutations:
            path = getattr(mutation, "path", "") or getattr(mutation, "source", "")
            if type(path) is not str:
                continue  # the draft says what is wrong with it
            if type(entries.get(path)) is Stub:
                cold.append(path)
            if type(mutation) is Move or (type(mutation) is Delete and mutation.recursive):
                cold += [below for below in tree.below(path) if type(entries.get(below)) is Stub]
        cold += [path for path in others if type(path) is str and type(entries.get(path)) is Stub]
        return self.warm(cold) if cold else None

    # ---- what is written

    def settled(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take in what was committed: rows of `sink`, whose entries are in the tree by now."""
        slots = self._slots
        for row in rows:
            mark, path = row[8], row[3]
            if mark == COOL or (mark == PLAIN and len(row[7]) >= MIN_SIZE):
                entry = self._entries.get(path)
                if type(entry) is Entry and entry.revision == row[1]:
                    self._track(entry, row[2], len(row[7]))
            elif slots and path in slots:
                self._drop(slots[path])
        if self.used > self.size:
            self._shrink()

    # ---- what is held

    async def hold(self, mount: str) -> None:
        """Keep everything at and below *mount* in memory until `release`: somebody lives there."""
        self._held[mount] = self._held.get(mount, 0) + 1
        for path in (mount, *self._tree.below(mount)):
            if (slot := self._slots.get(path)) is not None:
                self._drop(slot)
        if self._tree.cold:
            await self.warm((mount, *self._tree.below(mount)))

    async def release(self, mount: str) -> None:
        """Let what lies at and below *mount* go when there is no room, once for each `hold`."""
        count = self._held.get(mount, 0) - 1
        if count > 0:
            self._held[mount] = count
            return
        self._held.pop(mount, None)
        bounds = (mount, mount + "/", mount + "0", MIN_SIZE)  # "0" comes right after "/"
        found = await self._db.read(lambda connection: list(connection.execute(_LEFT, bounds)))
        for path, revision, row, size in found:
            entry = self._entries.get(path)
            if type(entry) is Entry and entry.revision == revision:
                self._track(entry, row, size)
        self._shrink()

    def _is_held(self, path: str) -> bool:
        end = path.find("/", 1)
        return (path if end < 0 else path[:end]) in self._held

    # ---- the queues

    def _admit(self, stub: Stub, entry: Entry) -> None:
        """Put *entry* where its stub still stands."""
        if self._entries.get(stub.path) is stub:
            self._tree.put(stub.path, entry)
            self._track(entry, stub.row, stub.size)

    def _track(self, entry: Entry, row: int, size: int) -> None:
        path = entry.path
        old = self._slots.get(path)
        uses = 0
        if old is not None:
            uses = old.uses + 1
            self._drop(old)
        if entry.signal or entry.lease or self._is_held(path):
            return
        taken = OVERHEAD + len(path) + footprint(entry.value) + footprint(entry.reported)
        slot = self._slots[path] = _Slot(path, entry.revision, row, size, taken)
        slot.uses = min(uses, _MOST_USES)
        self.used += taken
        if path in self._lately:
            del self._lately[path]
            slot.long = True
            self._long.append(slot)
        else:
            self._short.append(slot)
            self._short_bytes += taken

    def _drop(self, slot: _Slot) -> None:
        """Forget a slot; the entry stays as it is."""
        del self._slots[slot.path]
        slot.alive = False
        self.used -= slot.bytes
        if not slot.long:
            self._short_bytes -= slot.bytes
        # What is dead leaves its queue when its turn comes; where nothing is put out, it would never come.
        queue = self._long if slot.long else self._short
        if len(queue) > _SLACK and len(queue) > 2 * len(self._slots):
            living = [each for each in queue if each.alive]
            queue.clear()
            queue.extend(living)

    def _shrink(self) -> None:
        while self.used > self.size:
            if self._short and (self._short_bytes * _SHORT > self.size or not self._long):
                self._turn_short()
            elif self._long:
                self._turn_long()
            else:
                break

    def _turn_short(self) -> None:
        slot = self._short.popleft()
        if not slot.alive:
            return
        if slot.uses:
            slot.uses = 0
            slot.long = True
            self._short_bytes -= slot.bytes
            self._long.append(slot)
            return
        self._put_out(slot)
        self._lately[slot.path] = None
        if len(self._lately) > max(64, len(self._slots)):
            del self._lately[next(iter(self._lately))]

    def _turn_long(self) -> None:
        slot = self._long.popleft()
        if not slot.alive:
            return
        if slot.uses:
            slot.uses -= 1
            self._long.append(slot)
            return
        self._put_out(slot)

    def _put_out(self, slot: _Slot) -> None:
        """Replace the entry by a stub, if it still is the one that the slot is about."""
        self._drop(slot)
        entry = self._entries.get(slot.path)
        if type(entry) is Entry and entry.revision == slot.revision:
            self._tree.cool(Stub(entry.path, slot.revision, slot.row, slot.size))
            self.evictions += 1

    def stats(self) -> Mapping[str, int]:
        """Return the counters by name."""
        return {"hit": self.hits, "disk": self.disk, "waited": self.waited, "evicted": self.evictions}


_LEFT = (
    "SELECT path, revision, row, size FROM live WHERE (path = ?1 OR (path > ?2 AND path < ?3))"
    " AND (cool = 2 OR (cool = 1 AND size >= ?4)) ORDER BY row"
)


def read_rows(connection: Any, rows: Collection[int]) -> dict[int, Entry]:
    """Return the entries in *rows* of the history, by row; those that are gone are left out."""
    query = (
        "SELECT '[' || group_concat('[' || row || ',' || json_quote(path) || ',' || revision || ',' || entry || ']')"
        " || ']' FROM history WHERE row IN (SELECT value FROM json_each(?))"
    )
    listed = msgspec.json.encode(list(rows)).decode()
    for (text,) in connection.execute(query, (listed,)):
        return {row: decode(*fields) for row, *fields in msgspec.json.decode(text)} if text else {}
    return {}


def _steps(stubs: Sequence[Stub]) -> Iterable[Sequence[Stub]]:
    """Cut *stubs* into steps, so that no reading holds more than some megabytes of text."""
    start = size = 0
    for index, stub in enumerate(stubs):
        size += stub.size
        if size >= _STEP_SIZE or index + 1 - start >= _STEP_ROWS:
            yield stubs[start : index + 1]
            start, size = index + 1, 0
    if start < len(stubs):
        yield stubs[start:]
