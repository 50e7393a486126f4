"""Budgets against an oracle: holds and bookings in any order and at once, over midnights, changes and crashes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.costs import PENNY, asks, costs_in

from lightfast.core.clock import StillClock
from lightfast.core.errors import Exhausted
from lightfast.gateway.cost.budgets import PERIODS, span
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.cost.holds import HoldMade
from lightfast.gateway.ports import Payer
from lightfast.sdk import Usage

CENT = 10_000_000
PICK = st.integers(0, 99)
"""Which of those that are there. Who of several gets the last cent is chance, and nothing that is drawn may be."""
AMOUNTS = st.integers(1, 3 * CENT)
PAYERS = st.builds(
    Payer,
    st.sampled_from(["", "film", "game"]),
    st.sampled_from(["client:ann#1", "client:ann#2", "local"]),
    st.sampled_from(["", "r1"]),
)
BUDGETS = st.tuples(
    st.sampled_from(
        [
            ("all", ""),
            ("project", "film"),
            ("project", "*"),
            ("client", "client:ann"),
            ("client", "*"),
            ("run", "r1"),
            ("run", "*"),
        ]
    ),
    st.sampled_from(PERIODS),
    st.integers(0, 10 * CENT),
)


def named(payer: Payer, scope: str) -> str:
    return {"project": payer.project, "client": payer.client.partition("#")[0], "run": payer.run, "all": ""}[scope]


class Machine(RuleBasedStateMachine):
    """The costs beside a plain list of everything that ever happened."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = StillClock()
        self.limits: dict[tuple[str, str, str], int] = {}
        self.excused: set[tuple[str, str, str]] = set()
        self.booked: list[tuple[int, Payer, int]] = []
        self.held: dict[str, tuple[HoldMade, Payer, int]] = {}
        self.saved = 0
        self.count = 0
        self.run(self.enter())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    async def enter(self) -> None:
        self.stack = AsyncExitStack()
        self.costs: Costs = await self.stack.enter_async_context(costs_in(self.folder, self.clock))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
            self.loop.close()
            shutil.rmtree(self.folder)

    # ---- the oracle
    def wanted(self, payer: Payer) -> list[tuple[tuple[str, str, str], str]]:
        """Return the budgets that count a payer, each with the name it counts for."""
        found = []
        for scope in ("all", "project", "client", "run"):
            name = named(payer, scope)
            if scope != "all" and not name:
                continue
            for period in PERIODS:
                key = (scope, name, period) if (scope, name, period) in self.limits else (scope, "*", period)
                if key in self.limits:
                    found.append((key, name))
        return found

    def spent(self, key: tuple[str, str, str], name: str) -> int:
        start = span(key[2], self.clock.now_ns())[0]
        return sum(amount for time, payer, amount in self.booked if time >= start and named(payer, key[0]) == name)

    def holding(self, key: tuple[str, str, str], name: str) -> int:
        return sum(amount for _, payer, amount in self.held.values() if named(payer, key[0]) == name)

    def left(self, payer: Payer) -> int:
        return min(
            (self.limits[key] - self.spent(key, name) - self.holding(key, name) for key, name in self.wanted(payer)),
            default=1 << 62,
        )

    # ---- what happens
    @rule(budget=BUDGETS)
    def set_budget(self, budget: tuple[tuple[str, str], str, int]) -> None:
        (scope, name), period, limit = budget
        self.run(self.costs.set_budget(scope, name, limit / 1e9, period))
        self.limits[scope, name, period] = limit
        self.excused.add((scope, name, period))  # it may lie below what was spent already
        self.excused |= {key for key in self.limits if key[0] == scope and key[2] == period and key[1] == "*"}

    @rule(pick=PICK)
    def remove_budget(self, pick: int) -> None:
        if not self.limits:
            return
        key = sorted(self.limits)[pick % len(self.limits)]
        self.run(self.costs.remove_budget(*key))
        del self.limits[key]
        self.excused |= {other for other in self.limits if other[0] == key[0] and other[2] == key[2]}

    @rule(asked=st.lists(st.tuples(PAYERS, AMOUNTS), min_size=1, max_size=6))
    def hold(self, asked: list[tuple[Payer, int]]) -> None:
        async def one(payer: Payer, amount: int) -> HoldMade | None:
            self.count += 1
            try:
                return await self.costs.hold(
                    f"op-{self.count}", PENNY, asks(PENNY, amount / 1e9), payer, account="default"
                )
            except Exhausted:
                return None

        async def all_at_once() -> list[HoldMade | None]:
            return await asyncio.gather(*(one(*each) for each in asked))

        made = self.run(all_at_once())
        if len(asked) == 1:
            payer, amount = asked[0]
            assert (made[0] is not None) == (amount <= self.left(payer))
        for (payer, amount), hold in zip(asked, made, strict=True):
            if hold is not None:
                assert hold.amount == amount
                self.held[hold.hold_id] = (hold, payer, amount)

    @rule(
        picks=st.lists(PICK, min_size=1, max_size=4),
        part=st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.0, 1.5]),
        failed=st.booleans(),
    )
    def settle(self, picks: list[int], part: float, failed: bool) -> None:
        held = list(self.held)
        chosen = list(dict.fromkeys(held[pick % len(held)] for pick in picks)) if held else []

        async def all_at_once() -> None:
            await asyncio.gather(
                *(
                    self.held[hold_id][0].settle(Usage(cost_usd=int(self.held[hold_id][2] * part) / 1e9), failed=failed)
                    for hold_id in chosen
                )
            )

        self.run(all_at_once())
        for hold_id in chosen:
            _, payer, amount = self.held.pop(hold_id)
            self.booked.append((self.clock.now_ns(), payer, int(amount * part)))
            if part > 1:
                self.excused |= {key for key, _ in self.wanted(payer)}

    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        if self.held:
            hold, _, _ = self.held.pop(list(self.held)[pick % len(self.held)])
            self.run(hold.release())

    @rule(amount=AMOUNTS, payer=PAYERS)
    def save(self, amount: int, payer: Payer) -> None:
        self.run(self.costs.saved("op", PENNY, payer, amount / 1e9, "exact"))
        self.saved += amount

    @rule(hours=st.sampled_from([1, 7, 24, 24 * 31]))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours * 3600.0)

    @rule(take_up=st.booleans())
    def crash(self, take_up: bool) -> None:
        """The daemon is gone with all it has in memory, and another one starts."""
        for hold, _, _ in self.held.values():
            hold.keep()  # those that no budget counts are written a moment later
        self.run(self.stack.aclose())
        self.run(self.enter())
        left, self.held = self.held, {}
        for old, payer, amount in left.values():
            if take_up:
                hold = self.run(self.costs.taken_up(old.operation_id))
                assert (hold.amount, hold.hold_id) == (amount, old.hold_id)
                self.held[hold.hold_id] = (hold, payer, amount)
            else:
                assert self.run(self.costs.abandon(old.operation_id)) == 1
                self.booked.append((self.clock.now_ns(), payer, amount))
        assert self.run(self.costs.abandon()) == 0

    @invariant()
    def it_is_as_the_list_says(self) -> None:
        if not hasattr(self, "costs"):
            return
        states = {state.budget.key: state for state in self.run(self.costs.budgets())}
        assert {key: state.budget.limit for key, state in states.items()} == self.limits
        for key, state in states.items():
            if key[1] != "*":
                assert (state.spent, state.held) == (self.spent(key, key[1]), self.holding(key, key[1])), key
                if key not in self.excused:
                    assert state.spent + state.held <= state.budget.limit
        found = self.run(self.costs.usage())
        total = found[0] if found else None
        assert (total.nano if total else 0) == sum(amount for _, _, amount in self.booked)
        assert (total.saved if total else 0) == self.saved
        assert (total.requests if total else 0) == len(self.booked)
        by_run = self.run(self.costs.usage(["run", "project"]))
        assert sum(one.nano for one in by_run) == sum(amount for _, _, amount in self.booked)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
