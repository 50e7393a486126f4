"""Scenes: named sets of entries, with versions, kept beside the history and not by it.

A version holds its values itself, compressed, so it stays whole whatever becomes of the history: retention, compaction
and purge need not ask. Saving again makes a new version; the newest `MAX_VERSIONS` of each scene are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from lightfast.context.records import RequestKey
from lightfast.context.scenes import rows
from lightfast.context.scenes.follow import Moved, follow
from lightfast.context.scenes.gather import Choice, gather
from lightfast.context.scenes.pack import assets_of, pack, unpack
from lightfast.context.scenes.records import Reached, Scene, SceneEntry, Wanted
from lightfast.context.store import Store
from lightfast.core.clock import Clock
from lightfast.core.errors import Conflict, Exhausted, NotFound
from lightfast.core.ids import new_id
from lightfast.storage.database import Database, Unit

T = TypeVar("T")

MAX_SCENES = 1000
MAX_ENTRIES = 200_000
MAX_VERSIONS = 10
MAX_SIZE = 1 << 30
"""Bounds: scenes, entries of one, versions kept of each, bytes of all."""


class Scenes:
    """All scenes of a store. Nothing is read before the first call."""

    def __init__(self, store: Store, db: Database, clock: Clock) -> None:
        self._store = store
        self._db = db
        self._clock = clock
        self._versions: dict[str, dict[int, Scene]] | None = None
        self._editing = asyncio.Lock()

    async def save(
        self,
        wanted: Wanted,
        *,
        origin: str,
        validate_only: bool = False,
        request: RequestKey | None = None,
        replacing: Callable[[], None] = lambda: None,
    ) -> Scene:
        """Save a version; when this returns it is durable, and a repeated *request* gets the same answer.

        *replacing* is called before a scene that exists gets a new version, and may refuse. Raises `InvalidArgument`,
        `Conflict` (ETAG_MISMATCH), `OutOfRange` for a revision that is not kept, and `Exhausted` (SCENES_FULL,
        SCENE_TOO_LARGE, DISK_FULL).
        """
        wanted.check()
        act = partial(self._save, wanted, origin, validate_only, replacing)
        if request is None or validate_only:
            return await act(None)
        return await self._once(request, act, lambda text: msgspec.json.decode(text, type=Scene))

    async def _save(
        self,
        wanted: Wanted,
        origin: str,
        validate_only: bool,
        replacing: Callable[[], None],
        request: RequestKey | None,
    ) -> Scene:
        async with self._editing:
            known = await self._known()
            last = _last(known.get(wanted.name))
            _check_etag(wanted.name, last, wanted.etag)
            if last is not None:
                replacing()
            elif len(known) >= MAX_SCENES:
                raise Exhausted(f"there are {MAX_SCENES} scenes: delete one first", reason="SCENES_FULL")
            patterns = wanted.patterns or (last.patterns if last is not None else ())
            exclude = wanted.exclude or (last.exclude if last is not None and not wanted.patterns else ())
            choice = Choice(patterns, exclude)
            found = await gather(self._store, choice, wanted.at_revision, MAX_ENTRIES)
            now = self._clock.now_ns()
            scene = Scene(
                wanted.name,
                1 if last is None else last.version + 1,
                found.revision,
                origin,
                now if last is None else last.create_time,
                now,
                wanted.description or ("" if last is None else last.description),
                choice.patterns,
                tuple(exclude),
                len(found.entries),
                tuple(sorted({mount for entry in found.entries if (mount := self._store.mount_of(entry.path))})),
                etag=new_id("etag"),
                followed=found.revision,
            )
            if validate_only:
                return scene
            packed, sha256s = await _off_loop(_packed, found.entries)
            scene = msgspec.structs.replace(scene, size=sum(map(len, packed)))
            await self._write(scene, packed, sha256s, request)
            return scene

    async def _write(
        self, scene: Scene, packed: Sequence[bytes], sha256s: set[str], request: RequestKey | None
    ) -> None:
        known = await self._known()
        kept = known.get(scene.name, {})
        outlived = sorted(kept)[: max(0, len(kept) + 1 - MAX_VERSIONS)]
        gone = sum(kept[version].size for version in outlived)
        if self._size(known) - gone + scene.size > MAX_SIZE:
            raise Exhausted(
                f"the scenes take {self._size(known)} bytes, and with this one more than {MAX_SIZE}: delete some first",
                reason="SCENES_FULL",
            )
        unit = self._db.unit()
        for version in outlived:
            rows.drop(unit, scene.name, version)
        rows.save(unit, scene, packed, sha256s)

        def written() -> None:
            known[scene.name] = {version: one for version, one in kept.items() if version not in outlived} | {
                scene.version: scene
            }

        await self._commit(unit, request, msgspec.json.encode(scene).decode(), written)

    async def delete(self, name: str, *, etag: str = "", request: RequestKey | None = None) -> None:
        """Delete a scene with all its versions; raises `NotFound` (SCENE_UNKNOWN) and `Conflict` (ETAG_MISMATCH)."""
        act = partial(self._delete, name, etag)
        if request is None:
            await act(None)
        else:
            await self._once(request, act, lambda _: None)

    async def _delete(self, name: str, etag: str, request: RequestKey | None) -> None:
        async with self._editing:
            known = await self._known()
            last = _last(known.get(name))
            if last is None:
                raise _unknown(name, known)
            _check_etag(name, last, etag)
            unit = self._db.unit()
            for version in known[name]:
                rows.drop(unit, name, version)
            await self._commit(unit, request, "", lambda: known.pop(name))

    async def get(self, name: str, version: int = 0) -> Scene:
        """Return the newest version of a scene, or the *version* asked for; raises `NotFound` (SCENE_UNKNOWN)."""
        known = await self._known()
        versions = known.get(name)
        last = _last(versions)
        if versions is None or last is None:
            raise _unknown(name, known)
        if not version:
            return last
        if version not in versions:
            listed = ", ".join(map(str, sorted(versions)))
            raise NotFound(
                f"the scene {name!r} has no version {version} any more: there are {listed}",
                reason="SCENE_UNKNOWN",
                field="version",
            )
        return versions[version]

    async def all(self) -> list[Scene]:
        """Return the newest version of every scene, ordered by name."""
        known = await self._known()
        return [versions[max(versions)] for _, versions in sorted(known.items())]

    @property
    def names(self) -> list[str]:
        """Return the names of the scenes, ordered; empty before the first call of another method has read them."""
        return sorted(self._versions or ())

    async def entries(self, scene: Scene) -> list[SceneEntry]:
        """Return what *scene* holds, ordered by path, by the names that renamed objects have now."""
        return (await self.read(scene))[1]

    async def read(self, scene: Scene) -> tuple[list[SceneEntry], list[SceneEntry]]:
        """Return the entries of *scene* by the names they were saved with, and by those of now."""

        def read(connection: Any) -> tuple[list[bytes], list[Moved]]:
            found = rows.blocks(connection, scene.name, scene.version)
            return found, rows.moves(connection, scene.followed)

        return await _off_loop(_unpacked, *await self._db.read(read))

    async def assets(self) -> frozenset[str]:
        """Return the SHA-256 of every asset that a version of a scene holds; what was purged may still be named."""
        return frozenset(await self._db.read(rows.assets))

    async def roots(self) -> Reached:
        """Return what all versions of all scenes reach; every one of them is read."""
        known = await self._known()
        paths: set[tuple[str, int]] = set()
        for versions in tuple(known.values()):
            for scene in tuple(versions.values()):
                paths.update([(entry.path, entry.revision) for entry in await self.entries(scene)])
        return Reached(await self.assets(), frozenset(paths))

    @asynccontextmanager
    async def edited(self) -> AsyncIterator[None]:
        """Keep everybody from saving while somebody else changes the rows; then they are read anew."""
        async with self._editing:
            try:
                yield
            finally:
                self._versions = None

    async def _known(self) -> dict[str, dict[int, Scene]]:
        if self._versions is None:
            found: dict[str, dict[int, Scene]] = {}
            for scene in await self._db.read(rows.versions):
                found.setdefault(scene.name, {})[scene.version] = scene
            if self._versions is None:  # nobody was faster
                self._versions = found
        return self._versions

    def _size(self, known: dict[str, dict[int, Scene]]) -> int:
        return sum(scene.size for versions in known.values() for scene in versions.values())

    async def _commit(self, unit: Unit, request: RequestKey | None, answer: str, written: Callable[[], object]) -> None:
        """Commit, and then call *written*, also where nobody waits any more: what is on disk is known."""
        if request is not None:
            row = self._store.requests.row(
                request.client, request.method, request.request_id, request.payload_hash, answer
            )
            unit.log([row], len(answer))

        def done(error: BaseException | None) -> None:
            if error is None:
                written()

        await self._db.commit(unit, done)

    async def _once(
        self, request: RequestKey, act: Callable[[RequestKey], Awaitable[T]], decode: Callable[[str], T]
    ) -> T:
        key = (request.client, request.method, request.request_id)
        return await self._store.requests.run(
            key,
            request.payload_hash,
            lambda: act(request),
            decode,
        )


def _packed(entries: Sequence[SceneEntry]) -> tuple[list[bytes], set[str]]:
    return pack(entries), {sha256 for entry in entries for sha256 in assets_of(entry.value)}


def _unpacked(blocks: Sequence[bytes], moves: Sequence[Moved]) -> tuple[list[SceneEntry], list[SceneEntry]]:
    saved = list(unpack(blocks))
    return saved, follow(saved, moves) if moves else saved


async def _off_loop(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _last(versions: dict[int, Scene] | None) -> Scene | None:
    return versions[max(versions)] if versions else None


def _check_etag(name: str, last: Scene | None, etag: str) -> None:
    if etag and (last is None or last.etag != etag):
        now = "is not there" if last is None else f"has the etag {last.etag} now, of version {last.version}"
        raise Conflict(
            f"the scene {name!r} {now}: somebody was faster; look at it and try again",
            reason="ETAG_MISMATCH",
            metadata={"etag": "" if last is None else last.etag},
            field="etag",
        )


def _unknown(name: str, known: Iterable[str]) -> NotFound:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ": see 'lightfast scene list'"
    return NotFound(f"there is no scene {name!r}{hint}", reason="SCENE_UNKNOWN", field="name")
