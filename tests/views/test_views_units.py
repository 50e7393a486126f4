"""Values on their way between applications come back within tolerance."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.context.views.units import converted, from_radians, in_radians, turned

gain = st.floats(1e-6, 10.0, allow_nan=False)


@given(gain)
def test_linear_to_decibels_and_back(value: float) -> None:
    there = converted(value, "gain.linear", "gain.db", {}, {})
    assert converted(there, "gain.db", "gain.linear", {}, {}) == pytest.approx(value, rel=1e-9)


@given(st.floats(-60.0, 6.0))
def test_decibels_through_a_fader_of_live(value: float) -> None:
    there = converted(value, "gain.db", "gain.fader.ableton", {}, {})
    assert converted(there, "gain.fader.ableton", "gain.db", {}, {}) == pytest.approx(value, abs=1e-3)


@given(st.floats(0.0, 1e5), st.floats(20.0, 999.0), st.floats(20.0, 999.0))
def test_beats_to_seconds_and_back_at_the_tempo_of_each_side(beats: float, tempo: float, other: float) -> None:
    seconds = converted(beats, "beats", "time.second", {"tempo": tempo}, {})
    assert seconds == pytest.approx(beats * 60.0 / tempo)
    assert converted(seconds, "time.second", "beats", {}, {"tempo": tempo}) == pytest.approx(beats)
    frames = converted(beats, "beats", "frames", {"tempo": tempo}, {"frame_rate": other})
    assert frames == pytest.approx(beats * 60.0 / tempo * other)


@given(st.tuples(*[st.floats(-1000.0, 1000.0)] * 3))
def test_metres_and_degrees(value: tuple[float, ...]) -> None:
    there = converted(value, "distance.m", "distance.cm", {}, {})
    assert converted(there, "distance.cm", "distance.m", {}, {}) == pytest.approx(value, rel=1e-9, abs=1e-12)
    degrees = from_radians(value, "angle.degree")
    assert in_radians(degrees, "angle.degree") == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_a_quarter_turn_upwards() -> None:
    turn = turned((math.pi / 2, 0.0, 0.0), "euler", "z", "y")
    assert from_radians(turn, "angle.degree") == pytest.approx((90.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("beats", "time.second", "needs the tempo"),
        ("gain.db", "distance.m", "no way from gain.db to distance.m"),
        ("power.W", "gain.db", "no way"),
    ],
)
def test_what_cannot_be_converted_says_why(source: str, target: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        converted(1.0, source, target, {}, {})


def test_no_unit_on_one_side_converts_nothing() -> None:
    assert converted(3.0, "", "gain.db", {}, {}) == 3.0
    assert converted("red", "", "", {}, {}) == "red"
    with pytest.raises(ValueError, match="only numbers"):
        converted("red", "gain.db", "gain.linear", {}, {})
