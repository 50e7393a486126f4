"""Times as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lightfast.app.cli.times import UNDERSTOOD, nanoseconds, parse, stamp

ROME = ZoneInfo("Europe/Rome")
NOW = datetime(2026, 3, 12, 15, 30, 20, tzinfo=ROME)
"""A Thursday."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-03-12 15:30:20"),
        ("last Tuesday 18:00", "2026-03-10 18:00:00"),
        ("Last Tuesday, at 18:00", "2026-03-10 18:00:00"),
        ("tue 6pm", "2026-03-10 18:00:00"),
        ("on tuesday", "2026-03-10 15:30:20"),
        ("thursday 14:00", "2026-03-12 14:00:00"),
        ("thursday 18:00", "2026-03-05 18:00:00"),
        ("last thursday", "2026-03-05 15:30:20"),
        ("thursday", "2026-03-12 15:30:20"),
        ("last week", "2026-03-05 15:30:20"),
        ("last week 9:00", "2026-03-05 09:00:00"),
        ("yesterday 18:00", "2026-03-11 18:00:00"),
        ("yesterday", "2026-03-11 15:30:20"),
        ("today 9:30", "2026-03-12 09:30:00"),
        ("today noon", "2026-03-12 12:00:00"),
        ("yesterday midnight", "2026-03-11 00:00:00"),
        ("12am", "2026-03-12 00:00:00"),
        ("18:00", "2026-03-11 18:00:00"),
        ("9:15:10.5", "2026-03-12 09:15:10.500000"),
        ("-2h", "2026-03-12 13:30:20"),
        ("-1d12h", "2026-03-11 03:30:20"),
        ("-90s", "2026-03-12 15:28:50"),
        ("20 minutes ago", "2026-03-12 15:10:20"),
        ("an hour ago", "2026-03-12 14:30:20"),
        ("1 day and 2 hours ago", "2026-03-11 13:30:20"),
        ("3 days ago at 18:00", "2026-03-09 18:00:00"),
        ("2 weeks ago", "2026-02-26 15:30:20"),
        ("2026-03-01", "2026-03-01 00:00:00"),
        ("2026-03-01 18:00", "2026-03-01 18:00:00"),
        ("2026-03-01 6 pm", "2026-03-01 18:00:00"),
        ("2026-03-01T18:00:30", "2026-03-01 18:00:30"),
        ("2026-03-01T17:00:00Z", "2026-03-01 18:00:00"),
        ("2026-03-01T20:00:00+03:00", "2026-03-01 18:00:00"),
        ("@1772384400", "2026-03-01 18:00:00"),
    ],
)
def test_what_is_understood(text: str, expected: str) -> None:
    found = parse(text, NOW, ROME)
    assert found.tzinfo is not None
    assert found.astimezone(ROME).replace(tzinfo=None).isoformat(" ") == expected


def test_every_example_is_understood() -> None:
    for text in UNDERSTOOD.split(", "):
        assert parse(text, NOW, ROME) <= NOW


@pytest.mark.parametrize(
    "text",
    ["", "soon", "25:00", "tuesday blue", "-2x", "-", "ago", "18", "13pm", "2026-13-01", "last", "x ago", "-1e9w"],
)
def test_what_is_not_understood_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="last Tuesday 18:00"):
        parse(text, NOW, ROME)


def test_the_future_is_refused() -> None:
    for text in ("today 18:00", "2026-03-13", "2030-01-01T00:00:00Z"):
        with pytest.raises(ValueError, match="future"):
            parse(text, NOW, ROME)


def test_clocks_change() -> None:
    # On 2026-03-29 Rome goes from 02:00 to 03:00: a day back by the calendar is 23 hours.
    after = datetime(2026, 3, 29, 18, 0, tzinfo=ROME)
    assert after - parse("yesterday", after, ROME).astimezone(UTC) == timedelta(hours=23)
    assert after.astimezone(UTC) - parse("-24h", after, ROME).astimezone(UTC) == timedelta(hours=24)


def test_the_zone_of_this_machine_is_the_default() -> None:
    now = datetime.now(UTC)
    assert abs(parse("-2h", now) - (now - timedelta(hours=2))) < timedelta(seconds=1)
    assert parse("yesterday 18:00", now).astimezone().hour == 18


def test_forms_for_the_wire() -> None:
    moment = datetime(2026, 3, 1, 18, 0, 0, 250_000, tzinfo=ROME)
    assert nanoseconds(moment) == 1_772_384_400_250_000_000
    assert stamp(moment) == "2026-03-01T17:00:00.250000Z"
