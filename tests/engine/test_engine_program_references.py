"""References in arguments: found, resolved with their type, escaped, and refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.programs import TEXTS, VALUES

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.references import (
    KEEP,
    escape,
    find,
    has_reference,
    lone,
    reference_text,
    references,
    resolve,
    returns_template,
    split,
    substitute,
)
from lightfast_link.value import Asset

NAMES: dict[str, Any] = {
    "s1": {"models": ["a", {"x": 1.5}], "odd key": True, "k-1": "v"},
    "params": {"n": 3},
    "pic": Asset("asset:" + "0" * 64, "image/png", "0" * 64, 12),
    "empty": None,
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${params.n}", 3),
        ("${s1.models[1].x}", 1.5),
        ("${s1.models[-1]}", {"x": 1.5}),
        ('${s1["odd key"]}', True),
        ("${ s1.k-1 }", "v"),
        ("n=${params.n}, ${s1.models}", 'n=3, ["a", {"x": 1.5}]'),
        ("${empty}", None),
        ("[${empty}]", "[]"),
        ("${pic}", NAMES["pic"]),
        ("see ${pic} of ${pic.size}", f"see asset:{'0' * 64} of 12"),
        ("$${params.n} costs $5 $", "${params.n} costs $5 $"),
        ({"a": ["${params.n}", {"b": "${params.n}!"}], "${k}": 1}, {"a": [3, {"b": "3!"}], "${k}": 1}),
    ],
    ids=str,
)
def test_values_are_resolved_with_their_types(value: Any, expected: Any) -> None:
    found = resolve(value, NAMES)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        ("${params.m}", "REFERENCE_MISSING", "${params.m}: params has no 'm': there is n"),
        ("${s1.modles}", "REFERENCE_MISSING", "${s1.modles}: s1 has no 'modles': did you mean 'models'?"),
        ("${s2}", "REFERENCE_UNKNOWN", "${s2}: nothing is named 's2' here: there is s1, params, pic, empty"),
        ("${s1.models[2]}", "REFERENCE_MISSING", "s1.models has 2 items, and 2 is not among them"),
        ("${empty.x}", "REFERENCE_MISSING", "empty is nothing, so it has no 'x'"),
        ("${pic.nme}", "REFERENCE_MISSING", "pic is an asset and has no 'nme'"),
        ("${", "REFERENCE_INVALID", "it is not closed by } at position 3"),
        (
            "ab ${s1 x}",
            "REFERENCE_INVALID",
            "the reference at position 4 is malformed: 'x' is not expected at position 9",
        ),
        ('${s1["\\x"]}', "REFERENCE_INVALID", "is no JSON text"),
    ],
    ids=str,
)
def test_what_is_missing_or_malformed_is_named(value: str, reason: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolve(value, NAMES)
    assert caught.value.reason == reason
    assert message in caught.value.message


def test_references_are_found_with_their_fields() -> None:
    value = {"a": ["${s1.x}", "$${no}"], "b": {"c": "${params.n} ${item}"}}
    assert [(field, each.text) for field, each in find(value, "arguments")] == [
        ("arguments.a[0]", "${s1.x}"),
        ("arguments.b.c", "${params.n}"),
        ("arguments.b.c", "${item}"),
    ]
    assert references(value) == {"s1", "params", "item"}
    assert lone("${s1.x}") is not None
    assert lone("x ${s1.x}") is None
    assert returns_template("s1.x") == "${s1.x}"
    assert returns_template("all of ${s1}") == "all of ${s1}"


@given(VALUES)
def test_escaped_values_stand_for_themselves(value: Any) -> None:
    escaped = _escaped(value)
    assert not has_reference(escaped)
    assert resolve(escaped, {}) == value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


@given(st.lists(st.one_of(st.sampled_from(("s1", "a-b", 0, -1)), TEXTS), max_size=3))
def test_the_text_of_a_reference_is_read_as_the_same(path: list[str | int]) -> None:
    (found,) = split(reference_text("s1", path))
    assert not isinstance(found, str)
    assert found.path == tuple(path)


@given(st.text(alphabet='${}s1.a[0]" x\\n', max_size=24))
@settings(max_examples=400)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parts = split(text)
    except InvalidArgument as error:
        assert error.reason == "REFERENCE_INVALID"  # noqa: PT017  # anything else must pass through
    else:
        same = substitute(text, lambda reference: KEEP)
        assert split(same) == parts
        assert has_reference(text) == any(not isinstance(part, str) for part in parts)
