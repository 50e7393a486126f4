"""One account with a provider: its key, how it stands, what it was used for."""

from __future__ import annotations

import math
from collections.abc import Callable
from urllib.parse import urlsplit

from lightfast.core.redaction import hide
from lightfast.core.secret import Secret
from lightfast.gateway.limits.lane import CLOSED_FOR, Lane
from lightfast.gateway.limits.meter import Meter, Places
from lightfast.gateway.limits.rules import KINDS
from lightfast.gateway.sessions.records import SessionState
from lightfast.sdk import Limit, Limits, ProviderError, Session

AGAIN = 300.0
"""After how many seconds an account that is used up is tried again, where the service does not say."""
DENIED_AGAIN = 60.0
"""After how many seconds a key that was refused is tried once more: a service may err, too."""
_SMOOTH = 0.2
_DOWN_AFTER = 3
_LONG = 3600.0

Plan = Callable[["Account", Lane], None]
"""Gives a lane its limits, which depend on the settings, the tier, the model and what the service said."""


class Account:
    """A key at a base URL. *identity* names it for good: where the key is from, and where it connects."""

    def __init__(self, provider: str, name: str, source: str, session: Session, plan: Plan) -> None:
        self.provider, self.name, self.source, self.session = provider, name, source, session
        self.identity = identity_of(source, session.base_url)
        self.state = SessionState.NEW
        self.reason = ""
        self.again_at = math.inf
        """When an account that is used up, or whose key was refused, may be tried again."""
        self.expires_at = math.inf
        self.balance: float | None = None
        self.balance_unit = ""
        self.requests = self.failures = self.inflight = 0
        self.latency = 0.0
        self.lanes: dict[str, Lane] = {}
        self.told: dict[tuple[str, float], float] = {}
        """What the service said of every model: numbers by kind and window."""
        self._plan = plan
        self._failed_in_a_row = 0

    def renew(self, name: str, session: Session) -> None:
        """Take another name, other options; with another key it is as new, but what was counted stays."""
        if session.key != self.session.key:
            self.reset()
            self.balance = None
            self.told.clear()
            for lane in self.lanes.values():
                lane.told.clear()
        self.name, self.session = name, session
        self.replan()

    def reset(self) -> None:
        """Forget what was wrong."""
        self.state, self.reason = SessionState.NEW, ""
        self.again_at = self.expires_at = math.inf
        self._failed_in_a_row = 0
        for lane in self.lanes.values():
            lane.reopen()

    def replan(self) -> None:
        """Give every lane its limits again."""
        for lane in self.lanes.values():
            self._plan(self, lane)

    def lane(self, model: str) -> Lane:
        """Return the lane of a model, made at its first use."""
        lane = self.lanes.get(model)
        if lane is None:
            lane = self.lanes[model] = Lane(model)
            lane.told |= self.told
            self._plan(self, lane)
        return lane

    def usable(self, now: float) -> bool:
        """Say whether requests may be made; one that is used up or denied is tried again when its time has come."""
        if self.state is SessionState.READY:
            return True
        if self.state in {SessionState.EXHAUSTED, SessionState.DENIED} and now >= self.again_at:
            self.reset()
        return self.state in {SessionState.NEW, SessionState.DOWN}

    # ---- what requests tell
    def succeeded(self, lane: Lane, duration: float) -> None:
        """Take in a request that went well; *duration* in seconds."""
        self.requests += 1
        self._failed_in_a_row = 0
        self.latency = duration if not self.latency else self.latency + _SMOOTH * (duration - self.latency)
        if self.state in {SessionState.NEW, SessionState.DOWN}:
            self.state, self.reason = SessionState.READY, ""
        lane.succeeded()

    def tell(self, lane: Lane, limits: Limits, now: float) -> None:
        """Take in what the service says of its limits and of the balance."""
        changed: set[Lane] = set()
        for limit in limits.limits:
            if limit.kind not in KINDS or limit.limit < 0 or (limit.kind != "concurrency" and limit.window <= 0):
                continue
            key = (limit.kind, 0.0 if limit.kind == "concurrency" else limit.window)
            lanes = [lane]
            if limit.kind == "concurrency":  # that is of the whole account
                self.told[key] = limit.limit
                lanes += self.lanes.values()
            for each in lanes:
                if each.told.get(key) != limit.limit:
                    each.told[key] = limit.limit
                    changed.add(each)
        for each in changed:
            self._plan(self, each)
        for limit in limits.limits:
            for meter in lane.own if limit.remaining >= 0 else ():
                if (meter.kind, meter.window) == (limit.kind, limit.window):
                    whole = limit.limit if limit.limit >= 0 else meter.number
                    scale = 1e6 if limit.kind == "spend" else 1.0
                    meter.told(now, (whole - limit.remaining) * scale, limit.reset_after)
        if limits.balance is not None:
            self.balance, self.balance_unit = limits.balance, limits.balance_unit
            if limits.balance <= 0:
                self.exhaust(f"its balance is used up ({limits.balance:g} {limits.balance_unit})".rstrip(), now + AGAIN)
            elif self.state is SessionState.EXHAUSTED:
                self.reset()

    def tell_all(self, limits: Limits, now: float) -> None:
        """Take in what the service says without speaking of a model."""
        self.told |= {(limit.kind, limit.window): limit.limit for limit in limits.limits if limit.limit >= 0}
        for lane in self.lanes.values() or (Lane("*"),):
            self.tell(lane, limits, now)

    def refused(self, lane: Lane, error: ProviderError, begun: float, now: float) -> None:
        """Take in a request of *begun* that failed; the account or the model is closed, narrowed or paused."""
        self.requests += 1
        self.failures += 1
        limits = error.limits if isinstance(error.limits, Limits) else None
        if limits is not None:
            self.tell(lane, limits, now)
        why = hide(str(error))
        match error.kind:
            case "auth":
                self.deny(f"the key from {self.shown_source} was refused: {why}", now)
            case "denied":
                lane.close(why, now + CLOSED_FOR)
            case "limit" if error.terminal and _is_of_model(limits):
                lane.close(why, now + _reset_of(error, limits), used_up=True)
            case "limit" if error.terminal:
                self.exhaust(why, now + _reset_of(error, limits))
            case "limit" if _is_concurrency(error, limits):
                lane.bound(_told_places(limits) or self.inflight - 1)
            case "limit" | "overloaded":
                lane.narrow(begun, now, error.retry_after)
            case "unavailable" | "timeout":
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= _DOWN_AFTER and self.state in {SessionState.NEW, SessionState.READY}:
                    self.state, self.reason = SessionState.DOWN, why
            case _:
                return

    def deny(self, why: str, now: float) -> None:
        """Close it for a while: its key was refused."""
        self.state, self.reason, self.again_at = SessionState.DENIED, why, now + DENIED_AGAIN

    def exhaust(self, why: str, again_at: float) -> None:
        """Close it until then: its balance or a long limit is used up."""
        self.state, self.reason, self.again_at = SessionState.EXHAUSTED, why, again_at

    @property
    def shown_source(self) -> str:
        """Where the key is from, for a person."""
        return self.source or "nowhere"


def identity_of(source: str, base_url: str) -> str:
    """Return what names an account for good: no part of it is secret."""
    return f"{source}@{shown_url(base_url)}" if base_url else source


def shown_url(url: str) -> str:
    """Return an address without a user and a password that it may hold."""
    parts = urlsplit(url)
    return url if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def session_of(name: str, key: Secret, base_url: str, options: dict[str, object]) -> Session:
    """Return what a provider gets to work with."""
    return Session(account=name, key=key, base_url=base_url, options=options)


def meters_of(account: Account) -> list[Meter | Places]:
    """Return all limits that some lane of *account* counts with, each once."""
    found: set[Meter | Places] = set()
    for lane in account.lanes.values():
        found.update(lane.meters)
        found.update(lane.places)
    return list(found)


def _is_concurrency(error: ProviderError, limits: Limits | None) -> bool:
    """Say whether too much is under way at once: then waiting for an end is right, and a pause is not."""
    told = limits.limits if limits is not None else ()
    full = any(limit.kind == "concurrency" and limit.remaining == 0 for limit in told)
    return full or "CONCURREN" in error.reason.upper()


def _is_of_model(limits: Limits | None) -> bool:
    """Say whether what is used up is the quota of a model, not the money of the account."""
    kinds = {limit.kind for limit in (limits.limits if limits is not None else ()) if limit.remaining == 0}
    return bool(kinds) and "spend" not in kinds


def _told_places(limits: Limits | None) -> float:
    told = [limit.limit for limit in (limits.limits if limits is not None else ()) if limit.kind == "concurrency"]
    return max([0.0, *told])


def _reset_of(error: ProviderError, limits: Limits | None) -> float:
    """Return in how many seconds an account that is used up may be tried again."""
    if error.retry_after >= 0:
        return error.retry_after
    used_up: list[Limit] = [limit for limit in (limits.limits if limits is not None else ()) if limit.remaining == 0]
    resets = [limit.reset_after for limit in used_up if limit.reset_after >= 0]
    return max(resets) if resets else (_LONG if any(limit.window >= _LONG for limit in used_up) else AGAIN)
