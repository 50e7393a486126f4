"""Answers that must fit a schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.actors import Actor
from tests.support.gateway import House, house

from lightfast.core.errors import InvalidArgument, LightfastError, Unavailable
from lightfast.gateway.calls import OperationStep, StepFallback
from lightfast.gateway.schemas import MOST_SCHEMA, AnswerSchema
from lightfast.sdk import Finish, ProviderError, TextDelta

SCHEMA = json.dumps(
    {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}
)
GOOD = '{"name": "Ada", "age": 36}'


def actor(rooms: House, name: str = "a") -> Actor:
    made = Actor(name, "schema", "continue")
    rooms.gateway.register(made, name)
    return made


def final(steps: list[OperationStep]) -> str:
    text = ""
    for step in steps:
        if isinstance(step.kind, StepFallback) and step.kind.restarted:
            text = ""
        elif isinstance(step.kind, TextDelta):
            text += step.kind.text
    return text


async def test_an_answer_that_fits_passes(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms).plays(TextDelta(GOOD[:7]), TextDelta(GOOD[7:]))
        assert final(await rooms.run("x", model="a/one", schema=SCHEMA)) == GOOD
        assert one.requests[0].schema == json.loads(SCHEMA)


@pytest.mark.parametrize("bad", ['{"age": 3}', '{"name": 5}', "Sure! Here it is:", '{"name": "A', "[]", "null"])
async def test_one_that_does_not_fit_is_asked_for_again(tmp_path: Path, bad: str) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms).plays(TextDelta(bad)).plays(TextDelta(GOOD))
        steps = await rooms.run("x", model="a/one", schema=SCHEMA)
        assert final(steps) == GOOD
        assert [request.prefix for request in one.requests] == ["", ""]  # what is wrong is not continued
        (fallback,) = [step.kind for step in steps if isinstance(step.kind, StepFallback)]
        assert fallback.restarted


async def test_the_next_model_may_fit(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        one, other = actor(rooms), actor(rooms, "b")
        one.plays(TextDelta("no"))
        other.plays(TextDelta(GOOD))
        assert final(await rooms.run("x", model="a/one", fallbacks=("b/one",), schema=SCHEMA)) == GOOD


async def test_none_that_fits_is_a_clear_error_without_the_answer_in_it(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms)
        for _ in range(10):
            one.plays(TextDelta('{"name": 5, "age": "confidential"}'))
        with pytest.raises(Unavailable, match=r"does not fit the schema: at /name: .*; at /age: ") as caught:
            await rooms.run("x", model="a/one", schema=SCHEMA)
        assert caught.value.reason == "ANSWER_UNFIT"
        assert "confidential" not in caught.value.message
        assert len(one.requests) == 1 + rooms.gateway.patience.again


async def test_one_that_was_cut_off_is_not_asked_for_again(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms).plays(TextDelta(GOOD[:9]), Finish("length"))
        with pytest.raises(LightfastError, match="allow more than 5 tokens"):
            await rooms.run("x", model="a/one", schema=SCHEMA, max_output_tokens=5)
        assert len(one.requests) == 1


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "http://127.0.0.1:9/schema.json"}',
        '{"$ref": "file:///etc/passwd"}',
        '{"type": "nothing"}',
        "[1]",
        "{",
        "[" * 100_000,
        '{"description": "' + "x" * MOST_SCHEMA + '"}',
    ],
    ids=["http", "file", "type", "array", "broken", "deep", "long"],
)
async def test_what_is_no_schema_is_refused_before_anything_starts(tmp_path: Path, schema: str) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms)
        with pytest.raises(InvalidArgument) as caught:
            await rooms.run("x", model="a/one", schema=schema)
        assert (caught.value.reason, caught.value.field) == ("SCHEMA_INVALID", "schema")
        assert one.requests == []


@given(st.text(max_size=200))
def test_any_text_fits_or_is_refused(text: str) -> None:
    schema = AnswerSchema(SCHEMA)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("name"), str):
        schema.check(text)
        return
    with pytest.raises(ProviderError) as caught:
        schema.check(text)
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.text())
def test_what_fits_is_taken(extra: dict[str, int | str], name: str) -> None:
    extra.pop("age", None)
    AnswerSchema(SCHEMA).check(json.dumps({**extra, "name": name}))
