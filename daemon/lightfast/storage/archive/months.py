"""Which month a time belongs to, for every int64 of milliseconds; shards are named by it."""

from __future__ import annotations

DAY_MS = 86_400_000


def month_of(time_ms: int) -> str:
    """Return `YYYY/MM` of *time_ms* (ms since 1970, UTC) in the proleptic Gregorian calendar.

    Years have four digits, or as many as they need, with a minus sign before the year 0. The arithmetic is that of
    days since 0000-03-01 in eras of 400 years, so that it knows no first and no last year.
    """
    days = time_ms // DAY_MS + 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153  # months since March
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = era * 400 + year_of_era + (month <= 2)
    return f"{year:04d}/{month:02d}"
