"""Asks a provider whether its accounts can be used: a cheap call with each."""

from __future__ import annotations

import asyncio

from lightfast.core.redaction import hide
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.limits.lane import Lane
from lightfast.gateway.sessions.account import Account
from lightfast.gateway.sessions.accounts import Accounts
from lightfast.gateway.sessions.records import SessionState
from lightfast.gateway.within import within
from lightfast.host.guard import failure_of
from lightfast.sdk import Condition, Limits, ProviderError

PATIENCE = 20.0
"""How long one account may take to answer, in seconds."""
AT_ONCE = 4
"""How many accounts are asked at the same time."""


async def check(accounts: Accounts, tasks: TaskGroup, now: float) -> None:
    """Look for the keys anew, and ask with each account; how it stands is in its state and reason afterwards."""
    await accounts.look(force=True)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(account: Account) -> None:
        async with turn:
            await _probe(accounts, account, now, tasks)

    asked = {tasks.start(one(account), f"check {account.identity}") for account in accounts.all}
    try:
        if asked:
            await asyncio.wait(asked)
    finally:
        for task in asked:
            task.cancel()
    accounts.pump()


async def _probe(accounts: Accounts, account: Account, now: float, tasks: TaskGroup) -> None:
    ask = accounts.provider.probe
    outcome = await within(tasks, PATIENCE, f"ask {accounts.name} as {account.identity}", ask, account.session)
    error, lane = outcome.error, Lane("*")
    account.reset()
    if error is None:
        found = outcome.value
        account.state = SessionState.READY
        if isinstance(found, Condition):
            if isinstance(found.limits, Limits):
                account.tell_all(found.limits, now)
            if found.expires_after > 0:
                account.expires_at = now + found.expires_after
            if account.state is SessionState.READY:
                account.reason = hide(found.message)
        return
    if isinstance(error, ProviderError) and error.kind in {"auth", "limit"}:
        account.refused(lane, error, now, now)
        if account.state is not SessionState.NEW:
            return
        account.state, account.reason = SessionState.READY, hide(str(error))  # it was heard, and told to wait
        return
    if isinstance(error, TimeoutError):
        account.state, account.reason = SessionState.DOWN, f"no answer within {PATIENCE:g} s"
        return
    denied = isinstance(error, ProviderError) and error.kind == "denied"
    if denied:
        account.deny(failure_of(error).reason, now)
    else:
        account.state, account.reason = SessionState.DOWN, failure_of(error).reason
