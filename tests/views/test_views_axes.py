"""Positions, rotations and scales between Z up and Y up, there and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core import axes

number = st.floats(-1e6, 1e6, allow_nan=False)
angle = st.floats(-10.0, 10.0, allow_nan=False)
vector = st.tuples(number, number, number)
angles = st.tuples(angle, angle, angle)


def test_up_stays_up_and_right_stays_right() -> None:
    assert axes.point((0.0, 0.0, 1.0), "z", "y") == (0.0, 1.0, 0.0)
    assert axes.point((1.0, 0.0, 0.0), "z", "y") == (1.0, 0.0, 0.0)
    assert axes.point((0.0, 1.0, 0.0), "z", "y") == (0.0, 0.0, -1.0), "away from the viewer"
    assert axes.scale((1.0, 2.0, 3.0), "z", "y") == (1.0, 3.0, 2.0)


def test_a_turn_about_up_is_a_turn_about_up() -> None:
    assert axes.euler((0.0, 0.0, 0.5), "z", "y") == pytest.approx((0.0, 0.5, 0.0))
    assert axes.euler((0.3, 0.0, 0.0), "z", "y") == pytest.approx((0.3, 0.0, 0.0))
    assert axes.euler((0.0, 0.3, 0.0), "z", "y") == pytest.approx((0.0, 0.0, -0.3))


@given(vector)
def test_points_and_scales_come_back_exactly(value: axes.Vector) -> None:
    assert axes.point(axes.point(value, "z", "y"), "y", "z") == value
    assert axes.scale(axes.scale(value, "z", "y"), "y", "z") == value


@given(angles)
def test_rotations_come_back(value: axes.Vector) -> None:
    back = axes.euler(axes.euler(value, "z", "y"), "y", "z")
    assert axes.same_rotation(value, back) < 1e-6


@given(angles, vector)
def test_a_rotated_point_is_the_same_point_in_both_worlds(value: axes.Vector, place: axes.Vector) -> None:
    """Rotate and change the axes, or change the axes and rotate: it is the same place."""
    there = axes.point(axes._apply(axes._matrix(value), place), "z", "y")
    other = axes._apply(axes._matrix(axes.euler(value, "z", "y")), axes.point(place, "z", "y"))
    assert math.dist(there, other) <= 1e-6 * (1.0 + math.dist(place, (0.0, 0.0, 0.0)))
