"""Colours: known ones, there and back in every form, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.colours import FORMS, colours_between
from lightfast_link.value import Value, close

EXACT = ("color.linear", "color.rgb", "color.hsv")
UNIT = st.floats(0.0, 1.0)


def through(source: str, target: str, value: Value) -> Value:
    ways = colours_between(source, target)
    assert ways is not None
    return ways[0](value)


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("color.linear", "color.rgb", (0.214041, 1.0, 0.0), (0.5, 1.0, 0.0)),
        ("color.rgb", "color.hex", (1.0, 0.5, 0.0), "#FF8000FF"),
        ("color.rgb", "color.hex", (1.0, 0.5, 0.0, 0.0), "#FF800000"),
        ("color.hex", "color.rgb", "#ff0000", (1.0, 0.0, 0.0)),
        ("color.hex", "color.linear", "#FFFFFF80", (1.0, 1.0, 1.0, 128 / 255)),
        ("color.hsv", "color.rgb", (1 / 3, 1.0, 1.0), (0.0, 1.0, 0.0)),
        ("color.hsv", "color.hex", (0.0, 0.0, 0.5), "#808080FF"),
        ("color.rgba8", "color.rgb", (255.0, 0.0, 51.0), (1.0, 0.0, 0.2)),
        ("color.linear", "color.rgba8", (4.0, -1.0, 0.0), (255.0, 0.0, 0.0)),
        ("color.rgb", "color.rgba8", [1, 0, 0.5, 1], (255.0, 0.0, 128.0, 255.0)),
    ],
)
def test_known_colours(source: str, target: str, value: Value, expected: Value) -> None:
    assert close(through(source, target, value), expected, 1e-5)


@given(st.sampled_from(EXACT), st.sampled_from(EXACT), st.tuples(UNIT, UNIT, UNIT, UNIT))
def test_the_colour_comes_back_within_a_millionth(first: str, then: str, code: tuple[float, ...]) -> None:
    if first == then:
        return
    here = FORMS[first][1](code)  # a colour of the first form
    back = colours_between(first, then)
    assert back is not None
    again = FORMS[first][0](back[1](back[0](here)))
    assert again == pytest.approx(code, abs=1e-6)


@given(st.tuples(*[st.integers(0, 255)] * 4))
def test_eight_bits_come_back_exactly_through_every_form(colour: tuple[int, ...]) -> None:
    text = "#" + bytes(colour).hex().upper()
    for form in FORMS:
        if form != "color.hex":
            ways = colours_between("color.hex", form)
            assert ways is not None
            assert ways[1](ways[0](text)) == text, form


@given(st.floats(-2.0, 30.0))
def test_light_beyond_white_is_kept(light: float) -> None:
    ways = colours_between("color.linear", "color.rgb")
    assert ways is not None
    assert ways[1](ways[0]((light, light, light))) == pytest.approx((light,) * 3, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("form", "value", "what"),
    [
        ("color.hex", "red", "a colour is written #RRGGBB or #RRGGBBAA, not 'red'"),
        ("color.hex", "#12345", "a colour is written"),
        ("color.hex", 3.0, "a colour is written"),
        ("color.linear", (1.0, 2.0), "a colour is a vector of 3 or 4 numbers"),
        ("color.hsv", "blue", "a vector of 3 or 4 numbers"),
        ("color.rgba8", (1.0, 2.0, "x"), "a vector of 3 or 4 numbers"),
    ],
)
def test_what_is_no_colour_says_so(form: str, value: Value, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        through(form, "color.rgb", value)


def test_what_is_no_form_of_colour_has_no_way() -> None:
    assert colours_between("color.rgb", "color.rgb") is None
    assert colours_between("color.rgb", "gain.db") is None
    assert colours_between("", "color.rgb") is None
