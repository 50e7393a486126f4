"""Times as people say them: `last Tuesday 18:00`, `yesterday`, `-2h`, `20 minutes ago`, `2026-03-01 18:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

UNDERSTOOD = (
    "now, 18:00, 6pm, today 9:30, yesterday 18:00, Tuesday 18:00, last Tuesday 18:00, -2h, -1d12h, 20 minutes ago, "
    "3 days ago 18:00, 2026-03-01, 2026-03-01 18:00, 2026-03-01T18:00:00Z"
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "seconds"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "minutes"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "hours"),
    **dict.fromkeys(("d", "day", "days"), "days"),
    **dict.fromkeys(("w", "week", "weeks"), "weeks"),
}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2})(?::(\d{2})(\.\d{1,6})?)?)?\s*(am|pm)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the moment that *text* means, with its time zone; raise `ValueError` that says what is understood.

    A time of day and a weekday mean the last one there was. Days without a time of day mean the same time of day as
    *now*; a date means its beginning. Everything is in *zone*, by default that of this machine, unless *text* names
    another.
    """
    local = now.astimezone(zone)
    words = " ".join(text.lower().replace(",", " ").split())
    words = words.removeprefix("at ").replace(" at ", " ")
    try:
        found = _now(words, local) or _ago(words, local, zone) or _iso(words, text.strip(), zone)
        found = found or _day(words, local, zone)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise ValueError(f"{text!r} is no time that is understood; write for example: {UNDERSTOOD}")
    if found > now + timedelta(seconds=1):
        raise ValueError(f"{text!r} lies in the future: {show(found)}")
    return found


def nanoseconds(moment: datetime) -> int:
    """Return *moment* in nanoseconds since 1970."""
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def stamp(moment: datetime) -> str:
    """Return *moment* as proto JSON writes a timestamp."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def show(moment: datetime) -> str:
    """Return *moment* as a person reads it."""
    return moment.strftime("%a %Y-%m-%d %H:%M:%S")


def local(text: str) -> str:
    """Return a timestamp of proto JSON as a person reads it in a table: the time of this machine, to the second."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S") if text else ""


def _now(words: str, local: datetime) -> datetime | None:
    return local if words == "now" else None


def _ago(words: str, local: datetime, zone: tzinfo | None) -> datetime | None:
    """Read `-2h`, `-1h30m`, `2 hours ago`, `3 days ago 18:00`."""
    clock = ""
    if words.startswith("-"):
        amounts = words[1:]
    elif " ago" in words:
        amounts, _, clock = words.partition(" ago")
        amounts = re.sub(r"\b(a|an|one)\b", "1", amounts.replace(" and ", " "))
    else:
        return None
    back = timedelta()
    position = 0
    amounts = amounts.strip()
    while position < len(amounts):
        match = _AMOUNT.match(amounts, position)
        if match is None or match[2] not in _UNITS:
            return None
        back += timedelta(**{_UNITS[match[2]]: float(match[1])})
        position = match.end()
    if not position:
        return None
    moment = (local.astimezone(UTC) - back).astimezone(zone)
    return _on(moment, clock.strip(), zone) if clock.strip() else moment


def _iso(words: str, text: str, zone: tzinfo | None) -> datetime | None:
    """Read a date and a time of ISO 8601, or seconds since 1970 as `@1772384400`."""
    if words.startswith("@"):
        return datetime.fromtimestamp(float(words[1:]), UTC).astimezone(zone)
    if not _DATE.match(words):
        return None
    date, _, clock = words.partition(" ")
    if clock and _CLOCK.fullmatch(clock):
        return _on(_placed(datetime.fromisoformat(date), zone), clock, zone)
    moment = datetime.fromisoformat(text.upper().replace(" ", "T", 1))
    return moment if moment.tzinfo is not None else _placed(moment, zone)


def _day(words: str, local: datetime, zone: tzinfo | None) -> datetime | None:
    """Read `18:00`, `today 18:00`, `yesterday`, `tuesday 18:00`, `last tuesday`."""
    parts = words.split()
    if not parts:
        return None
    strictly = parts[0] in {"last", "on", "this"} and len(parts) > 1
    last = parts[0] == "last"
    if strictly:
        parts = parts[1:]
    day, clock = parts[0], " ".join(parts[1:])
    if day == "week" and last:
        return _back(local, 7, clock, zone)
    if day in {"today", "yesterday"} and not strictly:
        return _back(local, int(day == "yesterday"), clock, zone)
    number = next((number for number, name in enumerate(_DAYS) if len(day) >= 3 and name.startswith(day)), None)
    if number is not None:
        back = (local.weekday() - number) % 7
        if back == 0:
            back = 7 if last or (clock and _on(local, clock, zone) > local) else 0
        return _back(local, back, clock, zone)
    if strictly:
        return None
    moment = _on(local, words, zone)
    return moment if moment <= local else _back(local, 1, words, zone)


def _back(local: datetime, days: int, clock: str, zone: tzinfo | None) -> datetime:
    """Return the day so many days before, by the calendar, at *clock*, or at the same time of day."""
    day = datetime.combine(local.date() - timedelta(days=days), local.time())
    return _on(_placed(day, zone), clock, zone) if clock else _placed(day, zone)


def _on(day: datetime, clock: str, zone: tzinfo | None) -> datetime:
    """Return *clock* on the day of *day*."""
    named = {"noon": time(12), "midnight": time(0)}.get(clock)
    if named is None:
        match = _CLOCK.fullmatch(clock)
        if match is None or (match[2] is None and match[5] is None):
            raise ValueError(clock)
        hour = int(match[1])
        if match[5]:
            if not 1 <= hour <= 12:
                raise ValueError(clock)
            hour = hour % 12 + 12 * (match[5] == "pm")
        micro = round(float(match[4] or 0) * 1e6)
        named = time(hour, int(match[2] or 0), int(match[3] or 0), micro)
    return _placed(datetime.combine(day.date(), named), zone)


def _placed(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return a moment of the calendar in *zone*, summer time and all."""
    return moment.astimezone() if zone is None else moment.replace(tzinfo=zone)
