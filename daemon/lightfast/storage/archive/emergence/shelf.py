"""The tables of emergence: who belongs where, what is related, and the points of the window."""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from lightfast.storage.archive.emergence.records import Cluster, Relation

if TYPE_CHECKING:
    import apsw

SCHEMA = """
create table members (number integer primary key, frame_id text not null unique, cluster integer not null);
create index members_by_cluster on members (cluster, number);
create table clusters (
  id integer primary key, words text not null, typical text not null, coherence real not null,
  size integer not null, old integer not null, centroid blob not null
);
create table relations (
  one integer not null, other integer not null, strength real not null, reason text not null, primary key (one, other)
) without rowid;
create index relations_back on relations (other);
create table points (number integer primary key, time_ms integer not null, vector blob not null)
"""
"""*old* counts the members whose vectors are in *centroid*, a sum: they have left the window. Cluster 0 is none."""
TYPICAL = 100
RELATED = 50
"""The most relations that are told of one frame."""


class ClusterRow(msgspec.Struct):
    """A cluster as it is kept; *centroid* is the sum of the vectors of *old* members."""

    id: int
    words: tuple[str, ...] = ()
    typical: tuple[str, ...] = ()
    coherence: float = 0.0
    size: int = 0
    old: int = 0
    centroid: bytes = b""

    def cluster(self) -> Cluster:
        """Return it as it is told."""
        return Cluster(f"cluster-{self.id}", self.words, self.typical, self.size, self.coherence)


class Shelf:
    """Reads and writes the tables; used in the layer's worker only."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    # ---- members and points

    def add(self, rows: Iterable[tuple[int, str, int, int, Sequence[float]]]) -> None:
        """Add members as (number, id, time, cluster, vector)."""
        for number, frame_id, time_ms, cluster, vector in rows:
            self._db.execute("insert or replace into members values (?, ?, ?)", (number, frame_id, cluster))
            self._db.execute("insert or replace into points values (?, ?, ?)", (number, time_ms, pack(vector)))

    def points(self) -> list[tuple[int, str, int, int, bytes]]:
        """Return the window, oldest first, as (number, id, cluster, time, packed vector)."""
        query = (
            "select number, frame_id, cluster, time_ms, vector from points join members using (number) order by number"
        )
        return [(int(n), str(f), int(c), int(t), bytes(v)) for n, f, c, t, v in self._db.execute(query)]

    def retire(self, numbers: Iterable[int]) -> None:
        """Take points out of the window; they stay members."""
        self._db.executemany("delete from points where number = ?", ((number,) for number in numbers))

    def move(self, homes: Iterable[tuple[int, int]]) -> None:
        """Put members into clusters, as (cluster, number)."""
        self._db.executemany("update members set cluster = ? where number = ?", homes)

    def homes(self, frame_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return number and cluster of the frames that are known."""
        found = {}
        for frame_id in frame_ids:
            row = self._db.execute("select number, cluster from members where frame_id = ?", (frame_id,)).fetchone()
            if row is not None:
                found[frame_id] = (int(row[0]), int(row[1]))
        return found

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget members with all that is known of them."""
        for number in numbers:
            for table in ("members", "points"):
                self._db.execute(f"delete from {table} where number = ?", (number,))  # noqa: S608 — our own names
            self._db.execute("delete from relations where one = ?1 or other = ?1", (number,))

    # ---- clusters

    def clusters(self, after: tuple[int, int] | None, most: int) -> list[ClusterRow]:
        """Return clusters, largest first, behind the one with (size, id)."""
        size, last = after or (1 << 62, 0)
        query = (
            "select id, words, typical, coherence, size, old, centroid from clusters"
            " where size > 1 and (size < ?1 or (size = ?1 and id > ?2)) order by size desc, id limit ?3"
        )
        return [_cluster(row) for row in self._db.execute(query, (size, last, most))]

    def cluster(self, cluster_id: int) -> ClusterRow | None:
        """Return one cluster."""
        query = "select id, words, typical, coherence, size, old, centroid from clusters where id = ?"
        row = self._db.execute(query, (cluster_id,)).fetchone()
        return None if row is None else _cluster(row)

    def anchors(self, most: int) -> list[ClusterRow]:
        """Return the newest clusters of which members have left the window."""
        query = (
            "select id, words, typical, coherence, size, old, centroid from clusters where old > 0"
            " order by id desc limit ?"
        )
        return [_cluster(row) for row in self._db.execute(query, (most,))]

    def next_id(self) -> int:
        """Return an id that no cluster has."""
        row = self._db.execute("select max(id) from clusters").fetchone()
        return int(row[0] or 0) + 1 if row else 1

    def put(self, row: ClusterRow) -> None:
        """Write a cluster; one without members is deleted."""
        if row.size < 1:
            self._db.execute("delete from clusters where id = ?", (row.id,))
            return
        self._db.execute(
            "insert or replace into clusters values (?, ?, ?, ?, ?, ?, ?)",
            (
                row.id,
                json.dumps(row.words, ensure_ascii=False),
                " ".join(row.typical),
                row.coherence,
                row.size,
                row.old,
                row.centroid,
            ),
        )

    def size(self, cluster_id: int) -> int:
        """Count the members of a cluster."""
        row = self._db.execute("select count(*) from members where cluster = ?", (cluster_id,)).fetchone()
        return int(row[0]) if row else 0

    def some(self, cluster_id: int, most: int) -> list[str]:
        """Return the newest members of a cluster."""
        query = "select frame_id from members where cluster = ? order by number desc limit ?"
        return [str(row[0]) for row in self._db.execute(query, (cluster_id, most))]

    # ---- relations

    def relate(self, number: int, found: Iterable[tuple[int, float, str]]) -> None:
        """Replace the relations that were found from a frame, as (other, strength, reason)."""
        self._db.execute("delete from relations where one = ?", (number,))
        rows = ((number, other, strength, reason) for other, strength, reason in found)
        self._db.executemany("insert or replace into relations values (?, ?, ?, ?)", rows)

    def relations(self, frame_id: str, number: int) -> list[Relation]:
        """Return the relations of a frame, strongest first; those found from both sides once."""
        query = (
            "select frame_id, max(strength), reason from ("
            " select other as number, strength, reason from relations where one = ?1"
            " union all select one, strength, reason from relations where other = ?1"
            ") join members using (number) group by number order by 2 desc, number limit ?2"
        )
        rows = self._db.execute(query, (number, RELATED))
        return [Relation(frame_id, str(other), float(strength), str(reason)) for other, strength, reason in rows]


def _cluster(row: Sequence[object]) -> ClusterRow:
    number, words, typical, coherence, size, old, centroid = row
    return ClusterRow(
        int(str(number)),
        tuple(json.loads(str(words))),
        tuple(str(typical).split()),
        float(str(coherence)),
        int(str(size)),
        int(str(old)),
        bytes(centroid) if isinstance(centroid, bytes) else b"",
    )


def pack(vector: Sequence[float]) -> bytes:
    """Return a vector in steps of 1/127 of its largest number, compressed: a quarter, or less where it is sparse."""
    largest = max((abs(number) for number in vector), default=0.0) or 1.0
    steps = array("b", (round(127 * number / largest) for number in vector))
    return array("f", [largest]).tobytes() + zlib.compress(steps.tobytes(), 1)


def unpack(packed: bytes) -> list[float]:
    """Return the vector; raises ValueError or zlib.error for what `pack` did not make."""
    (largest,) = array("f", packed[:4])
    return [step * largest / 127 for step in array("b", zlib.decompress(packed[4:]))]
