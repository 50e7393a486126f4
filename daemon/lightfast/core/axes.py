"""Where up is: positions, rotations and scales between a world whose Z points up and one whose Y does.

Both are right-handed, as Blender (Z up) and TouchDesigner (Y up) are: what is (x, y, z) in the one is (x, z, -y) in
the other. Angles are in radians, rotations three of them, applied about X, then Y, then Z (matrix Rz · Ry · Rx).
"""

from __future__ import annotations

import math

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

UPS = ("y", "z")
_GIMBAL = 1e-9
"""So close to straight up or down, turns about X and Z are one; then that about Z counts as none."""


def point(value: Vector, source: str, target: str) -> Vector:
    """Return the same position, where *target* is up instead of *source*."""
    x, y, z = value
    if source == target:
        return value
    return (x, z, -y) if source == "z" else (x, -z, y)


def scale(value: Vector, source: str, target: str) -> Vector:
    """Return the same scale: it has no sign to turn, the axes change places."""
    x, y, z = value
    return value if source == target else (x, z, y)


def euler(value: Vector, source: str, target: str) -> Vector:
    """Return the same rotation; of all angles that describe it, those with the middle one within a quarter turn."""
    if source == target:
        return value
    columns = [_apply(_matrix(value), point(axis, target, source)) for axis in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))]
    turned = [point(column, source, target) for column in columns]
    return _angles(tuple(tuple(column[row] for column in turned) for row in range(3)))  # type: ignore[arg-type]


def same_rotation(one: Vector, other: Vector) -> float:
    """Return how far two rotations are apart: the angle of the turn between them, in radians."""
    first, second = _matrix(one), _matrix(other)
    trace = sum(first[row][column] * second[row][column] for row in range(3) for column in range(3))
    # Near no turn the arc cosine loses half its digits; the length of the difference does not.
    length = math.sqrt(sum((first[r][c] - second[r][c]) ** 2 for r in range(3) for c in range(3)))
    return 2 * math.asin(min(length / math.sqrt(8.0), 1.0)) if trace > 0 else math.acos(max((trace - 1) / 2, -1.0))


def _matrix(angles: Vector) -> Matrix:
    (sx, sy, sz), (cx, cy, cz) = map(math.sin, angles), map(math.cos, angles)
    return (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )


def _apply(matrix: Matrix, vector: Vector) -> Vector:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _angles(matrix: Matrix) -> Vector:
    middle = math.asin(min(max(-matrix[2][0], -1.0), 1.0))
    if math.hypot(matrix[0][0], matrix[1][0]) < _GIMBAL:
        return math.atan2(-matrix[1][2], matrix[1][1]), middle, 0.0
    return math.atan2(matrix[2][1], matrix[2][2]), middle, math.atan2(matrix[1][0], matrix[0][0])
