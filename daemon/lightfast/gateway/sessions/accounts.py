"""The accounts of one provider: found when they are first needed, looked for again when a key changes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import structlog

from lightfast.core.errors import Exhausted, FailedPrecondition, LightfastError
from lightfast.core.secret import Secret
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.lane import Lane, Need
from lightfast.gateway.limits.meter import Busy, Meter, Places
from lightfast.gateway.limits.rules import Amount, Rule, rules_for
from lightfast.gateway.ports import Load
from lightfast.gateway.sessions.account import Account, identity_of, session_of, shown_url
from lightfast.gateway.sessions.records import ProviderTable, SessionState
from lightfast.gateway.sessions.reservation import Place, is_bounded, need_of
from lightfast.gateway.sessions.rooms import SessionRooms
from lightfast.gateway.sessions.verdict import fits_nowhere, too_late, unusable
from lightfast.gateway.sessions.waiting import Held, Verdict, Waiter, Waiting
from lightfast.sdk import Provider, ProviderError, Session, Usage
from lightfast.security.secrets.finder import Found

log = structlog.get_logger("lightfast.gateway")

LOOK = 1.0
"""How often the files of keys are looked at while requests are made, in seconds."""
LOOK_DENIED = 5.0
"""How often a refused key is looked for again while somebody asks for it, in seconds."""
_SOON = 0.001
_BUSY = 1.0
"""How long a place is taken for where nothing was seen yet, in seconds."""


class Accounts:
    """Reserves places at the accounts of a provider, and keeps their keys fresh."""

    def __init__(self, provider: Provider, table: ProviderTable, rooms: SessionRooms) -> None:
        self.provider, self.table, self._rooms = provider, table, rooms
        self.name = provider.name
        self.all: list[Account] = []
        self.inflight = 0
        self.found: Found | None = None
        self.waiting = Waiting(self._attempt, self._late, rooms.clock.monotonic)
        self.pump = self.waiting.pump
        self._look_at = -math.inf
        self._looked = -math.inf
        self._looks = 0
        self._looking = asyncio.Lock()
        self._looks_again: asyncio.Task[None] | None = None
        self._meters: dict[tuple[str, str, str, float], Meter | Places] = {}
        self._tier_told = ""

    # ---- keys
    def stale(self, now: float) -> bool:
        """Say whether the keys are to be looked for before the next request."""
        if self.found is None:
            return True
        if now < self._look_at:
            return False
        self._look_at = now + LOOK
        if self.found.changed() or any(now >= account.expires_at for account in self.all):
            return True
        closed = not any(account.usable(now) for account in self.all)
        return closed and self._refused_key() and now - self._looked >= LOOK_DENIED

    def _refused_key(self) -> bool:
        return not self.all or any(account.state is SessionState.DENIED for account in self.all)

    def follow(self, provider: Provider, table: ProviderTable) -> None:
        """Take the provider of a plugin that was loaded anew, or other settings; the keys are looked for again."""
        if provider is not self.provider or table != self.table:
            self.provider, self.table, self.found = provider, table, None

    async def look(self, *, force: bool = False) -> None:
        """Look for the keys, once for all who ask at the same time."""
        looks = self._looks
        async with self._looking:
            if self._looks != looks and not force:
                return  # somebody else has looked meanwhile
            table, provider = self.table, self.provider
            found = Found()
            if provider.needs_key or table.keys or provider.key_names:
                found = await self._rooms.finder.find(
                    self.name, table.keys, provider.key_names, keyring=provider.needs_key
                )
            self._take(found, provider, table)
            self._looks += 1
            self._looked = self._rooms.clock.monotonic()
            self._look_at = self._looked + LOOK
        self.pump()

    def _take(self, found: Found, provider: Provider, table: ProviderTable) -> None:
        keys: list[tuple[str, Secret]] = []
        for each in found.keys:
            if any(each.secret == secret for _, secret in keys):  # one key is one account, wherever it lies
                log.warning("two references lead to the same key", provider=self.name, left_out=each.source)
            else:
                keys.append((each.source, each.secret))
        if not keys and not provider.needs_key and not table.keys:
            keys = [("", Secret(""))]
        places = [(source, key, url) for source, key in keys for url in table.base_urls or ("",)]
        before = {account.identity: account for account in self.all}
        accounts: list[Account] = []
        for source, key, url in places:
            name = "default" if len(places) == 1 else _name(source, url, many=len(table.base_urls) > 1)
            session = session_of(name, key, url, dict(table.options))
            account = before.get(identity_of(source, url))
            if account is None:
                account = Account(self.name, name, source, session, self._plan)
            else:
                account.renew(name, session)
                if self._rooms.clock.monotonic() >= account.expires_at:
                    account.reset()
            accounts.append(account)
        self.all, self.found = accounts, found

    def look_later(self) -> None:
        """Look for the keys again in the background."""
        if self._looks_again is None or self._looks_again.done():
            self._looks_again = self._rooms.tasks.start(self._look_safely(), f"keys of {self.name}")

    async def _look_safely(self) -> None:
        try:
            await self.look(force=True)
        except LightfastError as error:
            log.warning("the keys of a provider cannot be looked for", provider=self.name, why=error.message)
        finally:
            self._looks_again = None
            self.pump()

    # ---- limits
    def rules(self, account: Account | None, model: str) -> list[Rule]:
        """Return the limits that hold for a model (without its provider's name) at an account, known or not yet."""
        lane = account.lanes.get(model) if account is not None else None
        return rules_for(
            self.name,
            model,
            wanted=self.table.wanted,
            told=lane.told if lane is not None else account.told if account is not None else {},
            documented=self._documented(model),
            tier=self._tier(),
            local=self.provider.local and not self._is_remote(model),
        )

    def _is_remote(self, model: str) -> bool:
        found = self._rooms.model(f"{self.name}/{model}") if self.provider.local and model else None
        return found is not None and found.remote

    def _documented(self, model: str) -> tuple[Amount, ...]:
        found = self._rooms.model(f"{self.name}/{model}")
        return found.limits if found is not None else ()

    @property
    def tier(self) -> str:
        """The tier whose limits hold; empty: the provider knows none."""
        tiers = self.provider.tiers
        if self.table.tier in tiers or not tiers:
            return self.table.tier
        return next(iter(tiers))

    def _tier(self) -> tuple[Amount, ...]:
        if self.table.tier not in {"", self.tier, self._tier_told}:
            self._tier_told = self.table.tier
            known = ", ".join(self.provider.tiers)
            log.warning("no such tier: the lowest holds", provider=self.name, tier=self.table.tier, known=known)
        return tuple(self.provider.tiers.get(self.tier, ()))

    def _plan(self, account: Account, lane: Lane) -> None:
        """Give a lane its meters; what one takes over from another of the same kind and window is counted on."""
        now = self._rooms.clock.monotonic()
        before = {(meter.kind, meter.window): meter for meter in lane.meters}
        meters: list[Meter] = []
        own: list[Meter] = []
        places: list[Places] = []
        for rule in self.rules(account, lane.model):
            owner = {"provider": "", "account": account.identity, "family": account.identity}.get(
                rule.scope, f"{account.identity}#{lane.model}"
            )
            key = (rule.scope, owner, rule.kind, rule.window)
            known = self._meters.get(key)
            if rule.kind == "concurrency":
                if not isinstance(known, Places):
                    owners: dict[str, Busy] = {"provider": self, "model": lane}
                    busy = owners.get(rule.scope, account)
                    known = self._meters[key] = Places(busy, rule.number, rule.source)
                known.number, known.source = rule.number, rule.source
                places.append(known)
                continue
            if not isinstance(known, Meter):
                name = "|".join((self.name, *map(str, key)))
                known = Meter(rule.kind, rule.window, rule.number, key=name, source=rule.source)
                known = self._meters[key] = self._rooms.stored.keep(known)
                old = before.get((rule.kind, rule.window))
                if old is not None and not known.slots:
                    known.copy(old, now)
            known.number, known.source = rule.number, rule.source
            meters.append(known)
            if rule.scope == "model":
                own.append(known)
        lane.use(meters, places, own)

    def cost_of(self, record: ModelRecord, load: Load, usage: Usage) -> float | None:
        """Return what was used in US dollars; `None`: nobody knows."""
        seen = Load(
            usage.input_tokens, usage.output_tokens, usage.characters, output=load.output, settings=load.settings
        )
        return self._rooms.price(record, seen)

    # ---- reserving
    def need(self, record: ModelRecord, load: Load) -> Need:
        """Return what is reserved for a request."""
        spend = 0
        if any(account.lane(record.model.name).spends for account in self.all):
            spend = math.ceil((self._rooms.price(record, load) or 0.0) * 1e6)
        if is_bounded(record, load):
            return need_of(record, load, spend)
        return need_of(record, load, spend, [account.lane(record.model.name) for account in self.all])

    def open(self, now: float, account: str = "") -> Iterator[Account]:
        """Yield the accounts that can be used; those that do not answer only where no other is there."""
        able = [each for each in self.all if each.usable(now)]
        if account and any(each.name == account for each in self.all):
            able = [each for each in able if each.name == account]
        up = [each for each in able if each.state is not SessionState.DOWN]
        yield from up or able

    def at_once(
        self, record: ModelRecord, load: Load, need: Need, now: float, account: str = "", held: Held | None = None
    ) -> Place | None:
        """Return a place at the account that has one now and is least in use; `None` where none has."""
        best: Account | None = None
        model = record.model.name
        for each in self.open(now, account):
            if best is not None and (each.inflight, each.requests) >= (best.inflight, best.requests):
                continue
            lane = each.lane(model)
            if now < lane.closed_until or (held and lane.touches(held)):
                continue
            if lane.fits(now, need):
                best = each
        if best is None:
            return None
        return Place(self, best, best.lane(model), record, load, need, self._rooms.clock, now)

    async def wait(self, record: ModelRecord, load: Load, need: Need, deadline: float, account: str) -> Place:
        """Wait in turn; see `ports.Sessions.reserve`."""
        waiter = Waiter(record, load, need, deadline, account, asyncio.get_running_loop().create_future())
        self.waiting.join(waiter)
        try:
            self.pump()
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.future.result().release()  # it was given a place in the very moment
            raise
        finally:
            self.waiting.leave(waiter)

    def _attempt(self, waiter: Waiter, now: float, held: Held) -> Verdict:
        """Say what is about one who waits; see `Waiting`."""
        place = self.at_once(waiter.record, waiter.load, waiter.need, now, waiter.account, held)
        if place is not None:
            return Verdict(place=place)
        lanes = [each.lane(waiter.record.model.name) for each in self.open(now, waiter.account)]
        able = [lane for lane in lanes if now >= lane.closed_until]
        if not able:
            if self._looks_again is not None and not self._looks_again.done():
                return Verdict()  # a refused key is looked for again: its end lets everybody try anew
            return Verdict(error=unusable(self, now, lanes))
        possible = [lane for lane in able if lane.misfit(waiter.need) is None]
        if not possible:
            return Verdict(error=fits_nowhere(waiter.record, able, waiter.need))
        seconds = min(_again(lane, now, waiter.need) for lane in possible)
        if not self.inflight and not held and math.isfinite(seconds) and now + seconds > waiter.deadline:
            return Verdict(error=too_late(waiter, seconds, now))
        blockers: Held = set()
        for lane in possible:
            blockers |= lane.blockers(now, waiter.need)
        return Verdict(seconds=seconds, blockers=blockers)

    def _late(self, waiter: Waiter) -> LightfastError:
        now = self._rooms.clock.monotonic()
        return too_late(waiter, self.delay(waiter.record, waiter.load), now)

    def delay(self, record: ModelRecord, load: Load) -> float:
        """Return how long a request would wait, in seconds; infinite where it would be refused."""
        if self.found is None:
            return 0.0
        now = self._rooms.clock.monotonic()
        need = self.need(record, load)
        ahead = self.waiting.ahead(record.name) if self.waiting else []
        total = tuple(map(sum, zip(need, *(waiter.need for waiter in ahead), strict=True))) if ahead else need
        best = math.inf
        for account in self.open(now):
            lane = account.lane(record.model.name)
            if now < lane.closed_until or lane.misfit(need) is not None:
                continue
            seconds = lane.wait(now, need)
            for meter in lane.meters if ahead else ():
                seconds = max(seconds, total[meter.index] // max(1.0, meter.number) * meter.window)
            if lane.full():
                seconds = max(seconds, account.latency or _BUSY)
            best = min(best, seconds)
        return best

    def refused(self, account: Account, lane: Lane, error: ProviderError, begun: float) -> None:
        """Take in a refusal; a key that is refused may be another one by now, and is looked for again."""
        account.refused(lane, error, begun, self._rooms.clock.monotonic())
        if account.state is SessionState.DENIED:
            self.look_later()
        self.pump()

    async def session(self, account: str) -> Session:
        """Return a session for a call that no limit counts; see `ports.Sessions.any_session`."""
        now = self._rooms.clock.monotonic()
        if self.stale(now):
            await self.look()
        named = next((each for each in self.all if account and each.name == account), None)
        if named is not None:
            return named.session
        able = next(self.open(now), None)
        if able is None:
            raise unusable(self, now, [])
        return able.session

    def trouble(self) -> str:
        """Return why no account can be used; empty while that is not known."""
        now = self._rooms.clock.monotonic()
        if self.found is None or any(account.usable(now) for account in self.all):
            return ""
        if self.stale(now):
            self.look_later()
            return ""
        error: FailedPrecondition | Exhausted = unusable(self, now, [])
        return error.message

    def close(self, error: LightfastError) -> None:
        """Let go of everybody who waits."""
        self.waiting.close(error)


def _again(lane: Lane, now: float, need: Need) -> float:
    """Return in how many seconds a lane is worth another try; infinite where news comes first."""
    seconds = lane.wait(now, need)
    if seconds <= 0 and (lane.full() or lane.fits(now, need)):  # something under way ends, or who holds it goes
        return math.inf
    return max(seconds, _SOON)


def _name(source: str, url: str, *, many: bool) -> str:
    shown = shown_url(url).partition("://")[2].rstrip("/") or shown_url(url)
    return "@".join(part for part in (source, shown if many or not source else "") if part)
