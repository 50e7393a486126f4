"""Recall: the three ways, their fusion, the other rankings, filters and pages; for every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.memory import CountingEmbedder, Desk, day, open_memory, said

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.ranking import fuse, ranks
from lightfast.context.memory.records import Kind, NewMemory, Question, Ranking
from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.core.relevance import relevance
from lightfast.core.trigrams import similarity


@pytest.fixture(params=["store", "twin", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def desk(folder: Path, kind: str) -> AsyncIterator[Desk]:
    async with open_memory(folder, kind) as found:
        yield found


def test_reciprocal_ranks_are_added_up() -> None:
    scores = fuse(([7, 8], [8], [9, 7]))
    assert scores == {7: 1 / 61 + 1 / 62, 8: 1 / 62 + 1 / 61, 9: 1 / 61}
    weak = fuse(([7],), [7, 8])
    assert weak == {7: 1 / 61 + 1 / 1060, 8: 1 / 1061}
    assert ranks([5, 3]) == {5: 1, 3: 2}


async def test_each_way_finds_what_it_can(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("the lantern by the door flickers", "lantern")
        await found.fact("a parabolic mirror", "mirror")
        await found.relate("lantern", "hangs on", "hook")
        await found.relate("hook", "is part of", "wall")
        await found.relate("wall", "belongs to", "house")
        await found.relate("house", "stands in", "town")
        hits = {said(hit.thing): hit for hit in await found.ask("lanterns flickering")}
        assert hits["the lantern by the door flickers"].vector_rank == 1  # by its spelling
        assert hits["wall belongs to house"].graph_rank  # by the walk, which begins at both ends of what was found
        assert "house stands in town" not in hits
        assert "a parabolic mirror" not in hits
        assert "house stands in town" in await found.texts("lanterns flickering", depth=3)
        assert "wall belongs to house" not in await found.texts("lanterns flickering", depth=0)
        (best, *_) = await found.ask("mirror")
        assert (best.keyword_rank, best.vector_rank) == (1, 1)
        assert best.score == pytest.approx(2 / 61)


async def test_the_walk_begins_with_subjects_and_knows_cycles(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        one = (await found.fact("the first", "one")).memory
        await found.fact("the second", "two")
        await found.relate("one", "before", "two")
        await found.relate("two", "before", "three")
        await found.relate("three", "before", "one")
        await found.relate("one", "is", "one")
        assert sorted(await found.texts(subjects=("one",), depth=1)) == [
            "one before two",
            "one is one",
            "the second",
            "three before one",
        ]
        assert len(await found.texts(subjects=("one",), depth=4)) == 5
        assert len(await found.texts(subjects=("two", "three"), depth=4)) == 5
        assert await found.texts(subjects=("nowhere",)) == []
        hits = await found.ask(subjects=(one.memory_id,))
        assert {hit.keyword_rank for hit in hits} <= {0}
        assert await found.texts(subjects=("one",), kind=Kind.FACT) == ["the second"]  # through relations, to facts


async def test_filters(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("blue light", tags=("light", "blue"))
        await found.fact("red light", tags=("light",))
        await found.memory.remember(NewMemory(text="a note on light", tags=("light",)), origin="x")
        await found.relate("light", "is", "warm")
        assert len(await found.texts("light")) == 4
        assert sorted(await found.texts("light", tags=("light",))) == ["a note on light", "blue light", "red light"]
        assert await found.texts("light", tags=("light", "blue")) == ["blue light"]
        assert await found.texts("light", tags=("blu",)) == []
        assert await found.texts("light", kind=Kind.NOTE) == ["a note on light"]
        assert sorted(await found.texts(kind=Kind.FACT)) == ["blue light", "red light"]
        assert await found.texts("blue", tags=("light",), ranking=Ranking.NEWEST) == ["blue light"]


async def test_newest_first(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        for number in range(5):
            found.at(day(number))
            await found.fact(f"take {number} of the solo", f"take {number}")
        await found.fact("a solo", "other")
        assert await found.texts("take solo", ranking=Ranking.NEWEST) == [
            f"take {n} of the solo" for n in range(4, -1, -1)
        ]
        assert (await found.texts())[0] == "a solo"
        assert all(hit.score == 0 for hit in await found.ask())


async def test_the_relevance_formula_ranks(tmp_path: Path, kind: str) -> None:
    texts = {"old": "warm light on the cube", "new": "the light is warm", "both": "warm and light", "far": "warmth"}
    async with desk(tmp_path, kind) as found:
        await found.fact(texts["old"], "old")
        found.at(day(3))
        for key in ("new", "both", "far"):
            metadata: dict[str, str] = {"memory_type": "breakthrough"} if key == "both" else {}
            await found.fact(texts[key], key, metadata=metadata)
        hits = await found.ask("warm light", ranking=Ranking.RELEVANCE)
        ages = {"old": 3 * 86_400_000.0}
        for hit in hits:
            key = next(key for key, text in texts.items() if text == said(hit.thing))
            wanted = relevance(
                "warm light",
                texts[key],
                age_ms=ages.get(key, 0.0),
                similarity=similarity("warm light", texts[key]),
                is_breakthrough=key == "both",
            )
            assert hit.score == pytest.approx(wanted, rel=0.01), key
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert {said(hit.thing) for hit in hits} == set(texts.values())


async def test_pages_of_hits(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        for number in range(60):
            await found.fact(f"frame {number} is lit", f"k{number}")
        everything = await found.ask("frame lit", page_size=60)
        first = await found.memory.recall(Question(query="frame lit", page_size=7))
        await found.fact("frame lit, a new one", "new")
        await found.forget("k1", valid_to=day(-1))
        hits, token = list(first.hits), first.next_page_token
        while token:
            page = await found.memory.recall(Question(query="frame lit", page_size=7, page_token=token))
            hits += page.hits
            token = page.next_page_token
        assert [said(hit.thing) for hit in hits] == [said(hit.thing) for hit in everything]
        assert len(hits) == 60
        with pytest.raises(InvalidArgument, match="page_token"):
            await found.memory.recall(Question(query="another", page_token=first.next_page_token))
        with pytest.raises(InvalidArgument, match="page_size"):
            await found.memory.recall(Question(query="another", page_size=-1))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Der Würfel glänzt über der Bühne", "würfel"),
        ("立方体被暖光照亮", "暖光"),
        ("キューブは暖かい光で照らされる", "暖かい光"),
        ("ลูกบาศก์สว่าง", "สว่าง"),
        ("Куб освещён тёплым светом", "светом"),
        ("المكعب مضاء بضوء دافئ", "دافئ"),
        ("हेलो घन उज्ज्वल है", "उज्ज्वल"),
        ("🎉🎛️ party", "🎉 party"),
        ("🎉", "🎉"),
        ("e\u0301te\u0301 and ﬁre", "été fire"),
        ("C'est l'été; l''apostrophe \"citée\" (AND OR NOT NEAR*)", 'apostrophe "citée" (AND'),
        ("-- \\ % _ ' \" * ^ : {}", "%"),
        ("zero\u200bwidth \u202eright to left", "right"),
        ("a" * 1000, "a" * 1000),
        ("line\nbreaks\r\nand\ttabs", "tabs"),
    ],
)
async def test_any_unicode(tmp_path: Path, kind: str, text: str, query: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("something else entirely: bassoon", "other")
        await found.fact(text, f"k {text[:50]}", tags=(text[:20].strip(),), metadata={text[:20]: text})
        hits = await found.ask(query)
        assert said(hits[0].thing) == text
        assert (await found.memory.get(f"k {text[:50]}")).versions[0].metadata == {text[:20]: text}
        assert [m.text for m in (await found.memory.memories(tags=[text[:20].strip()])).memories] == [text]


@pytest.mark.parametrize(
    "query", ['"', "AND", "NOT a", "a OR", "(", "*", "^a", "a:b", "NEAR(a b)", "-a", "+", "''", "\\", " "]
)
async def test_no_query_is_a_language(tmp_path: Path, kind: str, query: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("a b and near or not", "one")
        for ranking in Ranking:
            await found.ask(query, ranking=ranking)


async def test_the_embedder_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    book = EmbedderBook()
    try:
        async with open_memory(tmp_path, kind, book=book) as found:
            await found.fact("something", "one")
            for ranking in (Ranking.FUSED, Ranking.NEWEST):
                with pytest.raises(NotFound, match="no embedder 'nobody'"):
                    await found.ask("something", embedder="nobody", ranking=ranking)
            assert (await found.memory.recall(Question(query="some"))).embedder == "trigram"
            assert (await found.memory.recall(Question(query="", subjects=("one",)))).embedder == ""
            book.register(CountingEmbedder())
            used = (await found.memory.recall(Question(query="some", embedder="counting"))).embedder
            assert used in {"counting", "trigram"}  # the trigrams stand in until its vectors are there
    finally:
        await book.close()
