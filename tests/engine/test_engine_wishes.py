"""The in-flight window: echoes, late echoes, other values and changes of the application's own."""

from __future__ import annotations

from lightfast.engine.apps.wishes import Verdict, Wishes

PATH = "/live/tracks/0/volume"


def test_a_rounded_value_is_an_echo() -> None:
    wishes = Wishes()
    wishes.send(PATH, -12.0, 7, now=0.0)
    assert wishes.judge(PATH, -12.000002, 0.1) is Verdict.ECHO


def test_the_declared_tolerance_counts() -> None:
    wishes = Wishes()
    wishes.send(PATH, 0.5, 7, now=0.0)
    assert wishes.judge(PATH, 0.51, 0.1, tolerance=0.02) is Verdict.ECHO
    assert wishes.judge(PATH, 0.51, 0.1, tolerance=0.001) is Verdict.DIFFERS


def test_vectors_and_kinds_are_compared() -> None:
    wishes = Wishes()
    wishes.send(PATH, (1.0, 2.0, 3.0), 7, now=0.0)
    assert wishes.judge(PATH, (1.0, 2.0000001, 3.0), 0.0) is Verdict.ECHO
    assert wishes.judge(PATH, (1.0, 2.0), 0.0) is Verdict.DIFFERS
    assert wishes.judge(PATH, "1 2 3", 0.0) is Verdict.DIFFERS


def test_without_a_wish_it_is_the_applications_own() -> None:
    wishes = Wishes()
    assert wishes.judge(PATH, 1.0, 0.0) is Verdict.OWN


def test_a_newer_wish_supersedes_and_older_echoes_come_late() -> None:
    wishes = Wishes()
    first = wishes.send(PATH, 1.0, 1, now=0.0)
    second = wishes.send(PATH, 2.0, 2, now=0.1)
    third = wishes.send(PATH, 3.0, 3, now=0.2)
    assert len(wishes) == 1
    assert wishes.judge(PATH, 1.0, 0.3) is Verdict.LATE
    assert wishes.judge(PATH, 2.0, 0.3) is Verdict.LATE
    assert wishes.judge(PATH, 3.0, 0.3) is Verdict.ECHO
    assert wishes.answer(first.wish_id) is first
    assert first.superseded
    assert wishes.answer(second.wish_id) is second
    assert wishes.answer(third.wish_id) is third


def test_a_late_echo_is_used_up() -> None:
    wishes = Wishes()
    wishes.answer(wishes.send(PATH, True, 1, now=0.0).wish_id)
    wishes.answer(wishes.send(PATH, False, 2, now=0.1).wish_id)
    assert wishes.judge(PATH, True, 0.2) is Verdict.LATE
    assert wishes.judge(PATH, True, 0.3) is Verdict.OWN


def test_what_was_sent_too_long_ago_is_no_echo() -> None:
    wishes = Wishes(window=1.0)
    wishes.answer(wishes.send(PATH, 1.0, 1, now=0.0).wish_id)
    wishes.answer(wishes.send(PATH, 2.0, 2, now=0.9).wish_id)
    assert wishes.judge(PATH, 1.0, 1.5) is Verdict.OWN


def test_signals_have_a_window_too() -> None:
    wishes = Wishes()
    for index in range(3):
        wishes.send_signal(PATH, float(index), now=0.01 * index)
    assert wishes.judge(PATH, 0.0, 0.1) is Verdict.LATE
    assert wishes.judge(PATH, 1.0, 0.1) is Verdict.LATE
    assert wishes.outstanding
    wishes.sweep(10.0)
    assert not wishes.outstanding


def test_deadlines_and_late_answers() -> None:
    wishes = Wishes(timeout=5.0)
    flight = wishes.send(PATH, 1.0, 1, now=0.0)
    assert wishes.due(4.9) == []
    assert wishes.due(5.1) == [flight]
    wishes.expire(flight)
    assert len(wishes) == 0
    assert wishes.answer(flight.wish_id) is flight, "a late answer still counts"
    assert wishes.answer(flight.wish_id) is None, "but only once"


def test_a_busy_application_gets_more_time() -> None:
    wishes = Wishes(timeout=5.0)
    wishes.send(PATH, 1.0, 1, now=0.0)
    wishes.postpone(20.0)
    assert wishes.due(19.0) == []
    assert len(wishes.due(20.0)) == 1


def test_a_wish_for_absence() -> None:
    wishes = Wishes()
    wishes.send(PATH, None, 1, now=0.0)
    assert wishes.judge(PATH, 1.0, 0.1) is Verdict.DIFFERS
    assert wishes.judge(PATH, None, 0.1) is Verdict.ECHO


def test_a_rename_takes_wishes_along() -> None:
    wishes = Wishes()
    flight = wishes.send("/b/objects/Cube/location", 1.0, 1, now=0.0)
    wishes.send("/b/objects/Cubes/location", 1.0, 1, now=0.0)
    wishes.rename("/b/objects/Cube", "/b/objects/Box")
    assert flight.path == "/b/objects/Box/location"
    assert wishes.judge("/b/objects/Box/location", 1.0, 0.0) is Verdict.ECHO
    assert wishes.in_flight("/b/objects/Cubes/location") is not None
