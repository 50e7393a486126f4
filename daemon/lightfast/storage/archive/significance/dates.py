"""Finds points in time that a text names, as far as they are plain: dates, weekdays, today and tomorrow, in N days."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DAY_MS = 86_400_000

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}
_NAMED = {"today": 0.0, "tonight": 0.0, "now": 0.0, "tomorrow": 1.0, "yesterday": -1.0, "weekend": 4.0}

_ISO = re.compile(r"\b((?:19|20)\d\d)-(\d\d?)-(\d\d?)\b")
_DAY_MONTH = re.compile(rf"\b(\d\d?)(?:st|nd|rd|th|\.)?(?: of)? ({'|'.join(_MONTHS)})(?: ((?:19|20)\d\d))?\b")
_MONTH_DAY = re.compile(rf"\b({'|'.join(_MONTHS)}) (\d\d?)(?:st|nd|rd|th)?(?:,? ((?:19|20)\d\d))?\b")
_DOTTED = re.compile(r"\b(\d\d?)\.(\d\d?)\.((?:19|20)\d\d)?")
_ORDINAL = re.compile(r"\b(?:on|by|until|before|from) the (\d\d?)(?:st|nd|rd|th)\b")
_WEEKDAY = re.compile(rf"\b(?:(next|last) )?({'|'.join(_DAYS)})\b")
_WITHIN = re.compile(rf"\b(?:in|within) (\d{{1,3}}|{'|'.join(_NUMBERS)}) ({'|'.join(_UNITS)})s?\b")
_COMING = re.compile(r"\b(next|this|last) (week|month|year)\b|\bend of (?:this|the) (week|month|year)\b")
_WORD = re.compile(rf"\b({'|'.join(_NAMED)})\b")
CLOCK = re.compile(
    r"\b(?:[01]?\d|2[0-3])[:.][0-5]\d\b(?! ?(?:hz|khz|mhz|db|v|a|m|ms|%))"
    r"|\b\d{1,2} ?(?:a\.?m\.?|p\.?m\.?|o'clock)(?!\w)"
)
"""A time of the day, in folded text."""


def mentioned(folded: str, at_ms: int) -> list[int]:
    """Return what the folded text names, in ms since 1970 UTC, seen from *at_ms*; without a year it is the next one."""
    try:
        now = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return []
    found: list[datetime] = []
    for year, month, day in _ISO.findall(folded):
        _add(found, now, int(day), int(month), year)
    for day, name, year in _DAY_MONTH.findall(folded):
        _add(found, now, int(day), _MONTHS.index(name) + 1, year)
    for name, day, year in _MONTH_DAY.findall(folded):
        _add(found, now, int(day), _MONTHS.index(name) + 1, year)
    for day, month, year in _DOTTED.findall(folded):
        _add(found, now, int(day), int(month), year)
    for day in _ORDINAL.findall(folded):
        month = now.month if int(day) >= now.day else now.month % 12 + 1
        _add(found, now, int(day), month, "")
    offsets = [_NAMED[word] for word in _WORD.findall(folded)]
    for which, name in _WEEKDAY.findall(folded):
        ahead = (_DAYS.index(name) - now.weekday()) % 7
        offsets.append(ahead - 7.0 if which == "last" else float(ahead or 7))
    for number, unit in _WITHIN.findall(folded):
        offsets.append((int(number) if number.isdigit() else _NUMBERS[number]) * _UNITS[unit])
    for which, unit, end in _COMING.findall(folded):
        days = _UNITS[unit or end]
        offsets.append(-days if which == "last" else days if which == "next" else days / 2)
    return [int(when.timestamp() * 1000) for when in found] + [at_ms + int(days * DAY_MS) for days in offsets]


def _add(found: list[datetime], now: datetime, day: int, month: int, year: str) -> None:
    try:
        when = datetime(int(year) if year else now.year, month, day, tzinfo=UTC)
        if not year and when < now - timedelta(days=1):
            when = when.replace(year=now.year + 1)
    except ValueError:  # the 31st of February is no date
        return
    found.append(when)
