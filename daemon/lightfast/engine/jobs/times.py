"""When a schedule is due: a cron expression of five fields in a time zone, or an interval."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.core.errors import InvalidArgument

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo  # loaded with the first schedule

_SECOND = 1_000_000_000
_EVERY = re.compile(r"every\s+(\d{1,9})\s*(s|m|h|d)", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FIELDS = 5
_LONGEST_S = 366 * 86_400
_LOCAL = Path("/etc/localtime")


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name in the tz database; empty: that of this machine."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if not name:
        return _local()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"{name!r:.60} is no time zone: write one such as Europe/Berlin or UTC", field="time_zone"
        ) from None


def _local() -> ZoneInfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    name = os.environ.get("TZ", "").removeprefix(":")
    if name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return ZoneInfo("UTC")
    try:
        with _LOCAL.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return ZoneInfo("UTC")


def next_time(when: str, time_zone: str, after: int, begin: int) -> int:
    """Return the first time after *after* that *when* means, in ns since 1970.

    Times of cron expressions are of the wall clock: what falls into the hour that summer time leaves out is due at the
    end of it, what falls into the hour that comes twice is due once, as in Debian's cron (`cronsim`). Intervals are
    counted from *begin*. Raises `InvalidArgument` (SCHEDULE_INVALID).
    """
    text = when.strip()
    found = _EVERY.fullmatch(text)
    if found:
        seconds = int(found[1]) * _UNITS[found[2].lower()]
        if not 1 <= seconds <= _LONGEST_S:
            raise _invalid(when, "an interval is from 1 s to 366 d")
        step = seconds * _SECOND
        return begin + (max(0, after - begin) // step + 1) * step
    if len(text.split()) != _FIELDS:
        raise _invalid(when, "it has not five fields: minute, hour, day, month, weekday")
    for time in _times(text, datetime.fromtimestamp(after // _SECOND, zone(time_zone)), when):
        stamp = int(time.astimezone(UTC).timestamp()) * _SECOND
        if stamp > after:  # in the hour that comes twice, the first may be past
            return stamp
    raise _invalid(when, "no day fits it")


def _times(text: str, start: datetime, when: str) -> Iterator[datetime]:
    from cronsim import CronSim, CronSimError

    try:
        yield from CronSim(text, start)
    except (CronSimError, ValueError) as error:
        raise _invalid(when, str(error)) from None


def _invalid(when: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"{when!r:.80} says no time: {why}. Write '0 9 * * 1-5' or 'every 90s'",
        field="when",
        reason="SCHEDULE_INVALID",
    )
