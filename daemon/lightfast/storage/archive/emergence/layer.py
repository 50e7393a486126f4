"""The layer of emergence: follows the frames, and finds clusters and relations among the newest as it goes.

Bounded: the window holds the newest frames as points; those that leave it keep their cluster and their relations, and
stand for their cluster by its centroid. Clusters are found anew when enough is new, and keep their identity by the
frames they share with before.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.core.clock import SYSTEM, Clock
from lightfast.storage.archive.caches import Cache
from lightfast.storage.archive.emergence import words as wording
from lightfast.storage.archive.emergence.records import Cluster, Relation, Space, TrigramSpace
from lightfast.storage.archive.emergence.shelf import SCHEMA, TYPICAL, ClusterRow, Shelf, unpack
from lightfast.storage.archive.emergence.window import Point, Window
from lightfast.storage.archive.layer import Layer
from lightfast.storage.archive.layer_port import FrameReader, FrameSource
from lightfast.storage.archive.records import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

WINDOW = 4096
ANCHORS = 256
"""So many clusters whose frames have left the window can still be joined."""
SEEN = 4000
"""So many characters of a text are looked at."""
SOON_S = 30.0
"""Clusters are found anew so long after the first new frame, or at once when an eighth of the window is new."""
KEPT_RELATIONS = 5
WEAKEST = 0.3
"""Weaker relations are not kept."""
_READ = 256


class EmergenceLayer(Layer):
    """Finds clusters and relations of the text frames; private ones are not looked at."""

    NAME = "emergence"
    VERSION = 1
    SCHEMA = SCHEMA

    def __init__(
        self,
        archive: FrameSource,
        folder: Path,
        *,
        space: Space | None = None,
        cache: Cache[str, object] | None = None,
        clock: Clock = SYSTEM,
        window: int = WINDOW,
        slice_size: int = 64,
        rest: float = 1.0,
    ) -> None:
        """*space* makes the points, the trigrams without one; *cache* keeps what was asked for last."""
        super().__init__(archive, folder, clock=clock, slice_size=slice_size, rest=rest)
        self._space: Space = space or TrigramSpace()
        self._cache: Cache[str, object] = cache if cache is not None else Cache(50, 16 << 20, 600.0, clock)
        self._most = max(window, 2 * slice_size)
        self._window = Window(self._space.dimensions, self._most)
        self._points: list[tuple[int, str, int, int, bytes]] = []
        self._new = 0
        self._since = 0.0
        self._stale: set[int] = set()
        """Clusters whose words are to be found anew: one of their frames was removed."""
        self._timer: asyncio.TimerHandle | None = None

    # ---- asking

    async def clusters(self, page_size: int = 100, after: tuple[int, int] | None = None) -> list[Cluster]:
        """Return clusters of two frames or more, largest first, behind the one with (size, id)."""
        if not self.is_there:
            return []
        key = f"{page_size} {after}"
        found = self._cache.get(key)
        if isinstance(found, list):
            return found
        epoch = self._cache.epoch
        rows = await self._in_worker(lambda: Shelf(self.db).clusters(after, page_size))
        clusters = [row.cluster() for row in rows]
        self._cache.put(key, clusters, 64 + sum(32 * len(one.frame_ids) + 256 for one in clusters), epoch)
        return clusters

    async def around(self, frame_id: str) -> tuple[Cluster | None, list[Relation]]:
        """Return the cluster of a frame and its relations, strongest first; nothing for one that is not known."""
        if not self.is_there:
            return None, []
        found = self._cache.get(frame_id)
        if isinstance(found, tuple):
            return found
        epoch = self._cache.epoch
        answer = await self._in_worker(self._around, frame_id)
        self._cache.put(frame_id, answer, 4096 + 96 * len(answer[1]), epoch)
        return answer

    def _around(self, frame_id: str) -> tuple[Cluster | None, list[Relation]]:
        shelf = Shelf(self.db)
        home = shelf.homes([frame_id]).get(frame_id)
        if home is None:
            return None, []
        number, cluster_id = home
        row = shelf.cluster(cluster_id) if cluster_id else None
        return row.cluster() if row is not None and row.size > 1 else None, shelf.relations(frame_id, number)

    async def find(self) -> None:
        """Find clusters and relations anew now, with what was taken in so far."""
        if not self.is_there:
            return
        await self._in_worker(lambda: None)
        await self._restore()
        await self._in_worker(self._find)
        await self._renew_words()
        self._cache.clear()

    # ---- taking in

    async def _take(self, frames: Sequence[Frame], position: int) -> None:
        if not frames:
            await self._in_worker(self._move_on, position)
            return
        import numpy as np

        await self._restore()
        texts = [str(frame.content)[:SEEN] for frame in frames]
        vectors = await self._space.vectors(texts)
        rows = np.asarray([np.asarray(vector, np.float32) for vector in vectors], np.float32)
        await self._in_worker(self._add, list(frames), texts, rows, position)
        self._cache.clear()
        if self._new * 4 >= self._most:
            await self.find()  # before what is new leaves the window without ever having been in a cluster
        if self._new and not self._since:
            self._since = self._clock.monotonic()

    def _add(self, frames: list[Frame], texts: list[str], vectors: Floats, position: int) -> None:
        new = [
            (frame.number, frame.frame_id, frame.time_ms, wording.content_words(text))
            for frame, text in zip(frames, texts, strict=True)
        ]
        shelf = Shelf(self.db)
        with self.db:
            left = self._window.add(new, vectors)
            homes = [self._window.points[number].cluster for number, *_ in new]
            shelf.add((*one[:3], home, row) for one, home, row in zip(new, homes, vectors.tolist(), strict=True))
            self._retire(shelf, left)
            for number, *_ in new:
                self._relate(shelf, self._window.points[number])
            self._write_position(position)
        self._new += len(new)

    def _retire(self, shelf: Shelf, left: Sequence[Point]) -> None:
        """Let points leave the window: what they were goes into the centroid of their cluster."""
        shelf.retire(point.number for point in left)
        sums: dict[int, list[Floats]] = defaultdict(list)
        for point in left:
            if point.cluster and point.last is not None:
                sums[point.cluster].append(point.last)
        for cluster_id, vectors in sums.items():
            row = shelf.cluster(cluster_id)
            if row is not None:
                row.centroid = _added(row.centroid, vectors)
                row.old += len(vectors)
                shelf.put(row)

    def _relate(self, shelf: Shelf, point: Point) -> None:
        strong = [one for one in self._window.relations(point) if one[1] >= WEAKEST]
        shelf.relate(point.number, strong[:KEPT_RELATIONS])

    async def _rested(self) -> bool:
        """Find clusters anew when it is time; until then a timer wakes the layer again."""
        if not self._new and not self._stale:
            return False
        due = self._since + SOON_S - self._clock.monotonic()
        if self._new * 8 < len(self._window) and not self._stale and due > 0.0:
            if self._timer is None or self._timer.when() <= asyncio.get_running_loop().time():
                self._timer = asyncio.get_running_loop().call_later(due, self._wake.set)
            return False
        await self.find()
        return True

    # ---- clusters

    def _find(self) -> None:
        self._new, self._since = 0, 0.0
        if not len(self._window):
            return
        shelf = Shelf(self.db)
        anchors = [(row.id, _vector(row.centroid)) for row in shelf.anchors(ANCHORS)]
        with self.db:
            found, joined = self._window.cluster(anchors)
            points = list(self._window.points.values())
            before = {point.cluster for point in points}
            groups: dict[int, list[Point]] = defaultdict(list)
            for point, community in zip(points, found, strict=True):
                groups[community].append(point)
            votes: dict[int, Counter[int]] = defaultdict(Counter)
            for community, members in groups.items():
                votes[community].update(point.cluster for point in members if point.cluster)
            for (cluster_id, _), community in zip(anchors, joined, strict=True):
                if community >= 0:
                    votes[community][cluster_id] += 1
            homes = self._identities(shelf, groups, votes)
            moved: list[tuple[int, int]] = []
            for community, members in groups.items():
                for point in members:
                    home = homes.get(community, 0)
                    if point.cluster != home:
                        point.cluster = home
                        moved.append((home, point.number))
            shelf.move(moved)
            inside: dict[int, list[Point]] = defaultdict(list)
            for point in points:
                inside[point.cluster].append(point)
                self._relate(shelf, point)
            for cluster_id in (before | set(homes.values())) - {0}:
                self._describe(shelf, cluster_id, inside.get(cluster_id, []))

    def _identities(
        self, shelf: Shelf, groups: dict[int, list[Point]], votes: dict[int, Counter[int]]
    ) -> dict[int, int]:
        """Return the cluster of each community: the one it shares most frames with, which nobody shares more of."""
        claims = sorted(
            ((count, -cluster, community) for community, tally in votes.items() for cluster, count in tally.items()),
            reverse=True,
        )
        homes: dict[int, int] = {}
        taken: set[int] = set()
        for _, negative, community in claims:
            if community >= 0 and community not in homes and -negative not in taken:
                homes[community] = -negative
                taken.add(-negative)
        fresh = shelf.next_id()
        for community, members in groups.items():
            if community >= 0 and community not in homes and len(members) > 1:
                homes[community] = fresh
                fresh += 1
        return homes

    def _describe(self, shelf: Shelf, cluster_id: int, inside: list[Point]) -> None:
        import numpy as np

        row = shelf.cluster(cluster_id) or ClusterRow(cluster_id)
        row.size = shelf.size(cluster_id)
        if inside:
            rows = np.stack([self._window.vector(point) for point in inside])
            middle = rows.sum(axis=0)
            if row.centroid:
                middle = middle + _vector(row.centroid)
            middle /= np.float32(np.linalg.norm(middle) or 1.0)
            close = rows @ middle
            order = np.argsort(-close, kind="stable")[:TYPICAL]
            older = (frame_id for frame_id in row.typical if self._window.number_of(frame_id) is None)
            row.typical = (*(inside[index].frame_id for index in order), *older)[:TYPICAL]
            row.coherence = float(np.clip(close.mean(), 0.0, 1.0))
            every = self._window.frequency
            row.words = wording.telling((point.words for point in inside), every, len(self._window))
        shelf.put(row)

    # ---- forgetting

    def _forget(self, frame_ids: Sequence[str]) -> None:
        shelf = Shelf(self.db)
        with self.db:
            homes = shelf.homes(frame_ids)
            shelf.remove(number for number, _ in homes.values())
            for number, _ in homes.values():
                self._window.drop(number)
            self._points = [row for row in self._points if row[1] not in homes]
            for cluster_id in {cluster for _, cluster in homes.values()} - {0}:
                row = shelf.cluster(cluster_id)
                if row is not None:
                    # Its words may be those of what was removed: they are gone with it, and found anew.
                    row.words = ()
                    row.typical = tuple(frame_id for frame_id in row.typical if frame_id not in homes)
                    row.size = shelf.size(cluster_id)
                    shelf.put(row)
                    self._stale.add(cluster_id)
        self._cache.clear()

    async def _renew_words(self) -> None:
        """Find the words of clusters anew from their frames, also of those that have left the window."""
        while self._stale:
            cluster_id = self._stale.pop()
            ids = await self._in_worker(self._some, cluster_id)
            known = await self._texts(ids)
            await self._in_worker(self._name, cluster_id, known)

    def _some(self, cluster_id: int) -> list[str]:
        return Shelf(self.db).some(cluster_id, TYPICAL)

    def _name(self, cluster_id: int, known: list[tuple[str, str]]) -> None:
        shelf = Shelf(self.db)
        row = shelf.cluster(cluster_id)
        if row is not None and not row.words:
            texts = [wording.content_words(text) for _, text in known]
            row.words = wording.telling(texts, self._window.frequency, max(1, len(self._window)))
            row.typical = row.typical or tuple(frame_id for frame_id, _ in known)
            shelf.put(row)

    # ---- after a restart

    def _load(self) -> None:
        self._window = Window(self._space.dimensions, self._most)
        row = self.db.execute("select value from meta where key = 'space'").fetchone()
        if row is not None and row[0] != self._space.name:
            raise ValueError(f"its points are of {row[0]}, and now they are of {self._space.name}")
        self.db.execute("insert or replace into meta values ('space', ?)", (self._space.name,))
        self._points = Shelf(self.db).points()

    async def _restore(self) -> None:
        """Put the points that were kept back into the window, with the words of their frames."""
        while self._points:
            part = self._points[:_READ]
            known = dict(await self._texts([row[1] for row in part]))
            await self._in_worker(self._put_back, part, known)

    def _put_back(self, part: list[tuple[int, str, int, int, bytes]], known: dict[str, str]) -> None:
        import numpy as np

        still = {row[0] for row in self._points}
        rows = [row for row in part if row[1] in known and row[0] in still]
        new = [
            (number, frame_id, time_ms, wording.content_words(known[frame_id]))
            for number, frame_id, _, time_ms, _ in rows
        ]
        if new:
            self._window.add(new, np.asarray([unpack(row[4]) for row in rows], np.float32))
        for number, _, cluster, _, _ in rows:
            self._window.points[number].cluster = cluster
        done = {row[0] for row in part}
        self._points = [row for row in self._points if row[0] not in done]

    async def _texts(self, frame_ids: Sequence[str]) -> list[tuple[str, str]]:
        def read(reader: FrameReader) -> list[tuple[str, str]]:
            found = ((frame_id, reader.get(frame_id)) for frame_id in frame_ids)
            return [(key, str(frame.content)[:SEEN]) for key, frame in found if frame is not None and not frame.private]

        return await self._archive.run(read)


def _vector(packed: bytes) -> Floats:
    import numpy as np

    return np.frombuffer(packed, np.float32)


def _added(packed: bytes, vectors: Sequence[Floats]) -> bytes:
    import numpy as np

    total = np.sum(np.stack(vectors), axis=0, dtype=np.float32)
    if packed:
        total = total + np.frombuffer(packed, np.float32)
    return bytes(np.asarray(total, np.float32).tobytes())
