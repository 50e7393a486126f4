"""A place within the limits of one account, for one attempt."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lightfast.core.clock import Clock
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.lane import SPEND, Lane, Need
from lightfast.gateway.limits.meter import Meter, Slot
from lightfast.gateway.limits.rules import KINDS
from lightfast.gateway.ports import Load
from lightfast.sdk import Limits, ProviderError, Session, Usage

if TYPE_CHECKING:
    from lightfast.gateway.sessions.account import Account
    from lightfast.gateway.sessions.accounts import Accounts

DEFAULT_OUTPUT = 4096
"""The most tokens of an answer that are reserved where the caller does not bound it."""
_TOKENS, _OUTPUT = KINDS.index("tokens"), KINDS.index("output_tokens")


def is_bounded(record: ModelRecord, load: Load) -> bool:
    """Say whether the caller bounds the answer; what the model can do at all is no bound."""
    longest = record.model.max_output_tokens
    return load.output not in {"", "text"} or (
        load.most_output_tokens > 0 and not 0 < longest <= load.most_output_tokens
    )


def need_of(record: ModelRecord, load: Load, spend: int = 0, lanes: Iterable[Lane] = ()) -> Need:
    """Return the upper estimate that is reserved: one request, the tokens of the question and of the answer at most.

    An answer that the caller does not bound is taken to have at most `DEFAULT_OUTPUT` tokens, and no more than the
    limits of one of *lanes* leave it: else every request of a model with long answers would fill a whole window, or be
    too large for it. *spend* in millionths of a dollar.
    """
    asked, output = load.input_tokens, load.most_output_tokens
    if not is_bounded(record, load):
        output = min(record.model.max_output_tokens or DEFAULT_OUTPUT, DEFAULT_OUTPUT)
        room = max((_room(lane, asked) for lane in lanes), default=math.inf)
        output = output if room >= output else max(1, int(room))
    return (1, asked + output, asked, output, 1, spend)


def _room(lane: Lane, asked: int) -> float:
    """Return how many tokens of an answer the limits of a lane leave at most beside a question of *asked*."""
    rooms = [
        meter.number - (asked if meter.index == _TOKENS else 0)
        for meter in lane.meters
        if meter.index in {_TOKENS, _OUTPUT}
    ]
    return min(rooms, default=math.inf)


class Place:
    """Implements `ports.Reservation`: after the first of `settle` and `release` the other does nothing."""

    __slots__ = (*("_account", "_accounts", "_charges", "_clock", "_lane", "_need"), *("_open", "_record"), "_load",
                 "_refused", "begun", "session")  # fmt: skip

    def __init__(
        self,
        accounts: Accounts,
        account: Account,
        lane: Lane,
        record: ModelRecord,
        load: Load,
        need: Need,
        clock: Clock,
        now: float,
    ) -> None:
        self._accounts, self._account, self._lane = accounts, account, lane
        self._record, self._load, self._need, self._clock = record, load, need, clock
        self._refused = False
        self._open = True
        self.begun = now
        self.session: Session = account.session
        lane.inflight += 1
        account.inflight += 1
        accounts.inflight += 1
        self._charges = [(meter, meter.take(now, need[meter.index])) for meter in lane.meters]

    def uncovered(self) -> tuple[tuple[Meter, Slot], ...]:
        """Return what the disk does not hold yet and must, before a request is sent."""
        return tuple(
            (meter, slot)
            for meter, slot in self._charges
            if meter.changed is not None and slot.amount > slot.written and slot.alive
        )

    def tell(self, limits: Limits) -> None:
        """Take in what the service said about its limits."""
        self._account.tell(self._lane, limits, self._clock.monotonic())
        self._accounts.pump()

    def refused(self, error: ProviderError) -> None:
        """Take in that the service refused."""
        self._refused = True
        self._accounts.refused(self._account, self._lane, error, self.begun)

    def settle(self, usage: Usage, duration: float) -> None:
        """Count what was used, and give the rest back; tokens that the service does not report stay as reserved."""
        if not self._open:
            return
        used = self._used(usage)
        if not self._refused:
            self._account.succeeded(self._lane, duration)
        self._end(used)

    def release(self) -> None:
        """Give everything back; a request that was refused has counted at the service all the same."""
        self._end((1 if self._refused else 0, 0, 0, 0, 0, 0))

    def _used(self, usage: Usage) -> Need:
        need = self._need
        tokens = usage.input_tokens + usage.output_tokens
        spend = need[SPEND]
        if self._lane.spends:
            cost = usage.cost_usd
            if cost is None and (tokens or usage.characters or usage.seconds or usage.images or usage.credits):
                cost = self._accounts.cost_of(self._record, self._load, usage)
            spend = spend if cost is None else math.ceil(cost * 1e6)
        if not tokens:
            return (1, *need[1:SPEND], spend)
        return (1, tokens, usage.input_tokens, usage.output_tokens, 1, spend)

    def _end(self, used: Need) -> None:
        if not self._open:
            return
        self._open = False
        for meter, slot in self._charges:
            back = self._need[meter.index] - used[meter.index]
            if back:
                meter.give(slot, back)
        self._lane.inflight -= 1
        self._account.inflight -= 1
        self._accounts.inflight -= 1
        self._accounts.pump()
