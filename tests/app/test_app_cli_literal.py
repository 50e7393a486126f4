import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.app.cli import literal

plain = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("0.5", "auto", {"double_value": 0.5}),
        ("3", "auto", {"int_value": "3"}),
        ("true", "auto", {"bool_value": True}),
        ("red", "auto", {"string_value": "red"}),
        ("3", "string", {"string_value": "3"}),
        ("3", "double", {"double_value": 3}),
        ("[1, 2.5]", "auto", {"vector_value": {"values": [1, 2.5]}}),
        ("[1, true]", "auto", {"list_value": {"values": [{"int_value": "1"}, {"bool_value": True}]}}),
        ("[]", "vector", {"vector_value": {"values": []}}),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, kind: str, expected: object) -> None:
    assert literal.parse(text, kind) == expected


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("loud", "double", "'loud' is no double: write it as JSON, for example 0.5"),
        ("1.5", "int", "'1.5' is no int: write for example 3"),
        ('[1, "a"]', "vector", "is no vector: write for example [1, 2, 3]"),
        ("null", "auto", "null is no value: delete the path instead"),
    ],
)
def test_a_mistake_says_what_to_write(text: str, kind: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        literal.parse(text, kind)
    assert message in str(caught.value)


@given(plain)
def test_every_json_value_can_be_parsed_and_shown(data: object) -> None:
    assert isinstance(literal.show(literal.parse(json.dumps(data))), str)
