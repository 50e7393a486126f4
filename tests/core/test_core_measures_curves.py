"""Curves and ranges: where they go, what they refuse, and that an inverse takes them back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.curves import DRAWN, SHAPED, Curve
from lightfast.core.scaling import NORMAL, Span


@pytest.mark.parametrize(
    ("curve", "x", "y"),
    [
        (Curve(points=((0, 0), (1, 10))), 0.25, 2.5),
        (Curve(points=((0, 0), (1, 10))), -5.0, 0.0),
        (Curve(points=((0, 0), (1, 10))), 7.0, 10.0),
        (Curve(points=((0, 0), (0.5, 0.1), (1, 1))), 0.75, 0.55),
        (Curve("smooth", points=((0, 0), (1, 1))), 0.5, 0.5),
        (Curve("smooth", points=((0, 0), (1, 1))), 0.25, 0.15625),
        (Curve("linear", points=((0, 5), (2, -5))), 1.5, -2.5),
        (Curve("exp"), 0.5, math.expm1(2) / math.expm1(4)),
        (Curve("log"), math.expm1(2) / math.expm1(4), 0.5),
        (Curve("s"), 0.5, 0.5),
        (Curve("s", 8.0), 0.0, 0.0),
        (Curve("exp", 1.0), 1.0, 1.0),
    ],
)
def test_a_curve_goes_through(curve: Curve, x: float, y: float) -> None:
    curve.check()
    assert curve.functions()[0](x) == pytest.approx(y)


@pytest.mark.parametrize(
    ("curve", "what"),
    [
        (Curve("wavy"), "there is no curve 'wavy': use linear, smooth, exp, log, s"),
        (Curve("exp", points=((0, 0), (1, 1))), "the curve exp takes no points"),
        (Curve("s", -1.0), "the parameter of s is -1"),
        (Curve("log", math.nan), "the parameter of log is nan"),
        (Curve(points=((0, 0),)), "2 to 256 of them, not 1"),
        (Curve(), "2 to 256 of them, not 0"),
        (Curve(points=((0, 0), (0, 1))), "the points go up in x, and 0 comes after 0"),
        (Curve(points=((0, math.inf), (1, 1))), "is not finite"),
        (Curve("linear", 2.0, ((0, 0), (1, 1))), "takes no parameter"),
    ],
)
def test_what_is_no_curve_is_refused(curve: Curve, what: str) -> None:
    with pytest.raises(ValueError, match=what.replace("(", r"\(")):
        curve.check()


def test_a_curve_that_turns_or_rests_has_no_inverse() -> None:
    for ys in ((0, 1, 0), (0, 1, 1), (2, 2)):
        assert Curve(points=tuple((float(x), float(y)) for x, y in enumerate(ys))).functions()[1] is None


def test_a_named_curve_says_where_it_ends() -> None:
    with pytest.raises(ValueError, match="the curve exp goes from 0 to 1, and this is 64"):
        Curve("exp").functions()[0](64.0)


@given(st.sampled_from(sorted(SHAPED)), st.floats(0.0, 12.0), st.floats(0.0, 1.0))
def test_a_named_curve_is_taken_back_within_a_hundred_thousandth(name: str, k: float, x: float) -> None:
    curve = Curve(name, k if k > 0.01 else 0.0)
    curve.check()
    forward, back = curve.functions()
    assert back is not None
    assert 0.0 <= forward(x) <= 1.0
    assert back(forward(x)) == pytest.approx(x, abs=1e-5)


@given(
    st.sampled_from(DRAWN),
    st.lists(st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0)), min_size=1, max_size=8),
    st.booleans(),
    st.floats(0.0, 1.0),
)
def test_a_drawn_curve_is_taken_back(name: str, steps: list[tuple[float, float]], falls: bool, where: float) -> None:
    points = [(-50.0, 20.0)]
    for right, up in steps:
        points.append((points[-1][0] + right, points[-1][1] + (-up if falls else up)))
    curve = Curve(name, points=tuple(points))
    curve.check()
    forward, back = curve.functions()
    assert back is not None
    x = points[0][0] + (points[-1][0] - points[0][0]) * where
    y = forward(x)
    # An eased step is flat at its ends: there x is known less well than y is.
    assert forward(back(y)) == pytest.approx(y, abs=1e-6)
    assert back(y) == pytest.approx(x, abs=1e-3 * (points[-1][0] - points[0][0]))
    assert back(forward(points[0][0])) == pytest.approx(points[0][0])


@given(
    st.floats(-1e6, 1e6),
    st.floats(0.01, 1e6),
    st.floats(1e-3, 1e3),
    st.floats(1.01, 1e4),
    st.floats(0.0, 1.0),
)
def test_a_range_maps_onto_another_and_back(low: float, width: float, first: float, ratio: float, share: float) -> None:
    even, ratios = Span(low, low + width), Span(first, first * ratio, ratios=True)
    value = even.at(share)
    assert even.at(ratios.share(ratios.at(even.share(value)))) == pytest.approx(value, abs=1e-6 * (abs(low) + width))


def test_frequencies_go_by_ratios() -> None:
    audible = Span(20.0, 20_000.0, ratios=True)
    assert audible.at(0.0) == 20.0
    assert audible.at(1.0) == pytest.approx(20_000.0)
    assert audible.at(1 / 3) == pytest.approx(200.0)
    assert audible.share(2000.0) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no logarithmic scale"):
        audible.share(0.0)


def test_what_cannot_be_scaled_to_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be scaled to"):
        Span(1.0, 1.0)
    with pytest.raises(ValueError, match="it must be above 0"):
        Span(0.0, 1.0, ratios=True)


def test_midi_has_128_and_16384_steps() -> None:
    assert NORMAL["midi.7bit"] == (0.0, 127.0)
    assert NORMAL["midi.14bit"] == (0.0, 16383.0)
    coarse, fine = Span(*NORMAL["midi.7bit"]), Span(*NORMAL["midi.14bit"])
    for value in range(128):
        assert round(coarse.at(fine.share(round(fine.at(coarse.share(value)))))) == value
