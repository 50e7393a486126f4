"""What somebody is told who gets no place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightfast.core.errors import Exhausted, FailedPrecondition
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.lane import Lane, Need
from lightfast.gateway.limits.meter import Meter, Places
from lightfast.gateway.sessions.records import SessionState
from lightfast.gateway.sessions.waiting import Waiter

if TYPE_CHECKING:
    from lightfast.gateway.sessions.account import Account
    from lightfast.gateway.sessions.accounts import Accounts

_SPANS = {60.0: "a minute", 3600.0: "an hour", 86_400.0: "a day"}
_WORDS = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "tokens of the request",
    "output_tokens": "tokens of the answer",
    "concurrency": "at once",
    "spend": "millionths of a US dollar",
}
_KEYS = {"requests": "requests_per", "tokens": "tokens_per", "input_tokens": "input_tokens_per"}
_KEYS |= {"output_tokens": "output_tokens_per", "spend": "usd_per"}


def unusable(accounts: Accounts, now: float, lanes: Sequence[Lane]) -> FailedPrecondition | Exhausted:
    """Return why no account can be used: `NO_KEY`, `KEY_REFUSED`, `BALANCE_EMPTY`, `LIMIT_REACHED`, `MODEL_CLOSED`.

    *lanes* are those of the model at accounts that could be used, all of them closed.
    """
    name = accounts.name
    metadata = {"provider": name}
    if lanes:
        ended = [lane for lane in lanes if lane.used_up]
        if ended:
            first = min(ended, key=lambda lane: lane.closed_until)
            wait = max(0.0, first.closed_until - now)
            return Exhausted(
                f"{name}/{first.model} is used up: {first.why_closed}; it is tried again in {_span(wait)}",
                reason="LIMIT_REACHED",
                metadata={**metadata, "model": f"{name}/{first.model}"},
                retry_after=wait,
            )
        return FailedPrecondition(
            f"no account of {name} may use {lanes[0].model}: {lanes[0].why_closed}",
            reason="MODEL_CLOSED",
            metadata=metadata,
            retry_after=max(0.0, min(lane.closed_until for lane in lanes) - now),
        )
    if not accounts.all:
        problems = accounts.found.problems if accounts.found is not None else []
        why = f" ({'; '.join(problems)})" if problems else ""
        return FailedPrecondition(
            f"{name} has no key{why}: run 'lightfast key set {name}', or set [providers.{name}] keys",
            reason="NO_KEY",
            metadata=metadata,
        )
    used_up = [account for account in accounts.all if account.state is SessionState.EXHAUSTED]
    if used_up:
        return _used_up(name, min(used_up, key=lambda account: account.again_at), now)
    account = accounts.all[0]
    return FailedPrecondition(
        f"{name}: {account.reason}: put a good one there ('lightfast key set {name}'), then run 'lightfast providers"
        f" check {name}'",
        reason="KEY_REFUSED",
        metadata={**metadata, "account": account.name},
    )


def _used_up(name: str, account: Account, now: float) -> FailedPrecondition | Exhausted:
    wait = max(0.0, account.again_at - now)
    metadata = {"provider": name, "account": account.name}
    if account.balance is not None and account.balance <= 0:
        return FailedPrecondition(
            f"the account {account.name} of {name} is empty: {account.reason}; top it up, then run 'lightfast providers"
            f" check {name}'",
            reason="BALANCE_EMPTY",
            metadata=metadata,
            retry_after=wait,
        )
    return Exhausted(
        f"the account {account.name} of {name} is used up: {account.reason}; it is tried again in {_span(wait)}",
        reason="LIMIT_REACHED",
        metadata=metadata,
        retry_after=wait,
    )


def fits_nowhere(record: ModelRecord, lanes: Sequence[Lane], need: Need) -> Exhausted:
    """Return that what is asked for is more than a limit ever lets through (`LIMIT_REACHED`)."""
    found = [misfit for lane in lanes if (misfit := lane.misfit(need)) is not None]
    limit = max(found, key=lambda each: each.number)
    name = record.provider
    if isinstance(limit, Places):
        text = f"{record.name} lets nothing through: its limit of concurrency is {limit.number:g}"
        key = "concurrency"
    else:
        asked = need[limit.index]
        text = (
            f"{record.name} cannot take this: it needs up to {_number(asked, limit)}, and its limit is"
            f" {_number(limit.number, limit)} in {_span(limit.window)} ({limit.source})"
        )
        key = _key(limit)
    return Exhausted(
        f"{text}: ask for less, bound the answer, or set [providers.{name}] {key} where the account allows more",
        reason="LIMIT_REACHED",
        metadata={"model": record.name, "limit": limit.kind},
    )


def too_late(waiter: Waiter, seconds: float, now: float) -> Exhausted:
    """Return that no place is free before the deadline (`LIMIT_REACHED`)."""
    left = max(0.0, waiter.deadline - now)
    when = f"in {_span(seconds)} at the earliest" if math.isfinite(seconds) and seconds > 0 else "not known when"
    return Exhausted(
        f"the limits of {waiter.record.name} are reached: there is a place {when}, and the request has {_span(left)}"
        " left: try again later, allow another model, or raise the limits in"
        f" [providers.{waiter.record.provider}] where the account allows more",
        reason="LIMIT_REACHED",
        metadata={"model": waiter.record.name},
        retry_after=seconds if math.isfinite(seconds) else None,
    )


def _number(amount: float, limit: Meter) -> str:
    return f"{amount / 1e6:g} US dollars" if limit.kind == "spend" else f"{amount:g} {_WORDS[limit.kind]}"


def _key(limit: Meter) -> str:
    return f"{_KEYS[limit.kind]}_{'day' if limit.window >= 86_400 else 'minute'}"


def _span(seconds: float) -> str:
    return _SPANS.get(seconds, f"{seconds:.1f} s")
