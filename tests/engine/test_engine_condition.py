"""Conditions: what they say of values, where their paths are, and that no text does worse than being refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.errors import InvalidArgument
from lightfast.engine.links.condition import Condition
from lightfast_link.value import Value

VALUES: dict[str, Value] = {
    "/armed": True,
    "/off": False,
    "/level": 0.5,
    "/count": 3,
    "/act": "two",
    "/tracks/Bass%20(1)/volume": 0.9,
    "/ünï/code": 1,
    "/a-b.c:d": 2,
}


@pytest.mark.parametrize(
    ("text", "x", "holds"),
    [
        ("/armed", None, True),
        ("not /off and /armed", None, True),
        ("/level > 0.4 and /count == 3", None, True),
        ("/level / 2 == 0.25", None, True),
        ("/count /3 == 1", None, True),
        ("(/level) * 2 >= 1", None, True),
        ('/act == "two"', None, True),
        ("/act != 'two' or /off", None, False),
        ("0 < x <= 1", 1.0, True),
        ("0 < x <= 1", 1.5, False),
        ("x == true", True, True),
        ("/tracks/Bass%20(1)/volume > 0.5", None, True),
        ("max(/level, x) > 0.6", 0.7, True),
        ("/ünï/code", None, True),
        ("/a-b.c:d - 2 == 0", None, True),
        ("/act > 3", None, False),
        ('/act * 2 == "twotwo"', None, False),
        ("1 / /off > 0", None, False),
        ("x > 1", (1.0, 2.0), False),
        ("/nothing", None, False),
        ("/nothing or /armed", None, False),
    ],
)
def test_what_a_condition_says(text: str, x: Value | None, holds: bool) -> None:
    why = Condition(text).unmet(VALUES.get, x)
    assert (why == "") is holds, why
    assert holds or text in why


def test_paths_are_found_and_renamed() -> None:
    condition = Condition('/a/b and x / 2 > /c or /a/b == "/a/b" and max(/c,/d) > 1')
    assert condition.paths == ("/a/b", "/c", "/d")
    assert condition.has_x
    assert condition.renamed("/a/b", "/new") == '/new and x / 2 > /c or /new == "/a/b" and max(/c,/d) > 1'
    assert Condition(condition.renamed("/c", "/longer/than/it/was")).paths == ("/a/b", "/longer/than/it/was", "/d")


@given(st.text(alphabet="x/ab()<>=!&'\" .0159+-*,orndt", max_size=40))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    try:
        condition = Condition(text)
    except InvalidArgument:
        return
    assert isinstance(condition.unmet(lambda _: 1.0, 1.0), str)
    assert Condition(condition.text).paths == condition.paths
