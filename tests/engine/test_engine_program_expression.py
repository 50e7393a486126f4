"""Expressions: what they compute, what they refuse and where, and that nothing else can be raised."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.expression import compile_expression
from lightfast_link.value import Asset

NAMES: dict[str, Any] = {
    "params": {"n": 3, "name": "Ada", "on": True, "nothing": None},
    "s1": {"items": [1, 2.5, "x"], "tags": ["a", "b"], "odd key": 7, "vector": (1.0, 2.0)},
    "step-2": {"done": True},
    "pic": Asset("asset:" + "0" * 64, "image/png", "0" * 64, 12),
    "item": "it",
    "index": 0,
    "skipped": None,
}
CONTEXT = {"/live/tempo": 120.0, "/ä": 1}


def value(text: str) -> Any:
    """Return the value of an expression."""
    return compile_expression(text).evaluate(NAMES, CONTEXT.get)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("7 % 4 + 2 ** 3 - -1", 12),
        ("not (1 < 2 and 2 <= 2 or false)", False),
        ("1 < 2 < 3 != 4", True),
        ("'a' in 'cat' and 2.5 in s1.items and 'n' in params and 'z' not in s1.tags", True),
        ("params.n if params.on else 0", 3),
        ('[1, "a", null, {"k": true}]', [1, "a", None, {"k": True}]),
        ('s1["odd key"] + s1.items[0] + s1.items[-2]', 10.5),
        ("${step-2.done} and ${s1.items[1]} == 2.5", True),
        ('${s1["odd key"]}', 7),
        ('value("/live/tempo") / 2', 60.0),
        ('exists("/live/tempo") and not exists("/no")', True),
        ('value("/ä") == 1', True),
        ("len(s1.items) + len(params.name) + len({})", 6),
        ("min(3, 1, 2) + max([1, 5]) + abs(-2) + round(2.6) + round(1.25, 1)", 12.2),
        ("lower('ÄB') + upper('é')", "äbÉ"),
        ("contains(s1.tags, 'a') and starts('abc', 'ab') and ends('abc', 'c')", True),
        ("matches('cube.001', 'cube.*') and not matches('A', 'a')", True),
        ("int('12') + int(3.9) + float('1.5')", 16.5),
        ("str(true) + str(1.0) + str(null) + str([1, 'a'])", 'true1[1, "a"]'),
        ("true == 1", False),
        ("1 == 1.0", True),
        ("skipped == null", True),
        ("pic.media_type", "image/png"),
        ("s1.vector[1]", 2.0),
        ("item + params.name[0]", "itA"),
        ("[1] + [2]", [1, 2]),
        ("2 ** 0.5 > 1.4", True),
        ("1\n +\n 2", 3),
        ("skipped and skipped.x", None),
    ],
    ids=str,
)
def test_values(text: str, expected: Any) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_what_it_reads_and_names_is_known_before() -> None:
    found = compile_expression(
        'value("/a") > params.n and (exists("/b") or value("/a") == ${step-2.x}) and len(item) > s1.k[0]'
    )
    assert found.reads == ("/a", "/b")
    assert found.names == {"params", "step-2", "item", "s1"}
    assert {each.parameter for each in found.references} == {"n", ""}
    assert not found.constant
    assert compile_expression("1 < 2").constant
    assert compile_expression("1 < 2").holds()


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "the expression is empty"),
        ("1 +", 4, "invalid syntax"),
        ("(1", 1, "'(' was never closed"),
        ("a.b.__class__", 1, "the field '__class__' begins with \"_\""),
        ("_x", 1, "unknown name '_x': names begin with a letter"),
        ("len", 1, "len is a function: write len(…)"),
        ("lenn(1)", 1, "unknown function 'lenn': did you mean 'len'?"),
        ("__import__('os')", 1, "unknown function '__import__'"),
        ("params.get('x')", 1, "only functions can be called, by their name"),
        ("(lambda: 1)()", 1, "only functions can be called"),
        ("[x for x in s1]", 1, "a comprehension is not allowed"),
        ("f'{item}'", 1, "a formatted text is not allowed"),
        ("a := 1", 3, "invalid syntax"),
        ("{**s1}", 1, "** is not known inside a map"),
        ("{1, 2}", 1, "a set is not allowed"),
        ("s1.items[0:2]", 1, "a range of items is not allowed"),
        ("1 is 1", 1, "the operator Is is not allowed: is compares with =="),
        ("1 // 2", 1, "the operator FloorDiv is not allowed"),
        ("1 & 2", 1, "the operator BitAnd is not allowed"),
        ("~1", 1, "the operator Invert is not allowed"),
        ("1j", 1, "1j is not allowed"),
        ("b'x'", 1, "b'x' is not allowed"),
        ("...", 1, "Ellipsis is not allowed"),
        ("99999999999999999999", 1, "the number does not fit 64 bits"),
        ("len(1, 2)", 1, "len(…) takes 1 argument(s), not 2"),
        ("round(x=1)", 1, "round(…) takes no named arguments"),
        ("max(*s1)", 1, "max(…) takes 1 or more argument(s)"),
        ("'ä' + value(item)", 13, 'must be written out, as in value("/live/tempo")'),
        ("value('live')", 7, "path 'live' does not begin with '/'"),
        ("value('/a/*')", 7, "percent-encode it"),
        ("1 + ${a b}", 5, "the reference at position 1 is malformed"),
        ("1 + ${a", 5, "invalid syntax"),
        ("1" * 2001, 2001, "it is longer than 2000 characters"),
        ("+".join("1" * 80), 1, "it is nested deeper than 60"),
        ("(" * 300, 0, "too many nested parentheses"),
        ("a\x00b", 0, ""),
        ("'\ud800'", 0, ""),
    ],
    ids=range(37),
)
def test_what_is_malformed_is_refused_with_its_position(text: str, position: int, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_expression(text)
    assert caught.value.reason == "EXPRESSION_INVALID"
    assert message in caught.value.message
    if message and position:
        assert caught.value.metadata["position"] == str(position)
        assert f"at position {position}" in caught.value.message


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("nope + 1", "REFERENCE_UNKNOWN", "nope: nothing is named 'nope' here"),
        ("parms.n", "REFERENCE_UNKNOWN", "did you mean 'params'?"),
        ("params.nn", "REFERENCE_MISSING", "params has no 'nn': did you mean 'n'?"),
        (
            "skipped.x",
            "REFERENCE_MISSING",
            "skipped is nothing, so it has no 'x': it was skipped, or brought no result",
        ),
        ("s1.items[3]", "REFERENCE_MISSING", "s1.items has 3 items, and 3 is not among them"),
        ("params.n.x", "REFERENCE_MISSING", "params.n is a number, which has no fields"),
        ("1 / 0", "EXPRESSION_FAILED", "division by zero"),
        ("0 ** -1", "EXPRESSION_FAILED", "division by zero"),
        ("1 % 0", "EXPRESSION_FAILED", "division by zero"),
        ("(-8) ** 0.5", "EXPRESSION_FAILED", "** gives no finite number"),
        ("9 ** 999", "EXPRESSION_FAILED", "does not fit 64 bits"),
        ("9.0 ** 1024", "EXPRESSION_FAILED", ""),
        ("2 ** 2000", "EXPRESSION_FAILED", "the exponent 2000 is larger than 1024"),
        ("9223372036854775807 + 1", "EXPRESSION_FAILED", "does not fit 64 bits"),
        ("'a' * 9", "EXPRESSION_FAILED", "* wants numbers, and found a text"),
        ("'%s' % 1", "EXPRESSION_FAILED", "% wants numbers, and found a text"),
        ("'a' + 1", "EXPRESSION_FAILED", "+ cannot join a text and a number: use str(…)"),
        ("'a' < 1", "EXPRESSION_FAILED", "< cannot compare a text with a number"),
        ('value("/no") > 3', "EXPRESSION_FAILED", "> cannot compare nothing with a number: ask with exists(…) first"),
        ("1 in 2", "EXPRESSION_FAILED", "in looks into lists, maps and texts, not into a number"),
        ("int('x')", "EXPRESSION_FAILED", "int(…) cannot read 'x' as a whole number"),
        ("min([])", "EXPRESSION_FAILED", "min(…) of nothing"),
        ("lower(1)", "EXPRESSION_FAILED", "lower(…) wants text, and found a number: use str(…)"),
        ("{1: 2}", "EXPRESSION_FAILED", "the keys of a map are texts, not a number"),
        ("round(1, 99)", "EXPRESSION_FAILED", "round(…) takes a number and -15 to 15 digits"),
        ("[1][true]", "EXPRESSION_FAILED", "an item is taken by a number or a text"),
    ],
    ids=str,
)
def test_what_has_no_value_says_why(text: str, reason: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        value(text)
    assert caught.value.reason == reason
    assert message in caught.value.message


def test_results_are_bounded() -> None:
    big = {"text": "x" * 60_000, "list": [0] * 6_000}
    for text in ("big.text + big.text", "big.list + big.list", "[big.list, big.list]"):
        with pytest.raises(InvalidArgument) as caught:
            compile_expression(text).evaluate({"big": big})
        assert caught.value.reason == "EXPRESSION_FAILED"


def test_names_can_be_replaced() -> None:
    found = compile_expression('s1.x > 1 and ${s1["a-b"][0]} == s2 and "s1" != value("/s1") and é')
    assert found.replaced({"s1": "${t-1[0]}", "é": "true"}) == (
        '(${t-1[0]}).x > 1 and (${t-1[0]})["a-b"][0] == s2 and "s1" != value("/s1") and (true)'
    )


@given(
    st.one_of(
        st.text(max_size=30),
        st.lists(
            st.sampled_from(
                (
                    *(
                        "1",
                        "2.5",
                        "'a'",
                        "s1",
                        "params",
                        ".n",
                        "[0]",
                        "['x']",
                        "(",
                        ")",
                        "[",
                        "]",
                        "{",
                        "}",
                        ":",
                        ",",
                        " if ",
                    ),
                    *(
                        " else ",
                        " and ",
                        " not ",
                        " in ",
                        "==",
                        "<",
                        "+",
                        "-",
                        "*",
                        "/",
                        "%",
                        "**",
                        "len(",
                        "min(",
                        "str(",
                    ),
                    *(
                        "int(",
                        "value('/a')",
                        "exists('/b')",
                        "${s1}",
                        "${",
                        "null",
                        "true",
                        "item",
                        "round(",
                        "matches(",
                    ),
                )
            ),
            max_size=12,
        ).map("".join),
    )
)
@settings(max_examples=300, deadline=None)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        compile_expression(text).evaluate(NAMES, CONTEXT.get)
    except InvalidArgument as error:
        assert error.reason.startswith(("EXPRESSION_", "REFERENCE_"))  # noqa: PT017  # anything else must pass through


def test_it_is_evaluated_inside_of_an_evaluation() -> None:
    inner = compile_expression("params.n + 1")

    def read(path: str) -> Any:
        return inner.evaluate({"params": {"n": 5}})

    assert compile_expression('value("/a") + params.n').evaluate({"params": {"n": 1}}, read) == 7


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; import lightfast.engine.programs.text, lightfast.engine.programs.checker, "
        "lightfast.engine.programs.optimizer; "
        "from lightfast.engine.programs.expression import compile_expression; compile_expression('1 + 1'); "
        "print([name for name in ('yaml', 'simpleeval', 'jsonschema_rs', 'rapidfuzz') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
