"""Emergence: clusters against k-means, relations against co-occurrence, and the layer that finds them as it goes."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from tests.support.emergence import HOUR_MS, clusters_of
from tests.support.judging import (
    Note,
    average_precision,
    kmeans,
    notes,
    rand_index,
    same_matter,
    shared_words,
)

from lightfast.core.clock import StillClock
from lightfast.core.trigrams import TrigramEmbedder
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.caches import Cache
from lightfast.storage.archive.emergence.communities import communities
from lightfast.storage.archive.emergence.layer import EmergenceLayer
from lightfast.storage.archive.emergence.shelf import pack, unpack
from lightfast.storage.archive.emergence.window import NEIGHBOURS, Window
from lightfast.storage.archive.records import NewFrame

CLUSTER_MARGIN = 0.06
RELATION_MARGIN = 0.1


def vectors_of(order: Sequence[Note]) -> np.ndarray:
    return np.asarray([list(row) for row in TrigramEmbedder().embed([note.text for note in order])], np.float32)


def test_the_labelled_notes_are_of_many_topics_and_sizes() -> None:
    found = notes()
    assert len(found) >= 180
    topics = {note.topic for note in found if not note.topic.startswith("-")}
    assert len(topics) == 16
    assert sum(same_matter(one, other) for one, other in combinations(found, 2)) >= 40


def test_clusters_beat_k_means_with_the_true_k_over_the_same_vectors() -> None:
    ours, theirs = [], []
    for seed in range(2):
        order = notes(seed)
        truth = [note.topic for note in order]
        vectors = vectors_of(order)
        ours.append(rand_index(truth, clusters_of(order, vectors)[0]))
        theirs.append(rand_index(truth, kmeans(vectors, len(set(truth)), seed)))
    assert statistics.mean(ours) > statistics.mean(theirs) + CLUSTER_MARGIN
    assert min(ours) > max(theirs)


def test_relations_beat_co_occurrence() -> None:
    order = notes(1)
    _, strength = clusters_of(order, vectors_of(order))
    pairs = list(combinations(range(len(order)), 2))
    truth = [same_matter(order[a], order[b]) for a, b in pairs]
    ours = average_precision(truth, [strength.get(pair, 0.0) for pair in pairs])
    theirs = average_precision(truth, [shared_words(order[a].text, order[b].text) for a, b in pairs])
    assert ours > theirs + RELATION_MARGIN
    assert all(0.0 <= strong <= 1.0 for strong in strength.values())


def test_the_measures_are_right() -> None:
    assert rand_index([1, 1, 2, 2], ["a", "a", "b", "b"]) == 1.0
    assert rand_index([1, 1, 2, 2], [0, 1, 0, 1]) < 0.0
    assert average_precision([True, False, True], [3.0, 2.0, 1.0]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([True, False], [1.0, 1.0]) == 0.5
    two = np.asarray([[0, 0], [0, 0.1], [5, 5], [5, 5.1]], np.float32)
    assert rand_index([0, 0, 1, 1], kmeans(two, 2, 0)) == 1.0


def test_communities_of_a_graph() -> None:
    clique = [(a, b, 1.0) for group in ((0, 1, 2, 3), (4, 5, 6, 7)) for a, b in combinations(group, 2)]
    links: list[dict[int, float]] = [{} for _ in range(10)]
    for a, b, weight in [*clique, (3, 4, 0.2)]:
        links[a][b] = links[b][a] = weight
    found = communities(links)
    assert len({found[node] for node in range(4)}) == len({found[node] for node in range(4, 8)}) == 1
    assert len(set(found)) == 4  # 8 and 9 are linked to nothing
    assert found == communities(links)
    assert communities([]) == []


def test_the_window_is_bounded_and_forgets() -> None:
    window = Window(1000, 50)
    order = notes(2)
    vectors = vectors_of(order)
    for at in range(0, len(order), 10):
        part = order[at : at + 10]
        rows = [(at + n, f"{at + n:016x}", 0, frozenset(note.text.split())) for n, note in enumerate(part)]
        left = window.add(rows, vectors[at : at + 10])
        assert len(window) <= 50
        assert all(point.number < at - 40 + 10 for point in left)
        assert all(len(point.near) <= NEIGHBOURS for point in window.points.values())
    assert sum(window.frequency.values()) == sum(len(point.words) for point in window.points.values())
    last = next(reversed(window.points))
    window.drop(last)
    assert window.drop(last) is None
    window.cluster()
    assert all(last not in point.near for point in window.points.values())


def test_a_packed_vector_is_nearly_the_same() -> None:
    vector = vectors_of(notes()[:1])[0]
    assert np.abs(np.asarray(unpack(pack(vector.tolist()))) - vector).max() < 0.005
    assert len(pack(vector.tolist())) < 400
    assert unpack(pack([0.0, 0.0])) == [0.0, 0.0]


# ---- the layer


async def opened(folder: Path, **options: object) -> tuple[Archive, EmergenceLayer]:
    archive = await Archive.open(folder)
    layer = EmergenceLayer(archive, folder, rest=0.0, **options)  # type: ignore[arg-type]
    layer.start()
    return archive, layer


async def append(archive: Archive, order: Sequence[Note]) -> list[str]:
    return await archive.append([NewFrame(note.text, time_ms=(1 + at) * HOUR_MS) for at, note in enumerate(order)])


def agreement(order: Sequence[Note], ids: Sequence[str], homes: dict[str, str]) -> float:
    return rand_index([note.topic for note in order], [homes.get(frame_id, frame_id) for frame_id in ids])


async def homes_of(layer: EmergenceLayer) -> dict[str, str]:
    return {frame_id: one.cluster_id for one in await layer.clusters(1000) for frame_id in one.frame_ids}


async def test_clusters_and_relations_emerge_as_frames_come(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive")
    order = notes(0)
    try:
        assert (await layer.around("f" * 16), await layer.clusters()) == ((None, []), [])
        await layer.find()
        assert not (tmp_path / "archive").exists()  # lazy: to ask creates nothing
        ids = await append(archive, order)
        await layer.settled()
        await layer.find()
        clusters = await layer.clusters()
        assert [one.size for one in clusters] == sorted((one.size for one in clusters), reverse=True)
        assert all(one.size == len(one.frame_ids) > 1 and 0.0 < one.coherence <= 1.0 for one in clusters)
        assert agreement(order, ids, await homes_of(layer)) > 0.4
        robots = next(one for one in clusters if "robot" in one.words)
        assert robots.size > 5
        assert sum(order[ids.index(frame_id)].topic == "robot arm" for frame_id in robots.frame_ids[:5]) >= 4
        number = next(n for n, note in enumerate(order) if "encoder belt, the arm" in note.text)
        cluster, relations = await layer.around(ids[number])
        assert cluster is not None
        assert ids[number] in cluster.frame_ids
        assert [one.strength for one in relations] == sorted((one.strength for one in relations), reverse=True)
        best = order[ids.index(relations[0].other_frame_id)]
        assert (best.topic, best.matter) == ("robot arm", 1)
        back = (await layer.around(relations[0].other_frame_id))[1]
        assert ids[number] in [one.other_frame_id for one in back]
        pages, after = [], None
        while page := await layer.clusters(3, after):
            pages += page
            after = (page[-1].size, int(page[-1].cluster_id.removeprefix("cluster-")))
        assert pages == clusters
    finally:
        await layer.close()
        await archive.close()


async def test_it_goes_on_after_a_restart_and_clusters_keep_their_identity(tmp_path: Path) -> None:
    folder, order = tmp_path / "archive", notes(0)
    archive, layer = await opened(folder)
    try:
        ids = await append(archive, order[:120])
        await layer.settled()
        await layer.find()
        before = await homes_of(layer)
        await layer.close()
        ids += await append(archive, order[120:])
        layer = EmergenceLayer(archive, folder, rest=0.0)
        layer.start()
        await layer.settled()
        assert layer.position == len(order) - 1
        await layer.find()
        after = await homes_of(layer)
        kept = sum(after.get(frame_id) == home for frame_id, home in before.items())
        assert kept > 0.5 * len(before)
        assert agreement(order, ids, after) > 0.4
    finally:
        await layer.close()
        await archive.close()


async def test_what_left_the_window_keeps_its_cluster_and_draws_the_new(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive", window=64, slice_size=16)
    try:
        robot = [NewFrame(f"robot arm joint {number} overheats after calibration") for number in range(20)]
        old = await archive.append(robot)
        await layer.settled()
        await layer.find()
        await append(archive, [note for note in notes(1) if "robot" not in note.text][:90])
        await layer.settled()
        cluster, relations = await layer.around(old[0])
        assert cluster is not None
        assert relations
        new = await archive.append([NewFrame(f"robot arm joint {n} overheats before calibration") for n in (3, 4)])
        await layer.settled()
        await layer.find()
        again, _ = await layer.around(new[0])
        assert again is not None
        assert again.cluster_id == cluster.cluster_id
        assert again.size >= cluster.size + 1
        assert set(new) & set(again.frame_ids[:2])
        assert set(old) & set(again.frame_ids)
    finally:
        await layer.close()
        await archive.close()


async def test_a_pause_holds_it_and_a_resume_lets_it_go_on(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive")
    try:
        layer.pause()
        ids = await append(archive, notes(0)[:40])
        for _ in range(20):
            await asyncio.sleep(0)
        assert (layer.paused, await layer.clusters()) == (True, [])
        layer.resume()
        await layer.settled()
        assert layer.position == len(ids) - 1
        assert await layer.clusters()
    finally:
        await layer.close()
        await archive.close()


async def test_nothing_of_a_removed_or_private_frame_is_left_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    archive, layer = await opened(folder)
    try:
        ids = await archive.append(
            [NewFrame(f"the zanzibarium lens number {n} is kept in the drawer") for n in range(6)]
        )
        await archive.append([NewFrame(f"haze machine {n} warms up") for n in range(6)])
        await layer.settled()
        await layer.find()
        cluster, _ = await layer.around(ids[0])
        assert cluster is not None
        assert "zanzibarium" in cluster.words
        assert b"zanzibarium" in (folder / "emergence" / "emergence.db").read_bytes()
        await archive.remove(ids[:5], reason="test")
        await layer.settled()
        assert (await layer.around(ids[0])) == (None, [])
        await archive.remove(ids[5:], reason="test")
        left = b"".join(path.read_bytes() for path in sorted((folder / "emergence").iterdir()))
        assert b"zanzibarium" not in left
        assert ids[0].encode() not in left
        assert all(ids[0] not in one.frame_ids for one in await layer.clusters())
    finally:
        await layer.close()
        await archive.close()


async def test_points_of_another_embedder_are_never_mixed(tmp_path: Path) -> None:
    class Other:
        name = "other"
        dimensions = 2

        async def vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            return [[1.0, 0.0] if "robot" in text else [0.0, 1.0] for text in texts]

    folder = tmp_path / "archive"
    archive, layer = await opened(folder)
    try:
        await append(archive, notes(0)[:50])
        await layer.settled()
        await layer.close()
        layer = EmergenceLayer(archive, folder, space=Other(), rest=0.0)
        layer.start()
        await layer.settled()
        assert layer.position == 49
        assert layer.db.execute("select value from meta where key = 'space'").fetchone() == ("other",)
    finally:
        await layer.close()
        await archive.close()


async def test_answers_are_kept_for_their_time_and_no_longer_than_they_hold(tmp_path: Path) -> None:
    clock = StillClock()
    cache: Cache[str, object] = Cache(50, 1 << 20, 600.0, clock)
    archive, layer = await opened(tmp_path / "archive", cache=cache)
    try:
        ids = await append(archive, notes(0)[:60])
        await layer.settled()
        await layer.find()
        first = await layer.clusters()
        assert await layer.clusters() is first
        assert cache.hits == 1
        clock.advance(601)
        assert await layer.clusters() is not first
        await layer.around(ids[0])
        assert len(cache) == 2
        await archive.remove(ids[:1], reason="test")
        assert len(cache) == 0
    finally:
        await layer.close()
        await archive.close()


async def test_trouble_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.storage.archive.layer.PAUSES", (0.01, 0.02))

    class Sulking:
        name = "sulking"
        dimensions = 1
        refusals = 2

        async def vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            if self.refusals:
                self.refusals -= 1
                raise RuntimeError("not today")
            return [[1.0]] * len(texts)

    archive, layer = await opened(tmp_path / "archive", space=Sulking())
    try:
        (one,) = await archive.append([NewFrame("appending does not wait for it")])
        assert (await archive.get([one]))[one].content == "appending does not wait for it"
        await layer.settled()
        assert (layer.position, layer.trouble) == (0, "")
    finally:
        await layer.close()
        await archive.close()
