"""What is refused, by the name of the field; near-duplicates; and requests that come twice. For every implementation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.memory import MONDAY, Desk, day, open_memory

from lightfast.context.memory.checks import key_form
from lightfast.context.memory.records import Kind, NewMemory, NewRelation, Question
from lightfast.context.records import RequestKey
from lightfast.core.errors import AlreadyExists, InvalidArgument


@pytest.fixture(params=["store", "twin", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def desk(folder: Path, kind: str) -> AsyncIterator[Desk]:
    async with open_memory(folder, kind) as found:
        yield found


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("text", {"text": ""}),
        ("text", {"text": " \n\t"}),
        ("text", {"text": "a\0b"}),
        ("text", {"text": "\ud800"}),
        ("text", {"text": "ü" * (1 << 19) + "x"}),
        ("key", {"key": "x" * 201}),
        ("key", {"key": "memory-0123456789abcdef"}),
        ("tags", {"tags": ("",)}),
        ("tags", {"tags": ("a", "a")}),
        ("tags", {"tags": tuple(map(str, range(65)))}),
        ("tags", {"tags": ("x" * 101,)}),
        ("strength", {"strength": 1.01}),
        ("strength", {"strength": -0.0001}),
        ("strength", {"strength": math.nan}),
        ("confidence", {"confidence": math.inf}),
        ("source", {"source": "x" * 1001}),
        ("valid_from", {"valid_from": -(1 << 63)}),
        ("valid_to", {"valid_to": (1 << 63) - 2}),
        ("valid_to", {"valid_to": MONDAY}),
        ("valid_to", {"valid_from": day(2), "valid_to": day(2)}),
        ("valid_to", {"valid_from": day(2), "valid_to": day(1)}),
        ("metadata", {"metadata": {"x": "y" * 65_536}}),
        ("metadata", {"metadata": {"x": object()}}),
        ("kind", {"kind": Kind.NONE}),
    ],
)
async def test_what_cannot_be_remembered(tmp_path: Path, kind: str, field: str, fields: dict[str, Any]) -> None:
    async with desk(tmp_path, kind) as found:
        with pytest.raises(InvalidArgument) as caught:
            await found.memory.remember(NewMemory(**{"text": "a text", **fields}), origin="x")
        assert caught.value.field == field
        assert await found.texts() == []


async def test_the_largest_that_can_be_remembered(tmp_path: Path, kind: str) -> None:
    text = "word " * 200_000 + "needle"
    async with desk(tmp_path, kind) as found:
        await found.fact(
            text, "k" * 200, tags=tuple(f"{n} {'t' * 90}" for n in range(64)), strength=1.0, confidence=0.0
        )
        assert await found.texts("needle", embedder="trigram") == [text]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("subject", {"subject": ""}),
        ("predicate", {"predicate": "  "}),
        ("object", {"object": "x" * 1001}),
        ("strength", {"strength": 2.0}),
        ("valid_to", {"valid_to": MONDAY - 1}),
    ],
)
async def test_what_cannot_be_related(tmp_path: Path, kind: str, field: str, fields: dict[str, Any]) -> None:
    async with desk(tmp_path, kind) as found:
        with pytest.raises(InvalidArgument) as caught:
            await found.memory.relate(
                NewRelation(**{"subject": "a", "predicate": "b", "object": "c", **fields}), origin="x"
            )
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("query", {"query": "x" * 10_001}),
        ("query", {"query": "\0"}),
        ("subjects", {"subjects": tuple(map(str, range(101)))}),
        ("subjects", {"subjects": ("",)}),
        ("depth", {"depth": 5}),
        ("depth", {"depth": -1}),
        ("as_of_valid", {"valid": 1 << 63}),
        ("as_of_record", {"known": -(1 << 63)}),
        ("tags", {"tags": ("",)}),
    ],
)
async def test_what_cannot_be_asked(tmp_path: Path, kind: str, field: str, fields: dict[str, Any]) -> None:
    async with desk(tmp_path, kind) as found:
        with pytest.raises(InvalidArgument) as caught:
            await found.memory.recall(Question(**fields))
        assert caught.value.field == field


async def test_what_cannot_be_forgotten(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        for names, how, field in (
            ((), {}, "memories"),
            (("a",) * 1001, {}, "memories"),
            (("a",), {"valid_to": 1 << 63}, "valid_to"),
            (("a",), {"reason": "x" * 1001}, "reason"),
        ):
            with pytest.raises(InvalidArgument) as caught:
                await found.memory.forget(names, origin="x", **how)
            assert caught.value.field == field


async def test_near_duplicates_are_named(tmp_path: Path, kind: str) -> None:
    long = "the render of the opening scene uses warm light from the left and a slow dolly towards the cube"
    async with desk(tmp_path, kind) as found:
        one = (await found.fact(long)).memory
        other = await found.fact(long.replace("slow", "very slow") + "!")
        assert other.similar == one
        assert other.memory.memory_id != one.memory_id  # it is kept: the caller decides
        assert (await found.fact("something quite different about the sound of the closing scene")).similar is None
        key = (await found.fact("the tempo is 120", "project.tempo")).memory
        assert (await found.fact("ninety-six", "Project Tempo")).similar == key
        found.at(day(1))
        await found.forget(one.memory_id)
        gone = await found.fact(long + " again")
        assert gone.similar is None or gone.similar.memory_id != one.memory_id  # it is no longer true


def test_forms_of_keys() -> None:
    assert {
        key_form(key) for key in ("Project.Tempo", "project tempo", "PROJECT_TEMPO", "/project/tempo", "ｐroject-tempo")
    } == {"project tempo"}
    assert key_form("STRASSE") == key_form("straße")
    assert key_form("a.b") != key_form("ab")
    assert key_form("!!!") == "!!!"


async def test_a_request_that_comes_twice(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        memory = found.memory
        one = RequestKey("client:a", "Remember", "r1", "hash")
        new = NewMemory(text="once", key="k", metadata={"v": (1.0, 2.5), "b": b"\xff", "n": [1, {"x": "y"}]})
        answers = [await memory.remember(new, origin="x", request=one) for _ in range(2)]
        answers += await asyncio.gather(*(memory.remember(new, origin="x", request=one) for _ in range(3)))
        assert all(answer == answers[0] for answer in answers)
        await found.fact("between", "k")
        assert await memory.remember(new, origin="x", request=one) == answers[0]
        assert len((await memory.get("k")).versions) == 2  # both begin at the same moment: nothing is left of the first
        with pytest.raises(AlreadyExists) as caught:
            await memory.remember(new, origin="x", request=RequestKey("client:a", "Remember", "r1", "other"))
        assert caught.value.reason == "REQUEST_ID_REUSED"
        tie = NewRelation(subject="a", predicate="b", object="c", exclusive=True)
        await found.relate("a", "b", "d")
        two = RequestKey("client:a", "Relate", "r1", "hash")
        first = await memory.relate(tie, origin="x", request=two)
        assert len(first.closed) == 1
        assert await memory.relate(tie, origin="x", request=two) == first
        three = RequestKey("client:a", "Forget", "r1", "hash")
        done = await memory.forget(["k"], origin="x", request=three)
        assert (done.memories, await memory.forget(["k"], origin="x", request=three)) == (1, done)


async def test_many_at_once(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await asyncio.gather(*(found.fact(f"text {n}", f"key {n % 5}") for n in range(100)))
        for n in range(5):
            versions = (await found.memory.get(f"key {n}")).versions
            assert sorted({v.version for v in versions}) == list(range(1, 21))
        await asyncio.gather(*(found.relate("a", "at", str(n), exclusive=True) for n in range(50)))
        assert len(await found.texts(subjects=("a",), depth=1)) == 1
        await asyncio.gather(*(found.fact("the same", f"k {n % 2}") for n in range(20)), return_exceptions=False)
        assert len((await found.memory.get("k 0")).versions) == 1
