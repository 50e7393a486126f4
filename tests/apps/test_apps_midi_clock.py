"""MIDI clock: what a reader makes of ticks, what the schedule sends, and that both agree."""

from __future__ import annotations

import math
import random
import threading
import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightfast_bridges.midi.clock import CONTINUE, SONG_POSITION, START, STOP, TICK, ClockReader, song_position
from lightfast_bridges.midi.following import Following
from lightfast_bridges.midi.schedule import Schedule
from lightfast_bridges.midi.sender import MAX_WAITING, Sender
from lightfast_bridges.midi.surface import message_of
from lightfast_bridges.midi.timecode import RATES, TimecodeReader

tempi = st.floats(20, 999)
TOGETHER = 2e-6
"""Seconds: what is due within half of that goes out as one, so a tick beside a quarter frame may be that much early."""


def drain(schedule: Schedule, until: float) -> list[tuple[float, bytes]]:
    """Return all that is due by *until*, with its time."""
    out = []
    while (due := schedule.take(until)) is not None:
        out += [(due.time, message) for message in due.messages]
    return out


@given(tempi, st.floats(0, 1e6))
def test_a_steady_clock_has_its_tempo(tempo: float, start: float) -> None:
    reader = ClockReader()
    for tick in range(60):
        reader.tick(start + 1 + tick * 60 / tempo / 24)
    assert reader.tempo == pytest.approx(tempo, rel=1e-4)
    assert reader.jitter < 1e-5


@pytest.mark.parametrize("jitter_ms", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("tempo", [60.0, 120.5, 174.0])
def test_jitter_moves_the_tempo_by_less_than_stated(tempo: float, jitter_ms: float) -> None:
    reader, random_, worst, stated = ClockReader(), random.Random(3), 0.0, 0.0
    for tick in range(2000):
        reader.tick(5 + tick * 60 / tempo / 24 + random_.uniform(0, jitter_ms / 1e3))
        if tick > 100 and reader.tempo is not None:
            worst = max(worst, abs(reader.tempo - tempo))
            stated = max(stated, 5 * reader.uncertainty)
    assert 0 < worst < stated
    assert reader.jitter == pytest.approx(jitter_ms / 1e3 / math.sqrt(12), rel=0.4)


def test_a_change_of_tempo_is_seen_within_a_beat() -> None:
    reader, at = ClockReader(), 2.0
    for tempo in (120.0, 140.0, 90.0, 91.0):
        for _ in range(96):
            reader.tick(at := at + 60 / tempo / 24)
        assert reader.tempo == pytest.approx(tempo, abs=0.1)


def test_the_tempo_that_is_told_does_not_flutter() -> None:
    """The reports of a jittery clock: few, and right in the end."""
    following, random_, told = Following(), random.Random(11), []
    for tick in range(3000):
        news = following.take(bytes((TICK,)), 9 + tick * 60 / 120.5 / 24 + random_.uniform(0, 2e-3)) or []
        told += [value for path, value, _ in news if path == "clock/tempo"]
    assert told[-1] == pytest.approx(120.5, abs=0.1)
    assert len(told) < 12


def test_start_stop_continue_and_the_song_position() -> None:
    reader = ClockReader()
    reader.start()
    for tick in range(25):
        reader.tick(1 + tick / 48)
    assert reader.beats == 1.0  # the first tick after start is the beginning
    reader.stop()
    reader.tick(1 + 25 / 48)
    assert reader.beats == 1.0
    reader.go_on()
    reader.tick(1 + 26 / 48)
    assert reader.ticks == 25
    reader.stop()
    reader.locate(32)
    assert reader.beats == 8.0
    reader.go_on()
    reader.tick(1 + 27 / 48)
    assert reader.beats == 8.0
    assert reader.lost(9.0)
    assert not reader.playing


@given(st.integers(0, 16_383))
def test_song_positions(sixteenths: int) -> None:
    message = song_position(sixteenths)
    assert message[0] == SONG_POSITION
    assert max(message[1:]) < 128
    assert message[1] + 128 * message[2] == sixteenths
    with pytest.raises(ValueError, match="16383"):
        song_position(sixteenths + 16_384)


@settings(deadline=None, max_examples=40)
@given(tempi, st.floats(0, 500), st.floats(1, 5))
def test_the_schedule_ticks_on_the_grid(tempo: float, position: float, seconds: float) -> None:
    """Each tick at its place in the song, each exactly once, start or continue on a sixteenth, and none missing."""
    schedule = Schedule(clock=True, rate=None, tempo=tempo)
    at_once = schedule.seek(100.0, position) + schedule.play(100.0)
    sent = drain(schedule, 100.0 + seconds)
    beats = Fraction(position) * Fraction(tempo) / 60
    ticks = [when for when, message in sent if message[0] == TICK]
    first = math.ceil(beats * 24 - Fraction(1, 10**6))
    last = math.floor((beats + Fraction(seconds) * Fraction(tempo) / 60) * 24 + Fraction(1, 10**6))
    assert abs(len(ticks) - (last - first + 1)) <= 1
    for number, when in enumerate(ticks):
        assert when == pytest.approx(
            100 + float((Fraction(first + number, 24) - beats) * 60 / Fraction(tempo)), abs=1e-6
        )
    begins = [(when, message) for when, message in sent if message[0] in {START, CONTINUE}]
    if begins:
        ((when, message),) = begins
        sixteenth = math.ceil(Fraction(first, 6))
        assert when == pytest.approx(100 + float((Fraction(sixteenth, 4) - beats) * 60 / Fraction(tempo)), abs=1e-6)
        assert (message[0] == START) is (sixteenth == 0)
        assert sixteenth == 0 or sixteenth > 16_383 or song_position(sixteenth) in at_once


@settings(deadline=None, max_examples=40)
@given(
    tempi,
    st.sampled_from(sorted(RATES)),
    st.floats(0, 4000),
    st.lists(st.tuples(st.sampled_from(["seek", "tempo", "stop"]), st.floats(0, 3000)), max_size=4),
)
@example(42.0, "24", 5.960464477539063e-08, [])  # a hair behind the beginning
@example(893.7279975735984, "25", 0.0, [])  # a tick 0.7 µs behind a quarter frame
def test_who_reads_what_is_sent_is_where_the_timeline_is(
    tempo: float, name: str, position: float, turns: list[tuple[str, float]]
) -> None:
    schedule = Schedule(clock=True, rate=RATES[name], tempo=tempo)
    reader, clock, now = TimecodeReader(), ClockReader(), 50.0

    def hear(messages: list[tuple[float, bytes]]) -> None:
        for when, message in messages:
            status = message[0]
            if status == 0xF1:
                place = reader.quarter(message[1], when)
                if place is not None and place.time > settled:
                    assert place.seconds == pytest.approx(schedule.seconds(when), abs=1e-5)
            elif status == TICK:
                clock.tick(when)
                if clock.playing and when > settled and schedule.playing and schedule.beats(when) < 4000:
                    off = max(1e-5, TOGETHER * schedule.tempo / 60)
                    assert clock.beats == pytest.approx(schedule.beats(when), abs=off)
            elif status == START:
                clock.start()
            elif status == CONTINUE:
                clock.go_on()
            elif status == STOP:
                clock.stop()
            elif status == SONG_POSITION:
                clock.locate(message[1] | message[2] << 7)

    settled = now + 1.0
    hear([(now, message) for message in schedule.seek(now, position) + schedule.play(now)])
    hear(drain(schedule, now := now + 3.0))
    for turn, value in turns:
        settled = now + 1.0
        if turn == "seek":
            messages = schedule.seek(now, value)
        elif turn == "tempo":
            messages = schedule.set_tempo(now, 20 + value % 900)
        else:
            messages = schedule.stop(now) + schedule.play(now)
        hear([(now, message) for message in messages])
        hear(drain(schedule, now := now + 3.0))
    assert schedule.playing
    if schedule.beats(now) < 4000:
        assert clock.playing


def test_a_stop_is_said_and_ticks_go_on_for_the_tempo() -> None:
    schedule = Schedule(clock=True, rate=RATES["25"])
    assert schedule.next_time() is None  # nothing is sent that nobody asked for
    schedule.play(1.0)
    drain(schedule, 3.0)
    out = schedule.stop(3.0)
    assert out[0] == bytes((STOP,))
    assert out[-1][:5] == b"\xf0\x7f\x7f\1\1"
    after = drain(schedule, 5.0)
    assert {message[0] for _, message in after} == {TICK}
    assert len(after) == pytest.approx(96, abs=1)
    schedule.quiet()
    assert schedule.next_time() is None


def test_what_was_due_long_ago_is_not_made_up_for() -> None:
    schedule = Schedule(clock=True, rate=RATES["30"])
    schedule.play(1.0)
    drain(schedule, 2.0)
    assert schedule.catch_up(2.4) is None
    assert schedule.catch_up(60.0) is not None
    burst = drain(schedule, 60.05)
    assert len(burst) < 12
    assert schedule.seconds(60.0) == pytest.approx(59.0)


@pytest.mark.parametrize("slept", [0.6, 7.3, 58.0])
def test_who_follows_is_told_where_it_is_after_ticks_were_left_out(slept: float) -> None:
    schedule, reader = Schedule(clock=True, rate=None), ClockReader()

    def hear(messages: list[tuple[float, bytes]]) -> None:
        for when, message in messages:
            if message[0] == SONG_POSITION:
                assert not reader.playing, "a place is only taken by who stands"
                reader.locate(message[1] | message[2] << 7)
            else:
                {START: reader.start, CONTINUE: reader.go_on, STOP: reader.stop}.get(
                    message[0], lambda when=when: reader.tick(when)
                )()

    hear([(1.0, message) for message in schedule.play(1.0)])
    hear(drain(schedule, 2.0))
    assert reader.beats == pytest.approx(2.0)
    told = schedule.catch_up(woke := 2.0 + slept)
    hear([(woke, message) for message in told or ()])
    hear(drain(schedule, woke + 1.0))
    assert reader.playing
    assert reader.beats == pytest.approx(schedule.beats(woke + 1.0), abs=1 / 24)


def test_the_sender_tells_the_place_after_it_slept() -> None:
    sent: list[bytes] = []
    schedule = Schedule(clock=True, rate=None)
    schedule.play(time.monotonic() - 20.0)  # what was due since was never sent
    sender = Sender(sent.append, schedule, lambda _: None)
    sender.start()
    deadline = time.monotonic() + 60
    while bytes((CONTINUE,)) not in sent:
        assert time.monotonic() < deadline, sent
        time.sleep(0.01)
    sender.close()
    assert sender.skipped
    assert sent[0][0] == SONG_POSITION
    assert sent[0][1] | sent[0][2] << 7 >= 160, "forty beats and more"
    assert sent.index(bytes((TICK,))) > 0


def test_the_sender_keeps_order_bounds_and_the_newest() -> None:
    stuck = threading.Event()
    sent: list[bytes] = []
    failed: list[str] = []
    entered = threading.Event()

    def send(message: bytes) -> None:
        entered.set()
        stuck.wait(30)
        sent.append(message)

    sender = Sender(send, Schedule(clock=True, rate=None), failed.append)
    sender.start()
    done: list[str] = []
    assert sender.post(b"first", done=done.append)
    assert entered.wait(30)
    for number in range(200):
        assert sender.post(b"cc%d" % number, key="fader")
    accepted = sum(sender.post(b"note", done=done.append) for _ in range(MAX_WAITING + 50))
    assert accepted == MAX_WAITING - 1  # one place is the fader's
    stuck.set()
    sender.close()
    assert sent == [b"first", b"cc199", *[b"note"] * accepted]
    assert done == [""] * (accepted + 1)
    assert not failed
    assert not sender.post(b"late")


def test_two_halves_stay_together() -> None:
    """A newer value comes while the upper half of an older one is sent: its lower half does not go before its upper."""
    stuck, entered = threading.Event(), threading.Event()
    sent: list[bytes] = []

    def send(message: bytes) -> None:
        entered.set()
        stuck.wait(30)
        sent.append(message)

    sender = Sender(send, Schedule(clock=False, rate=None), lambda _: None)
    sender.start()
    older, newer = (message_of("ch/1/cc14/1", value, [1]) for value in (5 << 7 | 6, 7 << 7 | 8))
    assert sender.post(*older, key="ch/1/cc14/1")
    assert entered.wait(30)
    assert sender.post(*newer, key="ch/1/cc14/1")
    stuck.set()
    sender.close()
    assert sent == [*older, *newer]


def test_half_a_value_is_not_sent() -> None:
    """Of a controller with 14 bits the lower half belongs to the upper one that did not go."""
    sent: list[bytes] = []
    done: list[str] = []

    def send(message: bytes) -> None:
        if message == b"upper":
            raise OSError("gone")
        sent.append(message)

    sender = Sender(send, Schedule(clock=False, rate=None), lambda _: None)
    sender.start()
    sender.post(b"upper", b"lower", done=done.append)
    sender.post(b"other", done=done.append)
    sender.close()
    assert sent == [b"other"]
    assert ["gone" in reason for reason in done] == [True, False]


def test_a_port_that_fails_is_told() -> None:
    failed: list[str] = []
    done: list[str] = []

    def send(message: bytes) -> None:
        raise OSError("gone")

    sender = Sender(send, Schedule(clock=False, rate=None), failed.append)
    sender.start()
    sender.post(b"x", done=done.append)
    sender.close()
    assert "gone" in failed[0]
    assert "gone" in done[0]


def test_the_count_of_ticks_is_right() -> None:
    """The thread with the real clock: as many ticks as the time that it says has passed holds, late or not."""
    sent: list[tuple[float, bytes]] = []
    sender = Sender(
        lambda message: sent.append((time.monotonic(), message)), Schedule(clock=True, rate=RATES["30"]), lambda _: None
    )
    sender.start()
    sender.steer(lambda schedule, now: schedule.set_tempo(now, 240.0))
    sender.steer(lambda schedule, now: schedule.play(now))
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        time.sleep(0.01)
    sender.steer(lambda schedule, now: schedule.stop(now))
    _, seconds, beats, _ = sender.place(time.monotonic())
    sender.close()
    messages = [message for _, message in sent]
    first, last = messages.index(bytes((START,))), messages.index(bytes((STOP,)))
    ticks = sum(message[0] == TICK for message in messages[first:last])
    quarters = sum(message[0] == 0xF1 for message in messages)
    if not sender.skipped:  # on a machine that sleeps, some are left out, on purpose
        # The stop goes out at once, before what was due in the same moment: on a busy machine since the last tick.
        before = max(when for when, message in sent[:last] if message[0] in {TICK, 0xF1})
        late = sender.lateness().worst + sent[last][0] - before
        assert ticks == pytest.approx(beats * 24, abs=2 + 96 * late)
        assert quarters == pytest.approx(seconds * 120, abs=2 + 120 * late)
