"""The log of failures and the tally: causes, bounds, secrets, and what Prometheus is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.costs import PENNY, asks, costs_in

from lightfast.app.gauges_gateway import measure_gateway
from lightfast.context.upkeep.purge_target import make_target
from lightfast.core import redaction
from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.core.histogram import Histogram
from lightfast.core.metrics import Metrics
from lightfast.gateway import failure_log, tally
from lightfast.gateway.failure_log import FailureLog, causes_of
from lightfast.gateway.failure_purge import FailureRoom
from lightfast.gateway.ports import Attempt, Paid, Payer
from lightfast.gateway.tally import Tally
from lightfast.sdk import ProviderError, Usage
from lightfast.storage.database import Database

SECRET = "sk-very-secret-0123456789"


def attempt(**fields: Any) -> Attempt:
    """Return an attempt that is over."""
    known: dict[str, Any] = {
        "operation_id": "op-1",
        "model": "openai/gpt-5",
        "provider": "openai",
        "account": "default",
        "payer": Payer(),
        "outcome": "ok",
        "action": "",
        "error": None,
        "first": 0.2,
        "duration": 1.5,
        "usage": Usage(10, 5, cached_tokens=4),
        "paid": Paid(0.25, "prices"),
        "time": 7,
    }
    return Attempt(**(known | fields))


def chain() -> BaseException:
    """Return an error with causes, one of them with a key in it."""
    raised = ProviderError(f"it cannot be read: {SECRET}", kind="malformed")
    raised.__cause__ = ValueError("not JSON")
    raised.__cause__.__context__ = ConnectionError("no line")
    raised.__cause__.__context__.__cause__ = OSError(f"refused with {SECRET}")
    return raised


@asynccontextmanager
async def log_in(folder: Path) -> AsyncIterator[FailureLog]:
    db = await Database.open(folder / "store.db", clock=StillClock())
    try:
        made = FailureLog(db)
        await made.start()
        yield made
    finally:
        await db.close()


async def test_the_chain_of_causes_is_kept_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", [SECRET])
    async with log_in(tmp_path) as log:
        log(attempt(outcome="error", action="fallback", error=chain()))
        log(attempt())  # it worked
        log(attempt(outcome="cancelled", error=FailedPrecondition("stopped")))  # somebody wanted that
        (failed,) = await log.find()
        assert (failed.reason, failed.action, failed.account) == ("PROVIDER_MALFORMED", "fallback", "default")
        assert failed.message == "it cannot be read: ***"
        assert failed.causes == ("ValueError: not JSON", "ConnectionError: no line", "OSError: refused with ***")
    async with log_in(tmp_path) as log:  # and it outlasts the daemon
        assert [one.message for one in await log.find()] == ["it cannot be read: ***"]
        log(
            attempt(
                outcome="error", error=Unavailable("away", reason="CIRCUIT_OPEN"), provider="a", operation_id="op-2"
            )
        )
        assert [one.reason for one in await log.find()] == ["CIRCUIT_OPEN", "PROVIDER_MALFORMED"]
        assert [one.provider for one in await log.find(provider="openai")] == ["openai"]
        assert [one.operation_id for one in await log.find(operation_id="op-2")] == ["op-2"]
        assert len(await log.find(count=1)) == 1


def test_causes_that_go_in_circles_or_never_end_are_cut() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert causes_of(first) == ("ValueError: second",)
    error: BaseException = ValueError("x" * 5000)
    for _ in range(50):
        above = KeyError("above")
        above.__cause__, error = error, above
    assert len(causes_of(error)) == failure_log.MOST_CAUSES
    plain = RuntimeError("plain")
    plain.__cause__ = ValueError("x" * 5000)
    (cause,) = causes_of(plain)
    assert len(cause) == failure_log.CAUSE_LENGTH
    hidden = RuntimeError("hidden")
    hidden.__context__, hidden.__suppress_context__ = ValueError("not told"), True
    assert causes_of(hidden) == ()


async def test_the_table_is_bounded_and_a_full_disk_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_log, "KEPT_ROWS", 30)
    monkeypatch.setattr(failure_log, "SWEEP_EVERY", 10)
    async with log_in(tmp_path) as log:
        for index in range(100):
            log(attempt(outcome="error", error=ProviderError(str(index)), time=index))
        found = await log.find(count=1000)
        assert [one.message for one in found] == [str(index) for index in range(99, 69, -1)]

        real = log._db.enqueue

        def full(unit: Any, done: Any) -> None:
            if not unit.statements:
                return real(unit, done)
            raise Unavailable("the disk is full", reason="STORE_IO")

        monkeypatch.setattr(log._db, "enqueue", full)
        log(attempt(outcome="error", error=ProviderError("not on the disk"), time=200))
        assert log.unwritten == 1
        assert [one.message for one in await log.find(count=2)] == ["not on the disk", "99"]
        assert await log.find(provider="other") == []


def test_a_histogram_counts_up_to_and_with_its_bounds() -> None:
    histogram = Histogram((1.0, 2.0))
    for number in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.add(number)
    assert histogram.buckets() == [("1", 2), ("2", 4), ("+Inf", 5)]
    assert histogram.total == 14.0


def test_names_are_bounded_whoever_asks_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_MODELS", 3)
    monkeypatch.setattr(tally, "MOST_PROVIDERS", 2)
    monkeypatch.setattr(tally, "MOST_REASONS", 2)
    counted = Tally()
    for index in range(20):
        counted(attempt(model=f"openai/m{index}"))
        counted(attempt(provider=f"p{index}", model=f"p{index}/m"))
        counted(attempt(outcome="error", error=ProviderError("x", reason=f"R{index}")))
    assert sum(counted.attempts().values()) == 60
    assert len({labels[:2] for labels in counted.attempts()}) <= 5
    assert len({labels[2] for labels in counted.failures()}) <= 3


async def test_prometheus_is_shown_what_happened(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        counted, metrics = Tally(), Metrics()
        measure_gateway(metrics, tally=counted, costs=costs, failures=FailureLog(costs._db))
        costs.on_saved.append(counted.saved)
        await costs.set_budget("project", "film", 2.0, "total")
        hold = await costs.hold("op", PENNY, asks(PENNY, 0.5), Payer("film"), account="")
        await costs.saved("op", PENNY, Payer("film"), 0.125, "exact")
        counted(attempt())
        counted(attempt(outcome="error", error=ProviderError("x", kind="limit"), paid=None, first=-1.0))
        text = metrics.render().decode()
        await hold.settle(Usage(cost_usd=0.25))
        after = metrics.render().decode()
    gpt = 'model="gpt-5",provider="openai"'
    for line in (
        'lightfast_ai_attempts_total{model="gpt-5",outcome="ok",provider="openai"} 1.0',
        'lightfast_ai_failures_total{model="gpt-5",provider="openai",reason="PROVIDER_LIMIT"} 1.0',
        'lightfast_ai_tokens_total{kind="cached",model="gpt-5",provider="openai"} 8.0',
        f"lightfast_ai_cost_usd_total{{{gpt}}} 0.25",
        'lightfast_ai_saved_usd_total{model="penny",provider="shop"} 0.125',
        f'lightfast_ai_seconds_bucket{{le="2.5",{gpt}}} 1.0',
        f"lightfast_ai_seconds_sum{{{gpt}}} 1.5",
        f"lightfast_ai_first_seconds_count{{{gpt}}} 1.0",
        "lightfast_ai_held_usd 0.5",
        'lightfast_budget_held_usd{name="film",period="total",scope="project"} 0.5',
    ):
        assert line in text, line
    assert 'lightfast_budget_spent_usd{name="film",period="total",scope="project"} 0.25' in after
    assert "lightfast_ai_held_usd 0.0" in after


async def test_a_purge_takes_failures_that_name_what_goes(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        log(attempt(outcome="error", error=ProviderError("the prompt 'violet zebra' is not allowed")))
        log(attempt(outcome="error", error=ProviderError("another")))
        await log.find()
        room = FailureRoom(log._db)  # type: ignore[arg-type]  # it is the database
        target = make_target(text="violet zebra")
        items = [item async for some in room.find(target) for item in some]
        assert await room.erase(items, "purge-1") == 1
        assert [one.message for one in await log.find()] == ["another"]
        assert await room.remaining(target) == []
