import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.measures import UNITS, between

PLAIN = [name for name in UNITS if not name.startswith("gain.")]
PAIRS = [(a, b) for a in PLAIN for b in PLAIN if a != b and UNITS[a].dimension == UNITS[b].dimension]


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("angle.degree", "angle.radian", 180.0, math.pi),
        ("gain.db", "gain.linear", 0.0, 1.0),
        ("gain.db", "gain.linear", -6.0, 0.5011872336272722),
        ("gain.linear", "gain.db", 0.0, -math.inf),
        ("time.bpm", "time.second", 120.0, 0.5),
        ("time.bpm", "time.freq", 120.0, 2.0),
        ("time.midinote", "time.freq", 69.0, 440.0),
        ("distance.cm", "distance.m", 150.0, 1.5),
        ("speed.km/h", "speed.m/s", 36.0, 10.0),
    ],
)
def test_known_values(source: str, target: str, value: float, expected: float) -> None:
    ways = between(source, target)
    assert ways is not None
    assert ways[0](value) == pytest.approx(expected)


@given(st.sampled_from(PAIRS), st.floats(1e-3, 120.0))
def test_every_way_leads_back(pair: tuple[str, str], value: float) -> None:
    ways = between(*pair)
    assert ways is not None
    assert ways[1](ways[0](value)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("source", "target"), [("", "gain.db"), ("gain.db", "gain.db"), ("gain.db", "angle.degree"), ("a", "b")]
)
def test_nothing_to_convert(source: str, target: str) -> None:
    assert between(source, target) is None


def test_what_has_no_meaning_says_so() -> None:
    ways = between("time.bpm", "time.second")
    assert ways is not None
    with pytest.raises(ValueError, match=r"0 in time\.bpm has no duration"):
        ways[0](0.0)
