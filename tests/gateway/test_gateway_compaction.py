"""Compaction keeps the meaning, saves what it says, and does nothing a second time."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightfast.core.tokens import Estimate
from lightfast.gateway.prompts.compaction import LONG, compact, compact_counted

PARAGRAPH = "The cube stands in warm light and turns once in eight seconds. " * 5

CASES: dict[str, tuple[str, str]] = {
    "blanks": ("a  b \t c  \n\n\n\nd\t\n", "a b c\n\nd"),
    "line ends": ("a\r\nb\r\n", "a\nb"),
    "indentation stays": ("- a\n  - b   c", "- a\n  - b c"),
    "code by indentation": ("see:\n    x   =  1", "see:\n    x   =  1"),
    "inline code": ("use `a   b`  now", "use `a   b`  now"),
    "fenced code": ("```python\nx  =   1\n\n\n\nx  =   1\n```", "```python\nx  =   1\n\n\n\nx  =   1\n```"),
    "tildes": ("~~~\na   b\n```\nc   d\n~~~\ne   f", "~~~\na   b\n```\nc   d\n~~~\ne f"),
    "a fence without an end": ("```\na   b\n\n\n\nc", "```\na   b\n\n\n\nc"),
    "a quoted fence": ('> ```json\n> {"a":   1}\n> ```', '> ```json\n> {"a":   1}\n> ```'),
    "JSON": ('```json\n{\n  "a": [1,  2.50],\n  "b": "x  y"\n}\n```', '```json\n{"a":[1,2.50],"b":"x  y"}\n```'),
    "JSON with escapes": ('```json\n{"a": "\\"  :  ", "b": 1e5}\n```', '```json\n{"a":"\\"  :  ","b":1e5}\n```'),
    "no JSON": ("```json\n{a:   1}\n```", "```json\n{a:   1}\n```"),
    "context": ("/a/b = 1\nother\n/a/b = 1\n/a/b = 2", "/a/b = 1\nother\n/a/b = 2"),
    "short lines again": ("ha\nha\nha", "ha\nha\nha"),
    "long lines again": ("x" * 40 + "\n" + "x" * 40 + "\n" + "x" * 40 + "\ny", "x" * 40 + " (3 times)\ny"),
    "a paragraph again": (
        f"{PARAGRAPH}\n\nbetween\n\n{PARAGRAPH}",
        f"{PARAGRAPH.rstrip()}\n\nbetween\n\n(as above: {PARAGRAPH[:60]} …)",
    ),
    "nothing": ("", ""),
    "only blanks": (" \n\t\n", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_left_out(case: str) -> None:
    given_text, expected = CASES[case]
    assert compact(given_text) == expected


def test_the_saving_is_that_of_the_counter() -> None:
    counter = Estimate()
    text = f"{PARAGRAPH}\n\n\n\n{PARAGRAPH}\n\n```json\n{json.dumps({'a': list(range(30))}, indent=4)}\n```\n"
    done = compact_counted(text, counter)
    assert done.tokens_saved == counter.count(text) - counter.count(done.text) > 50
    assert compact_counted(done.text, counter).tokens_saved == 0
    assert len(PARAGRAPH) >= LONG


PIECES = st.sampled_from(
    [
        *("a", "b  b", " ", "\t", "\n", "\n\n", "\r\n", "    code   x\n", "`in   line`", "/p = 1\n", "/p = 2\n", "> "),
        *("```\n", "```json\n", '```json\n{ "a" : 1 }\n```\n', "~~~\n", "````\n", '{"a":  [1, 2]}\n', "(2 times)"),
        *(
            "line of some length that comes again and again\n",
            PARAGRAPH + "\n\n",
            "| a | b |\n",
            "ü  ß\n",
            "\x0b",
            "\u2028",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=25).map("".join), st.text(max_size=200)))
@example(
    "line of some length that comes again and again (2 times)\n"
    + "line of some length that comes again and again\n" * 2
)
def test_doing_it_again_changes_nothing_and_it_is_never_longer(text: str) -> None:
    once = compact(text)
    assert compact(once) == once
    assert len(once) <= len(text)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ),
    st.integers(0, 8),
)
def test_json_says_the_same(value: object, indent: int) -> None:
    body = json.dumps(value, indent=indent or None)
    done = compact(f"before\n```json\n{body}\n```\nafter")
    lines = done.split("\n")
    assert (lines[0], lines[1], lines[-2], lines[-1]) == ("before", "```json", "```", "after")
    assert json.loads("\n".join(lines[2:-2])) == json.loads(body)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.text(alphabet="ab \t\n", max_size=60))
def test_code_in_a_fence_stays_letter_for_letter(prose: str, code: str) -> None:
    fence = "``````"
    text = f"{fence}python\n{code}\n{fence}\n{prose}"
    assert compact(text).startswith(f"{fence}python\n{code}\n{fence}")
