"""Models that come to an end: deprecated ones are warned of, retired ones are refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition
from lightfast.gateway.calls import ModelRecord

log = structlog.get_logger("lightfast.gateway")

_DAY_NS = 86_400 * 1_000_000_000


class Lifecycle:
    """Knows the day, and whom it has warned today."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._today = (-1, "")
        self._day = ""
        self._warned: set[str] = set()

    def today(self) -> str:
        """Return the day as YYYY-MM-DD, UTC."""
        number = self._clock.now_ns() // _DAY_NS
        if number != self._today[0]:
            self._today = (number, datetime.fromtimestamp(number * 86_400, UTC).date().isoformat())
        return self._today[1]

    def retired(self, record: ModelRecord) -> bool:
        """Say whether *record* has ended: from its retirement date on."""
        date = record.model.retirement_date
        return bool(date) and date <= self.today()

    def deprecated(self, record: ModelRecord) -> bool:
        """Say whether *record* is not to be used for anything new, today."""
        date = record.model.deprecation_date
        return bool(date) and date <= self.today()

    def notice(self, record: ModelRecord) -> str:
        """Return what is to be said about its end; empty where none is announced."""
        model = record.model
        if self.retired(record):
            return f"retired on {model.retirement_date}"
        parts = []
        if model.deprecation_date:
            word = "deprecated since" if self.deprecated(record) else "deprecated from"
            parts.append(f"{word} {model.deprecation_date}")
        if model.retirement_date:
            parts.append(f"ends on {model.retirement_date}")
        return ", ".join(parts)

    def warn(self, record: ModelRecord, others: Iterable[ModelRecord]) -> bool:
        """Log once a day that a deprecated model is used; say whether it was logged now."""
        if not self.deprecated(record):
            return False
        today = self.today()
        if today != self._day:
            self._day, self._warned = today, set()
        if record.name in self._warned:
            return False
        self._warned.add(record.name)
        log.warning(
            "a deprecated model is used",
            model=record.name,
            notice=self.notice(record),
            instead=self.replacement(record, others) or "none is known",
        )
        return True

    def refusal(self, record: ModelRecord, others: Iterable[ModelRecord]) -> FailedPrecondition:
        """Return the error for a retired model, with what could take its place."""
        instead = self.replacement(record, others)
        hint = f"use {instead}" if instead else "choose another: see 'lightfast models'"
        return FailedPrecondition(
            f"{record.name} was retired on {record.model.retirement_date}: {hint}",
            reason="MODEL_RETIRED",
            metadata={"model": record.name, "replacement": instead},
        )

    def replacement(self, record: ModelRecord, others: Iterable[ModelRecord]) -> str:
        """Return the model of the same provider that makes the same and is most alike; empty: there is none.

        First those that can all it could, then those of the same tags, then by name.
        """
        able = [
            other
            for other in others
            if other.provider == record.provider
            and other.name != record.name
            and set(record.model.outputs) <= set(other.model.outputs)
            and not self.retired(other)
            and not self.deprecated(other)
        ]

        def alike(other: ModelRecord) -> tuple[int, int, float, str]:
            missing = len(set(record.model.capabilities) - set(other.model.capabilities))
            shared = len(set(record.model.tags) & set(other.model.tags))
            nearness = difflib.SequenceMatcher(None, record.model.name, other.model.name).ratio()
            return (missing, -shared, -nearness, other.name)

        return min(able, key=alike).name if able else ""
