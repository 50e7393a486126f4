"""MIDI timecode: frame numbers against counting, and what a reader makes of quarter frames."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightfast_bridges.midi.timecode import RATES, Place, Rate, TimecodeReader, full_frame, quarter_frame

EXACT = {"24": Fraction(24), "25": Fraction(25), "29.97df": Fraction(30_000, 1001), "30": Fraction(30)}
rates = st.sampled_from(sorted(RATES)).map(RATES.__getitem__)


def labels(rate: Rate, hours: int) -> Iterator[tuple[int, int, int, int]]:
    """Count as a clock does: one label after the other, but those that drop-frame leaves out."""
    for hour in range(hours):
        for minute in range(60):
            for second in range(60):
                for frame in range(rate.nominal):
                    if (
                        rate.name == "29.97df"
                        and minute not in (0, 10, 20, 30, 40, 50)
                        and second == 0
                        and frame in (0, 1)
                    ):
                        continue
                    yield hour, minute, second, frame


@pytest.mark.parametrize("name", sorted(RATES))
def test_numbers_are_those_of_counting(name: str) -> None:
    rate = RATES[name]
    for number, label in enumerate(labels(rate, 3 if rate.drop else 1)):
        assert rate.fields(number) == label
        assert rate.number(*label) == number


def test_drop_frame_keeps_to_the_wall_clock() -> None:
    rate = RATES["29.97df"]
    for hours in range(1, 24):
        off = Fraction(rate.number(hours, 0, 0, 0)) / EXACT["29.97df"] - hours * 3600
        assert abs(off) < Fraction(1, 25) * hours  # 3.6 ms an hour
    assert rate.day == 2_589_408
    for minute in range(60):
        if minute % 10:
            with pytest.raises(ValueError, match="leaves"):
                rate.number(7, minute, 0, 1)
    with pytest.raises(ValueError, match="does not exist"):
        rate.number(24, 0, 0, 0)


@settings(deadline=None)
@given(rates, st.integers(0, 10_000_000))
def test_a_day_begins_anew(rate: Rate, number: int) -> None:
    assert rate.number(*rate.fields(number)) == number % rate.day


def play(
    rate: Rate, first: int, pieces: int, *, backward: bool = False, start: float = 10.0, speed: float = 1.0
) -> list[tuple[Place | None, Fraction, float]]:
    """Return what a reader says after each quarter frame, the truth in seconds, and the time it came."""
    reader, out = TimecodeReader(), []
    for count in range(pieces):
        way = -1 if backward else 1
        group, piece = divmod(count, 8)
        number = first + 2 * group * way
        at = Fraction(4 * number + way * piece, 4) / EXACT[rate.name]
        time = start + count / (4 * float(EXACT[rate.name]) * speed)
        out.append((reader.quarter(quarter_frame(rate, number, 7 - piece if backward else piece)[1], time), at, time))
    return out


@settings(deadline=None)
@given(rates, st.integers(0, 2_000_000), st.integers(0, 60))
def test_forward_a_reader_is_where_the_sender_is(rate: Rate, first: int, more: int) -> None:
    first %= rate.day - 200
    said = play(rate, first, 8 + more)
    assert [place for place, _, _ in said[:7]] == [None] * 7  # it takes eight to say a timecode
    for place, truth, _ in said[7:]:
        assert place is not None
        assert place.rate is rate
        assert place.seconds == pytest.approx(float(truth), abs=1e-6)  # the two frames that have passed are added
        assert place.speed == pytest.approx(1.0, rel=1e-6)


@settings(deadline=None)
@given(rates, st.integers(300, 2_000_000), st.integers(0, 60))
def test_backward_too(rate: Rate, first: int, more: int) -> None:
    first = 300 + first % (rate.day - 600)
    for place, truth, _ in play(rate, first, 8 + more, backward=True)[7:]:
        assert place is not None
        assert place.seconds == pytest.approx(float(truth), abs=1e-6)
        assert place.speed == pytest.approx(-1.0, rel=1e-6)


@settings(deadline=None)
@given(rates, st.integers(0, 80_000), st.integers(8, 40), st.integers(0, 7))
def test_a_shuttle_that_turns_round(rate: Rate, first: int, forth: int, into: int) -> None:
    """Forward, then backward from the same place: after the turn nothing is said until eight came in order."""
    first = 400 + first
    reader, time = TimecodeReader(), 5.0
    for count in range(forth * 8 + into):
        group, piece = divmod(count, 8)
        reader.quarter(quarter_frame(rate, first + 2 * group, piece)[1], time := time + 0.01)
    place = None
    start = first + 2 * forth
    for count in range(24):
        group, piece = divmod(count, 8)
        place = reader.quarter(quarter_frame(rate, start - 2 * group, 7 - piece)[1], time := time + 0.01)
        if place is not None and count:  # the first may still be the next one forward
            truth = Fraction(4 * (start - 2 * group) - piece, 4) / EXACT[rate.name]
            assert place.seconds == pytest.approx(float(truth), abs=1e-6)
    assert place is not None
    assert place.speed < 0


@settings(deadline=None)
@given(rates, st.integers(0, 80_000), st.integers(0, 80_000))
def test_a_jump_is_said_and_followed(rate: Rate, first: int, second: int) -> None:
    reader, time, places = TimecodeReader(), 1.0, []
    for start in (first, second):
        for count in range(24):
            group, piece = divmod(count, 8)
            places.append(reader.quarter(quarter_frame(rate, start + 2 * group, piece)[1], time := time + 0.01))
    last = places[-1]
    assert last is not None
    assert last.seconds == pytest.approx(float(Fraction(4 * (second + 4) + 7, 4) / EXACT[rate.name]), abs=1e-6)
    assert reader.jumps == (0 if second == first + 6 else 1)
    assert sum(place is not None and place.jumped for place in places) == reader.jumps


@settings(deadline=None)
@given(rates, st.integers(0, 3_000_000))
def test_a_full_frame_says_where_it_stands(rate: Rate, number: int) -> None:
    reader = TimecodeReader()
    place = reader.full(full_frame(rate, number), 1.0)
    assert place is not None
    assert (place.rate, place.speed, place.jumped) == (rate, 0.0, True)
    assert place.seconds == pytest.approx(float(Fraction(number % rate.day) / EXACT[rate.name]), abs=1e-9)
    assert not reader.playing


@settings(deadline=None)
@given(st.binary(max_size=14))
def test_what_is_no_full_frame_is_left_alone(noise: bytes) -> None:
    place = TimecodeReader().full(noise, 1.0)
    assert place is None or len(noise) == 10


@settings(deadline=None)
@given(st.lists(st.integers(0, 127), max_size=300))
def test_noise_in_quarter_frames_does_no_harm(data: list[int]) -> None:
    reader = TimecodeReader()
    for count, byte in enumerate(data):
        place = reader.quarter(byte, 1.0 + count * 0.01)
        assert place is None or -4.0 <= place.seconds < 90_000.0


@pytest.mark.parametrize("jitter_ms", [0.5, 2.0, 5.0])
def test_the_phase_error_under_jitter_is_less_than_the_jitter(jitter_ms: float) -> None:
    """Times of arrival vary; what is said varies less, and the position never runs backwards by more than that."""
    rate, reader, random_ = RATES["25"], TimecodeReader(), random.Random(7)
    errors, seconds = [], []
    for count in range(2000):
        group, piece = divmod(count, 8)
        true = count / 100.0
        time = 3.0 + true + random_.uniform(0, jitter_ms / 1e3)
        place = reader.quarter(quarter_frame(rate, 2 * group, piece)[1], time)
        if place is not None and count > 50:
            errors.append(place.seconds - (time - 3.0))
            seconds.append(place.seconds)
    mean = sum(errors) / len(errors)
    assert abs(mean) < jitter_ms / 1e3  # half of it, as the times are late by that
    deviation = (sum((error - mean) ** 2 for error in errors) / len(errors)) ** 0.5
    assert deviation < 0.29 * jitter_ms / 1e3 * 0.7  # that of the raw times, and less
    assert all(b - a > -jitter_ms / 1e3 for a, b in pairwise(seconds))


def test_it_stops_when_nothing_comes() -> None:
    rate, reader = RATES["25"], TimecodeReader()
    for count in range(16):
        reader.quarter(quarter_frame(rate, 2 * (count // 8), count % 8)[1], 1.0 + count / 100)
    assert reader.playing
    assert not reader.stopped(1.3)
    assert reader.stopped(1.5)
    assert not reader.stopped(1.6)
    assert not reader.playing
