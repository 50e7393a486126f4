"""Beats, frames and samples: what they need, and there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.clocked import CLOCKED, at_rates, rates_between

RATES = {"tempo": 120.0, "frame_rate": 25.0, "sample_rate": 48_000.0}
TIMES = ("time.second", "time.ms", *CLOCKED)


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("time.second", "time.beats", 1.5, 3.0),
        ("time.beats", "time.frames", 4.0, 50.0),
        ("time.frames", "time.samples", 25.0, 48_000.0),
        ("time.samples", "time.ms", 480.0, 10.0),
    ],
)
def test_known_times(source: str, target: str, value: float, expected: float) -> None:
    assert at_rates(source, target, RATES)[0](value) == pytest.approx(expected)


def test_what_is_needed_is_told() -> None:
    assert rates_between("time.second", "time.beats") == ("tempo",)
    assert rates_between("time.beats", "time.frames") == ("frame_rate", "tempo")
    assert rates_between("time.second", "time.ms") is None
    assert rates_between("time.beats", "time.beats") is None
    assert rates_between("time.beats", "gain.db") is None
    assert rates_between("time.beats", "") is None
    assert rates_between("beats", "time.beat") == (), "other names of one unit need nothing"
    assert at_rates("beats", "time.beat", {})[0](4.0) == 4.0


@given(
    st.sampled_from(TIMES),
    st.sampled_from(TIMES),
    st.floats(-1e6, 1e6),
    st.fixed_dictionaries(
        {"tempo": st.floats(1, 999), "frame_rate": st.floats(1, 240), "sample_rate": st.floats(8000, 192_000)}
    ),
)
def test_a_time_comes_back(source: str, target: str, value: float, rates: dict[str, float]) -> None:
    there, back = at_rates(source, target, rates)
    assert back(there(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_a_rate_that_is_none_says_so() -> None:
    for rate in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"makes no time\.beats"):
            at_rates("time.second", "time.beats", {"tempo": rate})
