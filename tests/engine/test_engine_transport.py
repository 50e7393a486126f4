"""The parts of the timeline that need no application: playhead, timecode, phase, taps."""

from __future__ import annotations

import asyncio
import itertools
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.clock import SYSTEM, StillClock
from lightfast.core.errors import InvalidArgument
from lightfast.engine.transport.beats import Beats, Taps
from lightfast.engine.transport.follower import Follower
from lightfast.engine.transport.lead import JUMP_S, Lead
from lightfast.engine.transport.phase import PhaseMeter
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO, Playhead
from lightfast.engine.transport.records import Follow, Options, Standing
from lightfast.engine.transport.roles import check_follow, check_leader
from lightfast.engine.transport.timecode import FRAME_RATES, frame_rate, frames_at, seconds_at, timecode_at
from lightfast.sdk import Timeline

TEMPOS = st.floats(MIN_TEMPO, MAX_TEMPO)
STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 100.0),
        st.one_of(
            st.tuples(st.just("tempo"), TEMPOS),
            st.tuples(st.just("speed"), st.floats(0.95, 1.05)),
            st.tuples(st.sampled_from(["play", "stop", "look"]), st.just(0.0)),
        ),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_position_never_goes_back_and_no_change_moves_it(steps: list[tuple[float, tuple[str, float]]]) -> None:
    head, now = Playhead(), 0.0
    head.play(now)
    seconds, beats = head.seconds(now), head.beats(now)
    for wait, (what, value) in steps:
        played = head.playing
        now += wait
        later, later_beats = head.seconds(now), head.beats(now)
        assert later >= seconds
        assert later_beats >= beats
        if played and wait > 1e-3:
            assert later > seconds
        if not played:
            assert later == seconds
        match what:
            case "tempo":
                head.set_tempo(now, value)
            case "speed":
                head.set_speed(now, value)
            case "play":
                head.play(now)
            case "stop":
                head.stop(now)
        # A change of course takes effect from now on: where it is, it stays.
        assert head.seconds(now) == later
        assert head.beats(now) == later_beats
        seconds, beats = later, later_beats


@given(TEMPOS, TEMPOS, st.floats(0.0, 1000.0), st.floats(0.001, 1000.0))
def test_beats_pass_at_the_tempo(first: float, second: float, before: float, after: float) -> None:
    head = Playhead(tempo=first)
    head.play(0.0)
    head.set_tempo(before, second)
    expected = before * first / 60 + after * second / 60
    assert head.beats(before + after) == pytest.approx(expected)
    assert head.seconds(before + after) == pytest.approx(before + after)
    beat = head.beats(before + after) + 3
    wait = head.beat_in(beat, before + after)
    assert head.beats(before + after + wait) == pytest.approx(beat)


def test_a_seek_reads_the_timeline_at_the_tempo_of_now() -> None:
    head = Playhead(tempo=60.0)
    head.play(0.0)
    head.set_tempo(10.0, 120.0)
    head.seek(10.0, 30.0)
    assert (head.seconds(10.0), head.beats(10.0)) == (30.0, 60.0)
    head.seek_beats(10.0, 8.0)
    assert (head.seconds(11.0), head.beats(11.0)) == (5.0, 10.0)


def test_a_stopped_timeline_stands_still() -> None:
    head = Playhead()
    head.play(5.0)
    head.stop(7.0)
    assert head.seconds(1e6) == 2.0


@pytest.mark.parametrize(
    ("name", "frames", "text"),
    [
        ("25", 24, "00:00:00:24"),
        ("25", 25, "00:00:01:00"),
        ("29.97", 1800, "00:01:00:00"),
        ("29.97df", 1799, "00:00:59;29"),
        ("29.97df", 1800, "00:01:00;02"),
        ("29.97df", 17981, "00:09:59;29"),
        ("29.97df", 17982, "00:10:00;00"),
        ("29.97df", 107892, "01:00:00;00"),
        ("29.97df", 2589407, "23:59:59;29"),
        ("29.97df", 2589408, "00:00:00;00"),
        ("59.94df", 3599, "00:00:59;59"),
        ("59.94df", 3600, "00:01:00;04"),
        ("59.94df", 35964, "00:10:00;00"),
        ("23.976", 24, "00:00:01:00"),
    ],
)
def test_timecode(name: str, frames: int, text: str) -> None:
    rate = frame_rate(name)
    assert timecode_at(rate, float(frames / rate.exact)) == text


@given(st.sampled_from(sorted(FRAME_RATES)), st.integers(0, 24 * 3600 * 60))
def test_timecode_goes_there_and_back(name: str, number: int) -> None:
    rate = frame_rate(name)
    number %= rate.day
    seconds = float(number / rate.exact)
    assert frames_at(rate, seconds) == number
    assert frames_at(rate, seconds_at(rate, timecode_at(rate, seconds))) == number


def test_drop_frame_keeps_to_the_wall_clock() -> None:
    rate = frame_rate("29.97df")
    assert rate.exact == Fraction(30000, 1001)
    # Of an hour the numbers are 3.6 ms short: 107892 frames.
    assert timecode_at(rate, 3599.995) == "00:59:59;29"
    assert timecode_at(rate, 3600.0) == "01:00:00;00"
    assert timecode_at(frame_rate("29.97"), 3600.0) == "00:59:56:12"


@pytest.mark.parametrize(
    "text", ["", "1:2", "24:00:00:00", "00:60:00:00", "00:00:00:30", "00:01:00;00", "00:01:00:01", "00:00:00:0x"]
)
def test_timecode_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        seconds_at(frame_rate("29.97df"), text)


def test_a_drop_frame_mark_needs_a_drop_frame_rate() -> None:
    with pytest.raises(InvalidArgument, match="drop-frame"):
        seconds_at(frame_rate("25"), "00:00:01;00")
    with pytest.raises(InvalidArgument, match="take one of"):
        frame_rate("26")


def test_phase_and_drift_of_a_clock_that_runs_fast() -> None:
    meter = PhaseMeter()
    for index in range(100):
        time = index * 0.1
        error = 0.020 + time * 500e-6  # 20 ms ahead, and 500 ppm fast
        meter.add(time, error, error)
    assert meter.drift_ppm == pytest.approx(500.0)
    assert meter.phase_ms == pytest.approx(20 + 4.95 * 0.5)
    assert meter.p99_ms == pytest.approx(20 + 9.8 * 0.5)
    assert meter.recent(3) == pytest.approx(0.020 + 9.8 * 500e-6)
    meter.clear()
    assert (meter.phase_ms, meter.p99_ms, meter.drift_ppm, meter.recent(1)) == (None, None, None, None)


def test_the_window_of_the_phase_is_bounded() -> None:
    meter = PhaseMeter()
    for index in range(5000):
        meter.add(index * 0.001, 1.0, 1.0)
    assert len(meter) == 512
    for index in range(5):
        meter.add(100.0 + index * 20, 2.0, 2.0)
    assert len(meter) == 1
    assert meter.drift_ppm is None


@given(st.floats(25.0, 300.0), st.lists(st.floats(-0.004, 0.004), min_size=8, max_size=8))
def test_taps_find_their_tempo(tempo: float, jitter: list[float]) -> None:
    taps = Taps()
    found = [taps.tap(100 + index * 60 / tempo + off) for index, off in enumerate(jitter)]
    assert found[:2] == [None, None]
    assert found[-1] == pytest.approx(tempo, abs=tempo * tempo / 60 * 0.009)


def test_a_pause_begins_the_taps_anew() -> None:
    taps = Taps()
    assert [taps.tap(time) for time in (0.0, 0.5, 1.0)] == [None, None, 120.0]
    assert taps.tap(60.0) is None
    assert taps.tap(60.6) is None
    assert taps.tap(61.2) == 100.0


def test_roles_are_checked() -> None:
    assert check_leader("/ardour") == "/ardour"
    assert check_leader("internal") == check_leader("") == "internal"
    for bad in ("ardour", "/a/b", "//", 5, None):
        with pytest.raises(InvalidArgument):
            check_leader(bad)
    assert check_follow({"offset": 1, "tempo": False}).offset == 1.0
    for wrong in (None, "x", {"offset": "1"}, {"tempo": 1}, {"other": 1}, {"offset": 1e9}, {"offset": True}):
        with pytest.raises(InvalidArgument):
            check_follow(wrong)


class Stub:
    """What a leader or follower half needs of a member."""

    def __init__(self, **more: Any) -> None:
        self.mount, self.alive, self.offset = "/deck", True, 0.0
        self.meter = PhaseMeter()
        self.quiet_until = 0.0
        self.timeline = Timeline(playing="playing", position="position")
        self.shows_playing = self.can_play = self.can_locate = True
        self.can_set_tempo = self.waiting = self.undecided = self.folds = False
        self.has = ("playing", "position")
        self.grain = 0.0
        self.playing = False
        self.position: float | None = 0.0
        self.located: list[float] = []
        self.plays: list[bool] = []
        for name, value in more.items():
            setattr(self, name, value)

    def play(self, playing: bool) -> None:
        self.plays.append(playing)

    def locate(self, seconds: float) -> None:
        self.located.append(seconds)


@given(
    st.lists(st.floats(-0.02, 0.02), min_size=20, max_size=200),
    st.floats(0.99, 1.01),
    st.floats(-0.2, 0.2),
    st.floats(0.02, 0.3),
)
def test_behind_a_leader_the_position_never_goes_back(
    jitter: list[float], speed: float, away: float, every: float
) -> None:
    clock, head, told = StillClock(), Playhead(), []
    stub: Any = Stub(playing=True)
    lead = Lead(stub, head, clock, lambda what, _: told.append(what))
    head.play(clock.monotonic())
    last = head.seconds(clock.monotonic())
    for number, off in enumerate(jitter):
        clock.advance(every)
        now = clock.monotonic()
        seconds = (number + 1) * every * speed + away + off
        error = seconds - head.seconds(now)
        if abs(error) > JUMP_S:
            return  # it jumps, and says so
        lead.on_position(error, seconds, now)
        assert head.seconds(now) >= last
        last = head.seconds(now)
        assert 0.9 < head.speed < 1.1
    assert told == []


def test_the_timeline_comes_to_its_leader() -> None:
    clock, head = StillClock(), Playhead()
    stub: Any = Stub(playing=True)
    lead = Lead(stub, head, clock, lambda _what, _seconds: None)
    head.play(0.0)
    error = 1.0
    for number in range(1, 1500):
        clock.advance(0.02)
        seconds = number * 0.02 * 1.0005 + 0.15  # 500 ppm fast, 150 ms ahead
        error = seconds - head.seconds(clock.monotonic())
        lead.on_position(error, seconds, clock.monotonic())
    assert abs(error) < 0.001
    assert stub.meter.drift_ppm == pytest.approx(500, abs=1)


def follower(stub: Any, head: Playhead, **options: Any) -> Follower:
    """Return the half that keeps *stub* in step, already playing."""
    found = Follower(stub, head, Options(**options), Follow(), lambda _: None)
    head.play(0.0)
    found.tick(0.0)
    stub.playing = True
    found.on_playing(True, 0.0)
    return found


def test_one_that_does_not_hold_is_corrected_five_times_and_given_up() -> None:
    clock, head, stub = StillClock(), Playhead(), Stub()
    half = follower(stub, head, corrections_hz=2.0)
    begun = len(stub.located)
    times: list[float] = []
    for _ in range(3000):
        clock.advance(0.02)
        now = clock.monotonic()
        half.on_position(-3.0, head.seconds(now) - 3.0, now)
        before = len(stub.located)
        half.tick(now)
        times += [now] * (len(stub.located) - before)
    assert len(stub.located) - begun == 5
    assert all(after - before >= 0.5 for before, after in itertools.pairwise(times))
    assert half.standing is Standing.DEGRADED
    assert "-3000 ms off after 5 corrections" in half.reason
    half.moved(sought=True)
    half.tick(clock.monotonic())
    assert len(stub.located) - begun == 6  # the next order is tried again


def test_a_delay_of_locating_is_learned() -> None:
    clock, head, stub = StillClock(), Playhead(), Stub()
    half = follower(stub, head)
    begun, off, now_located = len(stub.located), -2.0, 0.0
    for _ in range(600):
        clock.advance(0.02)
        now = clock.monotonic()
        if len(stub.located) > begun:  # it arrives 150 ms late
            off = stub.located[-1] - head.seconds(now_located) - 0.15
        before = len(stub.located)
        half.on_position(off, head.seconds(now) + off, now)
        half.tick(now)
        if len(stub.located) > before:
            now_located = now
    assert half.standing is Standing.IN_STEP
    assert len(stub.located) - begun == 2
    assert off == pytest.approx(0.0, abs=1e-6)


def test_one_that_does_not_start_is_asked_three_times() -> None:
    clock, head, stub = StillClock(), Playhead(), Stub()
    half = Follower(stub, head, Options(), Follow(), lambda _: None)  # type: ignore[arg-type]
    head.play(0.0)
    for _ in range(200):
        half.tick(clock.monotonic())
        clock.advance(0.1)
    assert stub.plays == [True, True, True]
    assert half.standing is Standing.DEGRADED
    head.stop(clock.monotonic())
    half.moved(sought=False)
    half.tick(clock.monotonic())
    assert stub.plays == [True, True, True]  # it stands already


async def test_a_jump_back_as_a_beat_is_due_does_not_silence_the_beat() -> None:
    heard: list[int] = []

    class Out:
        def send(self, address: str, *arguments: Any) -> None:
            heard.extend(arguments if address.endswith("/beat") else ())

    head, loop = Playhead(tempo=240.0), asyncio.get_running_loop()
    head.seek_beats(SYSTEM.monotonic(), 1000.0)
    head.play(SYSTEM.monotonic())
    beats = Beats(head, SYSTEM, Out())
    beats.changed()
    running = asyncio.ensure_future(beats.run())

    def jump() -> None:
        head.seek_beats(SYSTEM.monotonic(), 0.0)
        beats.changed()

    loop.call_later(0.2, time.sleep, 0.3)  # so that both are due when the loop comes to it: first the beat
    loop.call_later(0.4, jump)
    async with asyncio.timeout(60):
        while 3 not in heard:
            await asyncio.sleep(0.01)
    head.stop(SYSTEM.monotonic())
    beats.changed()
    await running
    assert heard[0] == 1000
    start = heard.index(0)
    assert heard[start : start + 4] == [0, 1, 2, 3]


def test_all_frame_rates_have_names_of_their_own() -> None:
    for one, other in itertools.combinations(FRAME_RATES.values(), 2):
        assert one != other
