"""The book of sessions: implements `ports.Sessions`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from lightfast.core.clock import Clock
from lightfast.core.errors import NotFound, Unavailable
from lightfast.core.redaction import hide
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.rules import Rule
from lightfast.gateway.limits.stored import Rows, Stored
from lightfast.gateway.ports import Load
from lightfast.gateway.sessions.account import Account, meters_of, shown_url
from lightfast.gateway.sessions.accounts import Accounts
from lightfast.gateway.sessions.check import check
from lightfast.gateway.sessions.records import LimitRecord, ProviderTable, SessionRecord, SessionState
from lightfast.gateway.sessions.reservation import Place
from lightfast.gateway.sessions.rooms import Price, SessionRooms
from lightfast.sdk import Model, Provider, Session
from lightfast.security.secrets.finder import KeyFinder


class SessionBook:
    """The accounts with all providers. A provider's keys are looked for when it is first used, not before.

    *provider* returns a provider by its name (`None`: there is none), *model* a model by `provider/model`; *price* is
    asked only where a limit in US dollars is set.
    """

    def __init__(
        self,
        finder: KeyFinder,
        clock: Clock,
        tasks: TaskGroup,
        db: Rows | None = None,
        *,
        provider: Callable[[str], Provider | None],
        model: Callable[[str], Model | None] = lambda _: None,
        price: Price = lambda _record, _load: None,
        tables: Mapping[str, ProviderTable] | None = None,
    ) -> None:
        self._rooms = SessionRooms(clock, tasks, finder, Stored(db, clock, tasks), price, model)
        self._provider = provider
        self._tables = dict(tables or {})
        self._books: dict[str, Accounts] = {}
        self._monotonic = clock.monotonic
        self._closed = False

    async def start(self) -> None:
        """Read the counters of long windows; nothing is counted before."""
        await self._rooms.stored.start()

    async def close(self) -> None:
        """Let go of who waits, and write the counters."""
        self._closed = True
        error = Unavailable("the daemon is stopping", reason="STOPPING")
        for accounts in self._books.values():
            accounts.close(error)
        await self._rooms.stored.close()
        await self._rooms.finder.close()

    def follow(self, tables: Mapping[str, ProviderTable]) -> None:
        """Take other settings; what was counted stays."""
        self._tables = dict(tables)
        for name in list(self._books):
            if self._provider(name) is not None:
                self._accounts(name)

    def pump(self) -> None:
        """Let go who may go now; timers and the end of others do so by themselves."""
        for accounts in self._books.values():
            accounts.pump()

    def _accounts(self, name: str) -> Accounts:
        found = self._provider(name)
        if found is None:
            raise NotFound(
                f"there is no provider {name!r:.80}: see 'lightfast providers'",
                reason="PROVIDER_NOT_FOUND",
                field="provider",
            )
        accounts = self._books.get(name)
        table = self._tables.get(name, _PLAIN)
        if accounts is None:
            accounts = self._books[name] = Accounts(found, table, self._rooms)
        elif accounts.provider is not found or accounts.table is not table:
            accounts.follow(found, table)
        return accounts

    # ---- ports.Sessions
    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Place:
        """Wait for a place at the account that has one first; see `ports.Sessions.reserve`."""
        accounts = self._accounts(record.provider)
        now = self._monotonic()
        if accounts.stale(now):
            await accounts.look()
            now = self._monotonic()
        need = accounts.need(record, load)
        place = None if accounts.waiting else accounts.at_once(record, load, need, now, account)
        if place is None:
            if self._closed:
                raise Unavailable("the daemon is stopping", reason="STOPPING")
            place = await accounts.wait(record, load, need, deadline, account)
        if (uncovered := place.uncovered()) and not self._closed:
            try:
                for meter, slot in uncovered:
                    await self._rooms.stored.cover(meter, slot)
            except BaseException:
                place.release()
                raise
        return place

    def delay(self, record: ModelRecord, load: Load) -> float:
        """Return how long `reserve` would wait, in seconds; infinite where it would refuse."""
        accounts = self._books.get(record.provider)
        return accounts.delay(record, load) if accounts is not None else 0.0

    async def any_session(self, provider: str, account: str = "") -> Session:
        """Return a session for a call that no limit counts; see `ports.Sessions.any_session`."""
        return await self._accounts(provider).session(account)

    def trouble(self, provider: str) -> str:
        """Return why no account of *provider* can be used; empty when one can, or while that is not known."""
        if provider not in self._books or self._provider(provider) is None:
            return ""
        return self._accounts(provider).trouble()

    # ---- shown
    async def check(self, provider: str) -> list[SessionRecord]:
        """Look for the keys of *provider* anew, ask the service with each account; return how they stand."""
        accounts = self._accounts(provider)
        await check(accounts, self._rooms.tasks, self._monotonic())
        return self._records(accounts)

    def records(self, names: list[str]) -> list[SessionRecord]:
        """Return the sessions of the providers *names*, by provider and account. Raises `NotFound`."""
        return [record for name in sorted(names) for record in self._records(self._accounts(name))]

    def _records(self, accounts: Accounts) -> list[SessionRecord]:
        if accounts.found is None:
            return [self._unknown(accounts, SessionState.NEW, "")]
        if not accounts.all:
            return [self._unknown(accounts, SessionState.NO_KEY, accounts.trouble())]
        now = self._monotonic()
        return [
            self._record(accounts, account, now) for account in sorted(accounts.all, key=lambda account: account.name)
        ]

    def _unknown(self, accounts: Accounts, state: SessionState, reason: str) -> SessionRecord:
        limits = _limits(None, accounts.rules(None, ""), 0.0)
        return SessionRecord(accounts.name, "default", state, reason, tier=accounts.tier, limits=limits)

    def _record(self, accounts: Accounts, account: Account, now: float) -> SessionRecord:
        account.usable(now)  # one whose time has come is new again
        again = min(account.expires_at, account.again_at)
        wall = self._rooms.clock.now_ns() + round((again - now) * 1e9) if math.isfinite(again) else 0
        return SessionRecord(
            provider=accounts.name,
            account=account.name,
            state=account.state,
            reason=hide(account.reason),
            key_source=account.source,
            base_url=shown_url(account.session.base_url),
            tier=accounts.tier,
            limits=_limits(account, accounts.rules(account, ""), now),
            expire_time=wall,
            balance=account.balance,
            balance_unit=account.balance_unit,
            requests=account.requests,
            failures=account.failures,
            latency=account.latency,
        )


_PLAIN = ProviderTable()


def _limits(account: Account | None, rules: list[Rule], now: float) -> tuple[LimitRecord, ...]:
    """Return for each kind and window the limit of which least is left; of one that was not used yet what holds."""
    found: dict[tuple[str, float], LimitRecord] = {}
    for rule in rules:
        found[rule.kind, rule.window] = LimitRecord(
            rule.kind, rule.window, _shown(rule.kind, rule.number), _shown(rule.kind, rule.number), rule.source
        )
    seen: set[tuple[str, float]] = set()
    for meter in meters_of(account) if account is not None else ():
        if not math.isfinite(meter.number):
            continue
        key = (meter.kind, meter.window)
        left = max(0.0, meter.number - meter.used(now))
        record = LimitRecord(
            meter.kind, meter.window, _shown(meter.kind, meter.number), _shown(meter.kind, left), meter.source
        )
        if key not in seen or record.remaining < found[key].remaining:
            found[key] = record
        seen.add(key)
    return tuple(found[key] for key in sorted(found))


def _shown(kind: str, number: float) -> float:
    return number / 1e6 if kind == "spend" else number
