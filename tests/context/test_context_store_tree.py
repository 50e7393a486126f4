"""The live tree against a plain dictionary, and the values in their text form."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.context.codec import decode, encode
from lightfast.context.entry import Entry, Status
from lightfast.context.history import span
from lightfast.context.preconditions import same
from lightfast.context.tree import Tree
from lightfast_link.path import compile_pattern
from lightfast_link.value import Asset, Value

SEGMENT = st.sampled_from(["a", "b", "ab", "a!", "a0", "ü", "~"])
PATH = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
PATTERN = st.sampled_from(
    ["//", "/a//", "/a", "/*", "/*/*", "/a/*/b", "//b", "/a?/b", "/{a,ab}/*", "/[a-b]/*", "/a//b", "/a*//", "/[!a]"]
)


def entry(path: str) -> Entry:
    return Entry(path, 1, 1, 1, 1, "x", 0, 0, 0)


@given(
    st.lists(st.tuples(st.booleans(), PATH), max_size=40), PATTERN, PATH | st.just(""), st.integers(0, 5) | st.none()
)
def test_the_tree_is_an_ordered_dictionary(
    steps: list[tuple[bool, str]], text: str, after: str, limit: int | None
) -> None:
    tree, model = Tree(), dict[str, Entry]()
    for number, (put, path) in enumerate(steps):
        if put:
            model[path] = entry(path)
            tree.put(path, model[path])
        else:
            assert tree.remove(path) == model.pop(path, None)
        if number % 3 == 0:
            tree.select(compile_pattern("//"))  # fills what is remembered of the order, to be kept right
    assert tree.entries == model
    pattern = compile_pattern(text)
    expected = [model[path] for path in sorted(model) if pattern.matches(path) and path > after][:limit]
    assert tree.select(pattern, limit, after) == expected
    for path in ["/a", "/a/b", "/ü"]:
        assert sorted(tree.below(path)) == sorted(other for other in model if other.startswith(path + "/"))
        children: dict[str, None] = {}
        for other in model:
            if other.startswith(path + "/"):
                name = other[len(path) + 1 :].split("/")[0]
                children[path + "/" + name] = None
        assert [child.path for child in tree.children(path)] == sorted(children)
        for child in tree.children(path):
            assert child.has_value == (child.path in model)
            assert child.has_children == any(other.startswith(child.path + "/") for other in model)


@given(PATTERN, PATH)
def test_the_span_of_a_pattern_leaves_nothing_out(text: str, path: str) -> None:
    import apsw

    pattern = compile_pattern(text)
    low, high, glob = span(pattern)
    if pattern.matches(path):
        assert low <= path < high
        ((found,),) = apsw.Connection(":memory:").execute("SELECT ? GLOB ?", (path, glob))
        assert found


SCALAR = (
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.floats(), max_size=4).map(tuple)
    | st.just(Asset("asset:" + "1" * 64, "image/png", "1" * 64, 3))
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


@given(VALUE, st.none() | VALUE, st.sampled_from(Status), st.booleans(), st.text(max_size=5), st.text(max_size=5))
def test_an_entry_survives_its_text(
    value: Value, reported: Value | None, status: Status, signal: bool, object_id: str, lease: str
) -> None:
    whole = Entry(
        "/a",
        value,
        9,
        2,
        3,
        "client:ü",
        4,
        5,
        6,
        signal,
        object_id,
        reported,
        7 if reported is not None else 0,
        status,
        "why" if status else "",
        lease,
    )
    again = decode("/a", 9, msgspec.json.decode(encode(whole)))
    assert same(again.value, whole.value)
    assert same(again.reported, whole.reported)
    assert msgspec.structs.replace(again, value=1, reported=1) == msgspec.structs.replace(whole, value=1, reported=1)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), (True, 1), (1.0, [1.0]), ([1], (1.0,)), ([1], [True]), ({"a": 1}, {"a": 1.0}), (1, None), ("1", b"1")],
)
def test_values_of_another_kind_are_not_the_same(left: object, right: object) -> None:
    assert not same(left, right)  # type: ignore[arg-type]
    assert same(left, left)  # type: ignore[arg-type]
    assert same((math.nan,), (math.nan,))
