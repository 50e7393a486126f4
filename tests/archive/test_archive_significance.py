"""Significance: agreement with the labels, what time and recurrence do, and the layer that scores in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.judging import SEEN_WHILE_MADE, WRITTEN_MS, examples, judged, kappa, separation

from lightfast.core.clock import StillClock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import Frame, NewFrame, Order, Query
from lightfast.storage.archive.significance.dates import DAY_MS, mentioned
from lightfast.storage.archive.significance.layer import SignificanceLayer
from lightfast.storage.archive.significance.records import DIMENSIONS, NEUTRAL, Scores, Significance
from lightfast.storage.archive.significance.statistics import Statistics

MARGIN = 0.25
"""How much more often than by chance (0.5) a labelled example must rank above one that is not."""


def test_there_are_enough_examples_of_each_dimension() -> None:
    found = examples()
    assert len(found) >= 120
    for dimension in DIMENSIONS:
        assert sum(dimension in example.high for example in found) >= 15
    assert sum(not example.high for example in found) >= 20


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_each_dimension_agrees_with_the_labels_better_than_chance(dimension: str) -> None:
    rows = judged()
    held = rows[SEEN_WHILE_MADE:]
    assert separation(held, dimension) >= 0.5 + MARGIN
    assert kappa(held, dimension) >= 0.3
    assert kappa(rows, dimension) >= 0.4


def test_the_measures_of_agreement_tell_chance_from_agreement() -> None:
    rows = judged()
    upside_down = [(example, {name: 1.0 - value for name, value in scores.items()}) for example, scores in rows]
    same = [(example, dict.fromkeys(DIMENSIONS, 0.7)) for example, _ in rows]
    for dimension in DIMENSIONS:
        assert separation(upside_down, dimension) < 0.3
        assert separation(same, dimension) == 0.5
        assert kappa(same, dimension) == pytest.approx(0.0, abs=1e-9)


@given(st.text(st.characters(codec=None), max_size=300), st.integers(-(1 << 62), 1 << 62))
def test_any_text_at_any_time_has_scores_in_their_range(text: str, time_ms: int) -> None:
    statistics = Statistics()
    statistics.learn(text)
    scores = statistics.score(text, time_ms)
    assert all(0.0 <= value <= 1.0 for value in scores.values)


def test_what_comes_again_has_a_pattern_and_what_is_new_has_not() -> None:
    statistics = Statistics()
    text = "Projector two shows green stripes near the balcony railing"
    first = statistics.score(text, 0).pattern_strength
    for number in range(10):
        statistics.learn(f"{text} {number}")
    assert statistics.score(text, 0).pattern_strength > first + 0.4
    assert statistics.score("Nobody mentioned turquoise umbrellas before dinner", 0).pattern_strength < 0.1
    assert statistics.novelty(["turquoise"]) > statistics.novelty(["projector"]) + 0.5


def test_what_was_learnt_can_be_kept_and_holds_no_words() -> None:
    statistics, again = Statistics(), Statistics()
    for example in examples():
        statistics.learn(example.text)
    packed = statistics.pack()
    again.unpack(packed)
    assert again.texts == len(examples())
    assert again.score("The projector hangs again", 0) == statistics.score("The projector hangs again", 0)
    assert b"projector" not in packed
    with pytest.raises(ValueError, match="size"):
        again.unpack(packed[:8] + __import__("zlib").compress(b"short"))


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("call them tomorrow", 1),
        ("deadline 2026-12-01", 10.4),
        ("the offer ends on 30 november", 9.4),
        ("ready by december 24th", 33.4),
        ("in two weeks", 14),
        ("on friday", 7),
        ("until 15.1.2027", 55.4),
        ("next month", 30),
        ("by the 25th", 4.4),
        ("yesterday", -1),
        ("on 5 june", 196.4),
    ],
)
def test_dates_are_found(text: str, days: float) -> None:
    (found,) = mentioned(text, WRITTEN_MS)  # a Friday, 15:20 UTC
    assert (found - WRITTEN_MS) / DAY_MS == pytest.approx(days, abs=0.6)


@pytest.mark.parametrize("text", ["the 31 february", "at 59.94 fps", "port 9000", "2.10 meters", "99.99.2026", ""])
def test_what_is_no_date_is_none(text: str) -> None:
    assert mentioned(text, WRITTEN_MS) == []


def test_what_was_due_fades_and_knowledge_does_not() -> None:
    due = Significance(Scores(temporal_relevance=1.0, due_ms=10 * DAY_MS), 0, "statistics")
    assert due.overall(10 * DAY_MS) == due.overall(0)
    assert due.overall(70 * DAY_MS) == pytest.approx(due.overall(0) / 2)
    known = Significance(Scores(knowledge_value=1.0), 0, "statistics")
    assert known.overall(10_000 * DAY_MS) == known.overall(0) > 0.6


# ---- the layer


async def opened(folder: Path) -> tuple[Archive, SignificanceLayer]:
    archive = await Archive.open(folder)
    layer = SignificanceLayer(archive, folder, slice_size=16, rest=0.0)
    layer.start()
    return archive, layer


async def test_frames_are_scored_after_they_were_appended_and_found_again_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    archive, layer = await opened(folder)
    assert await layer.significance("0" * 16) is None
    assert await layer.overall(["0" * 16]) == {"0" * 16: NEUTRAL}
    assert not folder.exists()  # lazy: nothing is there before something is
    try:
        (one,) = await archive.append([NewFrame("We finally solved it, for the first time!")])
        await layer.settled()
        found = await layer.significance(one)
        assert found is not None
        assert (found.scorer, found.scores.breakthrough_factor > 0.6) == ("statistics", True)
        assert await asyncio.to_thread(layer.score, one) == pytest.approx(found.overall(found.time_ms), abs=0.01)
        assert await layer.rating(one) == pytest.approx(found.overall(found.time_ms), abs=0.01)
        assert layer.score("f" * 16) == NEUTRAL
        assert await layer.rating("f" * 16) is None
        await layer.close()
        more = await archive.append([NewFrame(f"note {number}") for number in range(300)])  # nobody looks
        layer = SignificanceLayer(archive, folder, slice_size=16, rest=0.0)
        layer.start()
        await layer.settled()
        assert all([await layer.significance(frame_id) for frame_id in [one, *more]])
        assert layer.position == 300
    finally:
        await layer.close()
        await archive.close()


async def test_a_burst_beyond_the_queue_is_read_from_the_archive(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive")
    try:
        layer.pause()
        ids = await archive.append([NewFrame(f"note {number}") for number in range(200)])
        ids += await archive.append([NewFrame(f"more {number}") for number in range(200)])
        assert await layer.significance(ids[0]) is None
        layer.resume()
        ids += await archive.append([NewFrame("and one more")])
        await layer.settled()
        assert all([await layer.significance(frame_id) for frame_id in ids])
    finally:
        await layer.close()
        await archive.close()


async def test_the_daemons_own_and_bytes_are_not_scored(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive")
    try:
        ids = await archive.append(
            [NewFrame(b"\x00\x01", kind="history"), NewFrame("x", kind="memory"), NewFrame(b"data")]
        )
        await layer.settled()
        assert [await layer.significance(frame_id) for frame_id in ids] == [None, None, None]
        assert await layer.overall(ids) == dict.fromkeys(ids, NEUTRAL)
        assert layer.position == 2
    finally:
        await layer.close()
        await archive.close()


async def test_what_was_removed_is_forgotten_before_remove_returns_also_while_paused(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive")
    try:
        ids = await archive.append([NewFrame(f"note {number}") for number in range(5)])
        await layer.settled()
        layer.pause()
        await archive.remove(ids[:2], reason="test")
        assert [await layer.significance(frame_id) is None for frame_id in ids] == [True, True, False, False, False]
        await layer.close()
        await archive.remove(ids[2:3], reason="while nobody looks")
        layer = SignificanceLayer(archive, tmp_path / "archive", rest=0.0)
        layer.start()
        await layer.settled()
        assert [await layer.significance(frame_id) is None for frame_id in ids[2:]] == [True, False, False]
    finally:
        await layer.close()
        await archive.close()


async def test_a_broken_file_is_found_again_from_the_frames(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    archive, layer = await opened(folder)
    try:
        (one,) = await archive.append([NewFrame("The supply draws 40 A because every panel is white.")])
        await layer.settled()
        before = await layer.significance(one)
        await layer.close()
        (folder / "significance" / "significance.db").write_bytes(b"no database" * 1000)
        layer = SignificanceLayer(archive, folder, rest=0.0)
        layer.start()
        await layer.settled()
        assert await layer.significance(one) == before
    finally:
        await layer.close()
        await archive.close()


async def test_it_weighs_in_searches_when_it_is_switched_on(tmp_path: Path) -> None:
    archive, layer = await opened(tmp_path / "archive")
    try:
        texts = [
            "ok whatever lamp",
            "Because the lamp draws 40 A, never use a fuse below 63 A; the supply requires it.",
        ]
        plain, telling = await archive.append([NewFrame(text, time_ms=1_000 * at) for at, text in enumerate(texts)])
        await layer.settled()
        query = Query("lamp", order=Order.RELEVANCE)
        before = {hit.frame.frame_id: hit.score for hit in await archive.search(query)}
        archive.searches.weigh = layer.weigh
        archive.caches.searches.clear()
        after = {hit.frame.frame_id: hit.score for hit in await archive.search(query)}
        assert after[telling] / before[telling] > after[plain] / before[plain] * 1.2
        assert 0.5 <= after[plain] / before[plain] <= 1.5
    finally:
        await layer.close()
        await archive.close()


class Told:
    """A scorer that says what it was told to."""

    name = "told"

    def __init__(self, answers: Sequence[Scores | None] | Exception | None = None) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []

    async def score(self, frames: Sequence[Frame]) -> Sequence[Scores | None]:
        self.asked.append([str(frame.content) for frame in frames])
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers if self.answers is not None else [Scores(1.0)] * len(frames)


async def test_a_scorer_goes_first_and_statistics_take_its_place_when_it_fails(tmp_path: Path) -> None:
    folder, clock = tmp_path / "archive", StillClock()
    archive = await Archive.open(folder)
    scorer = Told()
    layer = SignificanceLayer(archive, folder, scorer=scorer, clock=clock, rest=0.0)
    layer.start()

    async def scored(text: str) -> tuple[str, float]:
        (frame_id,) = await archive.append([NewFrame(text)])
        await layer.settled()
        found = await layer.significance(frame_id)
        assert found is not None
        return found.scorer, found.scores.emotional_resonance

    try:
        assert await scored("plain words by Friday") == ("told", 1.0)
        scorer.answers = [None]
        assert await scored("plain words") == ("statistics", 0.0)
        scorer.answers = [Scores(), Scores()]  # not as many as were asked for
        assert (await scored("plain words"))[0] == "statistics"
        asked = len(scorer.asked)
        scorer.answers = None
        assert (await scored("left alone for a while"))[0] == "statistics"
        assert len(scorer.asked) == asked
        clock.advance(61)
        assert (await scored("asked again"))[0] == "told"
        scorer.answers = RuntimeError("broken")
        assert (await scored("plain words"))[0] == "statistics"
        scorer.answers = None
        clock.advance(61)
        (private,) = await archive.append(
            [
                NewFrame(b"bytes"),
            ]
        )
        await layer.settled()
        assert await layer.significance(private) is None
        assert scorer.asked[-1] == ["plain words"]  # bytes are not sent
    finally:
        await layer.close()
        await archive.close()
