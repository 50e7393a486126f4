"""Values and paths on the link: what goes in comes out."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast_link import path
from lightfast_link.messages import Change, check_change, check_relative
from lightfast_link.value import MAX_DEPTH, Asset, check_value, close, from_json, kind_of, to_json

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LEAVES = (
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | TEXT
    | st.binary(max_size=40)
    | st.lists(st.floats(), max_size=5).map(tuple)
    | st.builds(Asset, TEXT, TEXT, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 1 << 40))
)
VALUES: Any = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


def same(left: Any, right: Any) -> bool:
    """Equal in type, too, and NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if type(left) is float:
        return left == right or (math.isnan(left) and math.isnan(right))
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if type(left) is dict:
        return list(left) == list(right) and all(same(left[name], right[name]) for name in left)
    return bool(left == right)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    text = json.dumps(to_json(check_value(value)), allow_nan=False)
    assert same(from_json(json.loads(text)), value)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$v", "$m", "$b", "$f", "$a", "x"]), inner, max_size=2)
        | st.fixed_dictionaries(
            {"$a": st.dictionaries(st.sampled_from(["uri", "media_type", "sha256", "size"]), inner)}
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_any_json_is_a_value_or_a_value_error(data: Any) -> None:
    try:
        value = from_json(data)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # either end is right
    else:
        assert kind_of(value)


def test_deep_json_is_refused_by_its_depth() -> None:
    data: Any = 1
    for _ in range(MAX_DEPTH):
        data = [data]
    assert check_value(from_json(data)) == data
    for bad in ([data], {"$m": {"a": data}}):
        with pytest.raises(ValueError, match="is nested deeper than 16 levels"):
            from_json(bad)
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(ValueError, match="is nested deeper than 16 levels"):
        from_json(deep)


@pytest.mark.parametrize(
    "data", [{"$v": [10**400]}, {"$a": {"uri": "", "media_type": "", "sha256": "", "size": float("inf")}}]
)
def test_numbers_beyond_all_bounds_are_value_errors(data: Any) -> None:
    with pytest.raises(ValueError, match="malformed"):
        from_json(data)


@given(TEXT)
def test_a_name_becomes_one_segment_and_comes_back(name: str) -> None:
    segment = path.encode_segment(name)
    assert path.decode_segment(segment) == name
    assert path.check_path("/" + segment) == "/" + segment
    if segment not in (".", ".."):
        assert check_relative(segment) == segment


@given(TEXT)
def test_the_ascii_form_of_a_path_comes_back(name: str) -> None:
    whole = "/objects/" + path.encode_segment(name)
    assert path.ascii_path(whole).isascii()
    assert path.unicode_path(path.ascii_path(whole)) == whole


@given(st.text(max_size=30))
def test_a_relative_path_never_leads_out_of_the_mount(text: str) -> None:
    try:
        check_relative(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # either end is right
    else:
        assert not text.startswith("/")
        assert not {"", ".", ".."} & set(text.split("/"))


@given(VALUES)
def test_a_value_is_close_to_itself(value: Any) -> None:
    if "nan" not in repr(value):
        assert close(value, value)


def test_a_change_that_cannot_travel_is_told_so() -> None:
    for change, message in (
        (Change("/a", 1), "is absolute"),
        (Change("a/../b", 1), "leads out of the mount"),
        (Change("a", 1 << 63), "does not fit 64 bits"),
        (Change("a", moved_from="/b"), "moved_from '/b' is absolute"),
        (Change("a", 1, object_id="x" * 300), "an object id has at most 256 characters"),
        (Change("a", object()), "a is object: use one of"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError) as caught:
            check_change(change)
        assert message in str(caught.value)
