"""Budgets: what is held, what is refused, what is booked, over periods, names and settings."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.costs import FREE, PENNY, RIDDLE, TOKENS, asks, costs_in, load

from lightfast.core.clock import StillClock
from lightfast.core.errors import Exhausted, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from lightfast.gateway.cost.budgets import span
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.ports import Payer
from lightfast.sdk import Usage

FILM = Payer("film", "user:ann#1", "run-1")
DAY = 86_400.0


async def pay(costs: Costs, usd: float, payer: Payer = FILM, **fields: object) -> float:
    """Hold and settle one attempt that costs *usd*."""
    hold = await costs.hold("op", PENNY, asks(PENNY, usd), payer, account="default", **fields)  # type: ignore[arg-type]
    return (await hold.settle(Usage(cost_usd=usd))).cost_usd


async def shown(costs: Costs) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return what was spent and is held, by budget."""
    return {one.budget.key: (one.spent / 1e9, one.held / 1e9) for one in await costs.budgets()}


async def test_a_cent_is_never_exceeded_by_two_hundred_at_once(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await costs.set_budget("project", "film", 0.01, "total")
        under_way, most = 0, 0
        refused: set[tuple[str, str]] = set()

        async def one(index: int) -> float:
            nonlocal under_way, most
            payer = Payer("film", f"user:{index % 7}", "")
            try:
                hold = await costs.hold(f"op-{index}", PENNY, asks(PENNY, 0.001), payer, account="default")
            except Exhausted as error:
                refused.add((error.reason, error.metadata["name"]))
                return 0.0
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return (await hold.settle(Usage(requests=1), failed=index % 3 == 0)).cost_usd

        paid = await asyncio.gather(*(one(index) for index in range(200)))
        assert sum(round(usd * 1e9) for usd in paid) == 10_000_000
        assert most <= 10
        assert refused == {("BUDGET_EXCEEDED", "film")}
        assert (await shown(costs))["project", "film", "total"] == (0.01, 0.0)
        with pytest.raises(Exhausted, match=r"project:film may spend \(total\), 0 \$ are left \(0.01 \$ spent"):
            await pay(costs, 0.000000001)


async def test_every_budget_that_counts_must_have_room(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await costs.set_budget("all", "", 1.2, "day")
        await costs.set_budget("project", "*", 0.5, "day")
        await costs.set_budget("project", "film", 0.9, "day")
        await costs.set_budget("client", "user:ann", 0.7, "month")
        await costs.set_budget("run", "*", 0.6, "total")
        await pay(costs, 0.6)
        with pytest.raises(Exhausted, match=r"client:user:ann|run:run-1"):
            await pay(costs, 0.2)
        with pytest.raises(Exhausted, match="client:user:ann"):  # all her sessions count as one
            await pay(costs, 0.2, Payer("film", "user:ann#2", "run-2"))
        with pytest.raises(Exhausted, match="project:game"):  # one that has none of its own has that of *
            await pay(costs, 0.51, Payer("game", "user:bob", ""))
        with pytest.raises(Exhausted, match="that all may spend"):
            await pay(costs, 0.65, Payer("", "user:bob", ""))
        await pay(costs, 0.6, Payer("", "user:bob", ""))  # without a project none of a project counts
        state = await shown(costs)
        assert state["all", "", "day"] == (1.2, 0.0)
        assert state["project", "film", "day"] == (0.6, 0.0)
        assert state["project", "*", "day"] == (0.6, 0.0)  # the one that spent most


async def test_periods_begin_anew_at_midnight_utc_and_what_is_held_goes_along(tmp_path: Path) -> None:
    evening = int(datetime(2028, 2, 29, 23, 0, tzinfo=UTC).timestamp()) * 1_000_000_000
    clock = StillClock(evening)
    async with costs_in(tmp_path, clock) as costs:
        await costs.set_budget("all", "", 1.0, "day")
        await costs.set_budget("all", "", 1.5, "month")
        await pay(costs, 0.5)
        hold = await costs.hold("late", PENNY, asks(PENNY, 0.4), FILM, account="default")
        with pytest.raises(Exhausted, match="2028-03-01"):
            await pay(costs, 0.2)
        clock.advance(2 * 3600)  # it is March
        assert (await shown(costs))["all", "", "day"] == (0.0, 0.4)
        with pytest.raises(Exhausted):
            await pay(costs, 0.7)
        await hold.settle(Usage(cost_usd=0.3))
        state = await shown(costs)
        assert state["all", "", "day"] == state["all", "", "month"] == (0.3, 0.0)
        await pay(costs, 0.7)
        clock.advance(DAY)
        await pay(costs, 0.5)  # a new day, the same month: 1.5 are spent
        with pytest.raises(Exhausted, match="month"):
            await pay(costs, 0.01)
    async with costs_in(tmp_path, clock) as costs:
        assert (await shown(costs))["all", "", "month"] == (1.5, 0.0)


def test_months_are_those_of_the_calendar() -> None:
    def at(*when: int) -> int:
        return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[arg-type, misc]

    assert span("month", at(2027, 12, 31, 23, 59)) == (at(2027, 12, 1), at(2028, 1, 1))
    assert span("month", at(2028, 2, 29)) == (at(2028, 2, 1), at(2028, 3, 1))
    assert span("day", at(2028, 2, 29, 5)) == (at(2028, 2, 29), at(2028, 3, 1))


async def test_a_budget_counts_what_was_spent_and_held_before_it_was_set(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await pay(costs, 0.25)
        hold = await costs.hold("op-2", PENNY, asks(PENNY, 0.5), FILM, account="default")
        state = await costs.set_budget("project", "film", 1.0, "total")
        assert (state.spent, state.held) == (250_000_000, 500_000_000)
        with pytest.raises(Exhausted):
            await pay(costs, 0.26)
        await hold.release()
        await hold.release()
        assert await pay(costs, 0.26) == 0.26
        assert (await costs.set_budget("project", "film", 0.3, "total")).spent == 510_000_000  # below what was spent
        with pytest.raises(Exhausted, match=r"0 \$ are left"):
            await pay(costs, 0.000001)


async def test_a_budget_of_the_settings_gives_way_and_comes_back(tmp_path: Path) -> None:
    defaults = (("all", "", 0.1, "day"),)
    async with costs_in(tmp_path, StillClock(), defaults=defaults) as costs:
        with pytest.raises(Exhausted):
            await pay(costs, 0.2)
        with pytest.raises(NotFound, match="was set: there is none"):
            await costs.remove_budget("all", "", "day")
        await costs.set_budget("all", "", 0.5, "day")
        await pay(costs, 0.2)
    async with costs_in(tmp_path, StillClock(), defaults=defaults) as costs:
        assert [(one.budget.limit, one.budget.source) for one in await costs.budgets()] == [(500_000_000, "set")]
        await costs.remove_budget("all", "", "day")
        with pytest.raises(Exhausted, match=r"0\.2 \$ spent"):
            await pay(costs, 0.01)


@pytest.mark.parametrize(
    ("scope", "name", "usd", "period"),
    [
        ("team", "x", 1.0, "day"),
        ("all", "x", 1.0, "day"),
        ("project", "", 1.0, "day"),
        ("project", "film", -1.0, "day"),
        ("project", "film", float("nan"), "day"),
        ("project", "film", float("inf"), "day"),
        ("project", "film", 1.0, "week"),
        ("project", "a\nb", 1.0, "day"),
        ("project", "x" * 300, 1.0, "day"),
    ],
)
async def test_budgets_that_make_no_sense(tmp_path: Path, scope: str, name: str, usd: float, period: str) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        with pytest.raises(InvalidArgument):
            await costs.set_budget(scope, name, usd, period)


async def test_a_client_is_named_like_its_token_or_as_usage_shows_it(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        for name in ("eve", "client:eve"):  # the same budget
            await costs.set_budget("client", name, 0.1, "total")
            assert [key for key in await shown(costs) if key[0] == "client"] == [("client", "client:eve", "total")]
        with pytest.raises(Exhausted, match=r"that client:eve may spend.*'lightfast budget set client:eve USD"):
            await pay(costs, 0.2, Payer("", "client:eve#7", ""))
        await pay(costs, 0.2, Payer("", "local#1", ""))
        await costs.set_budget("client", "local", 0.1, "total")
        with pytest.raises(Exhausted, match="that client:local may spend"):
            await pay(costs, 0.2, Payer("", "local#2", ""))
        await costs.remove_budget("client", "eve", "total")
        await pay(costs, 0.2, Payer("", "client:eve#8", ""))


async def test_what_is_free_needs_no_budget_and_what_is_unknown_needs_consent(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await costs.set_budget("all", "", 0.0, "total")
        free = await costs.hold("op", FREE, costs.estimate(FREE, load(input_tokens=9)), FILM, account="")
        assert (await free.settle(Usage(9, 9))) == (await free.settle(Usage(1, 1)))
        unknown = costs.estimate(RIDDLE, load(input_tokens=9))
        assert unknown.most_usd is None
        with pytest.raises(FailedPrecondition, match=r"--yes-unpriced.*\[providers\.nobody\] prices") as refused:
            await costs.hold("op", RIDDLE, unknown, FILM, account="")
        assert refused.value.reason == "PRICE_UNKNOWN"
        with pytest.raises(Exhausted):  # consent is not a budget
            await costs.hold("op", RIDDLE, unknown, FILM, account="", consent=True)
        await costs.set_budget("all", "", 0.01, "total")
        hold = await costs.hold("op", RIDDLE, unknown, FILM, account="", consent=True)
        with pytest.raises(Exhausted):  # all that was left is held for what nobody can bound
            await pay(costs, 0.001)
        paid = await hold.settle(Usage(9, 9))
        assert (paid.cost_usd, paid.basis) == (0.0, "unknown")
        assert await pay(costs, 0.001) == 0.001


async def test_a_call_has_a_bound_of_its_own_over_all_its_attempts(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        hold = await costs.hold("op", PENNY, asks(PENNY, 0.006), FILM, account="", most_usd=0.01)
        await hold.settle(Usage(cost_usd=0.005), failed=True)
        with pytest.raises(Exhausted, match=r"0\.005 \$ are left"):
            await costs.hold("op", PENNY, asks(PENNY, 0.006), FILM, account="", most_usd=0.01)
        await costs.hold("op", PENNY, asks(PENNY, 0.005), FILM, account="", most_usd=0.01)
        await costs.hold("other", PENNY, asks(PENNY, 0.006), FILM, account="", most_usd=0.01)


async def test_what_is_paid_when_it_is_over(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await costs.set_budget("all", "", 1.0, "total")

        async def settle(usage: Usage, *, failed: bool = False, model: object = TOKENS) -> tuple[float, str]:
            estimate = costs.estimate(TOKENS, load(input_tokens=1000))
            hold = await costs.hold("op", TOKENS, estimate, FILM, account="")
            paid = await hold.settle(usage, failed=failed)
            return paid.cost_usd, paid.basis

        assert await settle(Usage(500, 100)) == (0.0009, "prices")
        assert await settle(Usage(500, 10), failed=True) == (0.00054, "prices")  # what broke off is paid, too
        assert await settle(Usage(500, 100, cost_usd=0.0007)) == (0.0007, "reported")
        assert await settle(Usage(), failed=True) == (0.0, "prices")
        assert await settle(Usage()) == (0.005, "unknown")  # it worked, and nobody knows for how much: the bound
        assert await settle(Usage(9000, 9000)) == (0.045, "prices")  # more than the bound is booked in full
        state = await shown(costs)
        assert state["all", "", "total"] == (0.05214, 0.0)


async def test_estimates_bound_the_answer(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        own = costs.estimate(TOKENS, load(input_tokens=1000))
        assert (own.likely_usd, own.most_usd, own.most_output_tokens) == (0.003, 0.005, 1000)
        short = costs.estimate(TOKENS, load(input_tokens=1000, most_output_tokens=100))
        assert (short.likely_usd, short.most_usd) == (0.0014, 0.0014)


async def test_a_disk_that_takes_nothing_loses_nothing(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await costs.set_budget("all", "", 0.01, "total")
        hold = await costs.hold("op", PENNY, asks(PENNY, 0.004), FILM, account="")
        db = costs._db
        real = db.enqueue

        def full(unit: object, done: object) -> None:
            raise Unavailable("the disk is full", reason="STORE_IO")

        db.enqueue = full  # type: ignore[method-assign]
        assert (await hold.settle(Usage(cost_usd=0.003))).cost_usd == 0.003
        with pytest.raises(Unavailable):  # nothing is sent that could not be written down
            await costs.hold("op", PENNY, asks(PENNY, 0.004), FILM, account="")
        db.enqueue = real  # type: ignore[method-assign]
        assert (await shown(costs))["all", "", "total"] == (0.003, 0.0)
        (found,) = await costs.usage()
        assert found.nano == 3_000_000
    async with costs_in(tmp_path, StillClock()) as costs:
        assert (await shown(costs))["all", "", "total"] == (0.003, 0.0)


async def test_what_is_on_its_way_to_the_disk_is_counted(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        hold = await costs.hold("op", PENNY, asks(PENNY, 0.01), FILM, account="")
        await costs.set_budget("run", "*", 0.01, "total")
        db = costs._db
        real, waiting = db.enqueue, []
        db.enqueue = lambda unit, done: waiting.append((unit, done))  # type: ignore[method-assign]
        settling = asyncio.ensure_future(hold.settle(Usage(cost_usd=0.006)))
        await asyncio.sleep(0)
        with pytest.raises(Exhausted, match=r"0\.006 \$ spent, 0 \$ held"):  # read while the booking is under way
            await costs.hold("op-2", PENNY, asks(PENNY, 0.005), FILM, account="")
        db.enqueue = real  # type: ignore[method-assign]
        for unit, done in waiting:
            real(unit, done)
        assert (await settling).cost_usd == 0.006
        assert await pay(costs, 0.004) == 0.004
        (purse,) = costs.purses()
        assert (purse.name, purse.spent, purse.held) == ("run-1", 10_000_000, 0)


NONSENSE = [
    Usage(cost_usd=float("nan")),
    Usage(cost_usd=float("inf")),
    Usage(cost_usd=-1.0),
    Usage(cost_usd=1e300),
    Usage(-5, 2**80, seconds=float("nan"), credits=-1.0),
    Usage("12", 1.5),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("usage", NONSENSE, ids=[str(index) for index in range(len(NONSENSE))])
async def test_what_cannot_be_is_not_booked(tmp_path: Path, usage: Usage) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        await costs.set_budget("all", "", 1.0, "total")
        hold = await costs.hold("op", TOKENS, asks(TOKENS, 0.25), FILM, account="")
        paid = await hold.settle(usage)
        assert 0 <= paid.cost_usd <= 0.25
        assert (await shown(costs))["all", "", "total"] == (paid.cost_usd, 0.0)
        (found,) = await costs.usage()
        assert (found.requests, found.nano) == (1, round(paid.cost_usd * 1e9))


async def test_a_bound_beyond_all_measure(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        hold = await costs.hold("op", TOKENS, asks(TOKENS, 1e200), FILM, account="")
        assert (await hold.settle(Usage(1, 1))).basis == "prices"
