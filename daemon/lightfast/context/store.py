"""The store: the shared tree, with one total order of revisions.

The loop owns the live tree. `apply` checks a transaction against the head, which is the tree under the
transactions that wait for the disk, gives it the next revision and hands its rows to the writer. When they are
durable, the changes move into the tree, the transaction is published, and the caller hears of it: nobody ever
sees what could still be lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.context import declarations as declared
from lightfast.context import drafting
from lightfast.context.cache import DEFAULT_SIZE, Cache
from lightfast.context.codec import decode_answer, encode_answer
from lightfast.context.declarations import Declarations
from lightfast.context.draft import Draft
from lightfast.context.entry import Declaration, Entry, Event, Mutation, Precondition, Transaction
from lightfast.context.head import Changes, Head
from lightfast.context.leased import Leased
from lightfast.context.ledger import Ledger
from lightfast.context.load import load
from lightfast.context.policies import Policy
from lightfast.context.preconditions import check_preconditions
from lightfast.context.reader import Bounds, Reader, compiled
from lightfast.context.records import (
    Applied,
    Child,
    Feed,
    Published,
    RequestKey,
    check_texts,
)
from lightfast.context.settle import IDLE, Settler
from lightfast.context.signals import Signals
from lightfast.context.store_past import PastMethods
from lightfast.context.suggest import suggest
from lightfast.context.tiers.shelf import Frames
from lightfast.context.tiers.tiers import TierOptions, Tiers
from lightfast.context.undoer import Undoer
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import InvalidArgument, LightfastError, NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.storage.database import Database, Unit
from lightfast.storage.requests import Requests

if TYPE_CHECKING:
    from lightfast.context.watch import Bus

__all__ = ["Applied", "Feed", "RequestKey", "Store"]

log = structlog.get_logger("lightfast.context")


class Store(PastMethods):
    """Open one with `await Store.open(db)`. *bus* takes the news, *leases* are the ones that live."""

    def __init__(
        self, db: Database, clock: Clock, bus: Feed | Bus, loaded: Any, settle_after: float, size: int, tiers: Tiers
    ) -> None:
        """Use `open`."""
        self.store_id = db.store_id
        self.bus = bus
        self.leases: set[str] = set()
        self._db = db
        self._declarations = Declarations()
        self._declarations.change(loaded.declarations, ())
        self._bounds = Bounds(db.store_id, loaded.revision, loaded.oldest)
        self.tiers = tiers
        self.cache = Cache(db, loaded.tree, size)
        self._head = Head(loaded.tree, self.cache)
        self.peek = loaded.tree.entries.get
        """Returns the live entry at a path, or the `Stub` that stands for it: `cache.load` has the entry."""
        self.visit = self._head.tree.visit
        """Yields the paths of live entries that match a compiled pattern, a few at a time; see `Tree.visit`."""
        self._tasks = TaskGroup("store")
        self._requests = Requests(db, clock)
        self._ledger = Ledger(
            db,
            clock,
            self._head,
            self._declarations,
            self._bounds,
            loaded.next_row,
            loaded.record_time,
            self._committed,
        )
        self._settler = Settler(self._settle, self._tasks, idle=settle_after)
        self._turns = drafting.Turns()
        self._signals = Signals(self._head, self._declarations, self._settler, clock)
        self._reader = Reader(tiers, self._head.tree, self._bounds, self._settler.moving, self.cache)
        self._leased = Leased(loaded.tree.entries.values())
        self._undoer = Undoer(tiers, self._head, self._bounds, self._ledger, self._requests, self.leases)

    @classmethod
    async def open(
        cls,
        db: Database,
        *,
        clock: Clock = SYSTEM,
        bus: Feed | Bus | None = None,
        settle_after: float = IDLE,
        cache_size: int = DEFAULT_SIZE,
        archive: Frames | None = None,
        tiers: TierOptions | None = None,
    ) -> Store:
        """Read the live tree and go on where the last store ended.

        *settle_after* is in seconds; *cache_size* is the most bytes that values nobody lives with take in memory.
        History moves to *archive* once `tiers.start` is called, as the options *tiers* say.
        """
        from lightfast.context.watch import Bus as WatchBus  # it needs the records of this floor first

        loaded = await db.read(load)
        bus = WatchBus(db.store_id) if bus is None else bus
        if isinstance(bus, WatchBus):
            bus.revision = max(bus.revision, loaded.revision)
        store = cls(db, clock, bus, loaded, settle_after, cache_size, Tiers(db, clock, archive, tiers))
        await store._requests.start()
        return store

    async def close(self) -> None:
        """Settle what moves and wait for what is being written; the database stays open."""
        await self._reader.ahead.close()
        await self.tiers.close()
        await self._settler.close()
        await self._ledger.drain()
        await self._requests.close()
        await self._tasks.close()

    @property
    def revision(self) -> int:
        """Return the last committed revision; the bus was handed everything up to it."""
        return self._bounds.revision

    @property
    def oldest_revision(self) -> int:
        """Return the oldest revision that can be read; everything after it can be replayed."""
        return self._bounds.oldest

    def use(self, search: Callable[..., Awaitable[Any]]) -> None:
        """Let *search* run what would take the loop too long: a function and its arguments, in a thread."""
        self._reader.search = search

    @property
    def entry_count(self) -> int:
        """Return the number of entries."""
        return len(self._head.tree)

    @property
    def requests(self) -> Requests:
        """Return the answers of the last 24 hours, for other methods to use."""
        return self._requests

    async def apply(
        self,
        mutations: Sequence[Mutation],
        *,
        origin: str,
        preconditions: Sequence[Precondition] = (),
        label: str = "",
        group: str = "",
        cause: int = 0,
        validate_only: bool = False,
        lease: str = "",
        request: RequestKey | None = None,
        unit: Unit | None = None,
        trusted: bool = False,
    ) -> Applied:
        """Commit *mutations* as one transaction; when this returns, it survives a power cut.

        Signals alone are not committed: they are live at once, with revision 0. *unit* has rows of
        another floor to write in the same unit of work. *trusted* is for the engine: reports are
        allowed, access and range are not enforced.

        The writes of one origin are committed in the order they came.

        Raises `InvalidArgument`, `OutOfBounds`, `Denied` (READ_ONLY), `NotFound` (PATH_UNDECLARED,
        LEASE_GONE), `AlreadyExists` (TARGET_TAKEN, REQUEST_ID_REUSED), `Conflict` (PRECONDITION_FAILED,
        PATH_OWNED), `FailedPrecondition` (PRECONDITION_REQUIRED), `Exhausted` (DISK_FULL, STORE_BUSY) and
        `Unavailable`. Then nothing of it was written.
        """
        what = (mutations, preconditions, origin, label, group, cause, lease, unit, trusted)
        if request is None or validate_only:
            return await self._apply(*what, None, validate_only)
        key = (request.client, request.method, request.request_id)
        return await self._requests.run(
            key,
            request.payload_hash,
            lambda: self._apply(*what, request, validate_only),
            lambda text: Applied(*decode_answer(text)),
        )

    async def _apply(
        self,
        mutations: Sequence[Mutation],
        preconditions: Sequence[Precondition],
        origin: str,
        label: str,
        group: str,
        cause: int,
        lease: str,
        unit: Unit | None,
        trusted: bool,
        request: RequestKey | None,
        validate_only: bool,
    ) -> Applied:
        """Do what `apply` says; the answer to *request* is written in the same unit of work."""
        if unit is None and self._signals.only(mutations):
            async with self._turns.of(origin, large=False):
                self._check_lease(lease)
                applied = self._apply_signals(mutations, origin, preconditions, lease, validate_only, trusted)
            if request is not None:
                await self._ledger.remember(self._answer(request, applied))
            return applied
        self._check_lease(lease)
        check_texts(origin, label, group)
        if cause and not trusted and not 0 < cause <= self.revision:
            raise InvalidArgument(
                f"the cause {cause} is no revision: the last one is {self.revision}; leave it out where there is none",
                field="cause_revision",
            )
        if self.cache.cold and (ready := self.cache.ready(mutations, [each.path for each in preconditions])):
            await ready

        def begin() -> Draft:
            draft = self._ledger.draft(origin, cause, group, label, lease, trusted)
            if preconditions:
                check_preconditions(self._head, preconditions)
                draft.conditions = {condition.path for condition in preconditions}
            return draft

        large = len(mutations) > drafting.SLICE
        while True:
            async with self._turns.of(origin, large=large):
                draft = await drafting.made(self._ledger, begin, partial(drafting.add, mutations=mutations))
                self._check_lease(lease)  # leases end, and signals move, without a commit
                if large:
                    check_preconditions(self._head, preconditions)
                entries = draft.entries()
                if validate_only:
                    return Applied(0, entries)
                if not draft.events and unit is None and request is None:
                    return Applied(self.revision, ())
                applied = Applied(draft.revision if draft.events else self.revision, entries)
                answer = None if request is None else self._answer(request, applied)
                future = self._ledger.put(draft, unit, answer)
            if (written := await self._ledger.written(future)) is not None:
                return applied if draft.events else Applied(written, entries)

    def _check_lease(self, lease: str) -> None:
        if lease and lease not in self.leases:
            raise NotFound(
                f"there is no lease {lease}: it has expired or was closed; open a new one", reason="LEASE_GONE"
            )

    def _answer(self, request: RequestKey, applied: Applied) -> tuple[Any, ...]:
        """Return the row that keeps *applied* for who asks again."""
        text = encode_answer(applied.revision, applied.entries)
        return self._requests.row(request.client, request.method, request.request_id, request.payload_hash, text)

    def _apply_signals(
        self,
        mutations: Sequence[Mutation],
        origin: str,
        preconditions: Sequence[Precondition],
        lease: str,
        validate_only: bool,
        trusted: bool,
    ) -> Applied:
        if preconditions:
            check_preconditions(self._head, preconditions)
        events = self._signals.prepare_all(mutations, origin, preconditions, trusted=trusted, lease=lease)
        if not validate_only:
            self._signals.put(events)
            self._leased.follow(events)
            self.bus.signals(events)
        return Applied(0, tuple([event.entry for event in events]))

    def publish(self, mutations: Sequence[Mutation], *, origin: str) -> Published:
        """Take signals, each for itself; what is refused is counted and the first reason given. Never waits."""
        events: list[Event] = []
        dropped, reason = 0, ""
        for mutation in mutations:
            try:
                event = self._signals.prepare(mutation, origin, trusted=False)
                self._signals.put((event,))
                events.append(event)
            except (LightfastError, ValueError) as error:
                dropped += 1
                reason = reason or str(error)
        if events:
            self.bus.signals(events)
        return Published(len(events), dropped, reason)

    def get(self, path: str) -> Entry | None:
        """Return the live entry at *path*."""
        return self.cache.get(path)

    def select(self, pattern: str, limit: int | None = None, after: str = "") -> list[Entry]:
        """Return the live entries that match, ordered by path; at most *limit* of those after the path *after*."""
        return self._head.tree.whole(self._head.tree.select(compiled(pattern), limit, after))

    async def entries(self, pattern: str, limit: int | None = None, after: str = "") -> list[Entry]:
        """Return what `select` does, and read off the loop what is not in memory; it does not stay there."""
        held = self._head.tree.select(compiled(pattern), limit, after)
        found = await self.cache.load(held, keep=False)
        # Of what was overwritten meanwhile, and forgotten as it was, what is there now.
        now = [entry or self.get(each.path) for each, entry in zip(held, found, strict=True)]
        return [entry for entry in now if entry is not None]

    def resident(self, pattern: str) -> list[Entry]:
        """Return those of the live entries that match and are in memory; all that applications are to answer are."""
        return [each for each in self._head.tree.select(compiled(pattern)) if type(each) is Entry]

    def children(self, path: str) -> list[Child]:
        """Return the children of *path*, ordered by path."""
        return self._head.tree.children(path)

    async def declare(self, declarations: Sequence[Declaration], remove: Sequence[str] = (), *, owner: str) -> None:
        """Add declarations, over those of the same pattern, and take away those of *remove*; then they are durable."""
        if len(declarations) + len(self._declarations) > declared.MAX_DECLARATIONS:
            raise InvalidArgument(
                f"there would be more than {declared.MAX_DECLARATIONS} declarations: use patterns",
                field="declarations",
            )
        unit = self._db.unit()
        owned = declared.write(unit, declarations, remove, owner)

        def written(error: BaseException | None) -> None:
            if error is None:  # also where nobody waits any more: what is on disk holds
                self._declarations.change(owned, remove)

        await self._db.commit(unit, written)

    def describe(self, pattern: str = "") -> list[Declaration]:
        """Return declarations ordered by pattern: all, those that *pattern* matches, or those that cover a path."""
        if pattern:
            compiled(pattern)
        return self._declarations.describe(pattern)

    def declaration(self, path: str) -> Declaration | None:
        """Return the declaration that holds for *path*: an exact one, else the pattern with the longest prefix."""
        return self._declarations.rule(path).declaration

    def set_policies(self, mount: str, policies: Mapping[str, Policy]) -> None:
        """Set the conflict policies of *mount*, by pattern, over what is declared."""
        self._declarations.set_policies(mount, policies)

    def add_mount(self, mount: str) -> None:
        """Make *mount* (`/blender`) an application's: values there become wishes, unknown paths are refused."""
        self._declarations.add_mount(mount)

    def remove_mount(self, mount: str) -> None:
        """Make *mount* an ordinary part of the tree again."""
        self._declarations.remove_mount(mount)

    def mount_of(self, path: str) -> str:
        """Return the mount that *path* lies under, or the empty text."""
        return self._declarations.mount_of(path)

    def suggest(self, path: str) -> str:
        """Return ` Did you mean …?` with an entry or a declared pattern close to *path*, or the empty text."""
        return suggest(path, self._head.tree, self._declarations.under(self.mount_of(path)))

    async def drain(self) -> None:
        """Wait until everything that was applied so far is durable, or has failed."""
        await self._ledger.drain()

    def leased(self, lease: str) -> list[str]:
        """Return the paths of the entries that go with *lease*, ordered."""
        return self._leased.paths(lease)

    def _committed(self, transaction: Transaction, changes: Changes) -> None:
        """Note what a commit means for signals and leases, and publish it."""
        if self._settler:
            for path in changes:
                live = self._head.tree.entries.get(path)
                if live is None or live.revision:
                    self._settler.forget(path)
        self._leased.follow(transaction.events)
        self.bus.publish(transaction)

    async def _settle(self, paths: Sequence[str]) -> None:
        """Commit the values of signals as they are, one transaction for each origin."""
        futures = []
        for origin, entries in self._settler.unsettled(paths, self.get).items():
            draft = self._ledger.draft(origin)
            for entry in entries:
                draft.settle(entry)
            futures.append(self._ledger.put(draft))
        for future in futures:
            await self._ledger.written(future)
