"""Budgets: what may be spent, what was, and what is held. All of it in memory and without waiting.

A budget is of a scope (`all`, `project`, `client`, `run`) and a name, over a period: a `day` or a `month` of the
calendar in UTC, or `total`. The name `*` gives each project (client, run) that has no budget of its own for that period
one of its own. Who names no project or run is counted by none of those. What is held counts in the period that it is
held in, also when that began before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lightfast.core.errors import InvalidArgument
from lightfast.gateway.cost.money import MOST_USD, nano
from lightfast.gateway.ports import Payer

SCOPES = ("all", "project", "client", "run")
PERIODS = ("day", "month", "total")
DAY_NS = 86_400 * 1_000_000_000
MOST_PURSES = 10_000
"""How many counters are kept in memory; those of which nothing is held are let go first, and read again."""
MOST_NAME = 200
FOREVER = 1 << 63

Key = tuple[str, str, str]
"""Scope, name and period."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent, in nano-dollars; *source* is `set` or `settings`."""

    scope: str
    name: str
    period: str
    limit: int
    source: str = "set"

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.scope, self.name, self.period

    @property
    def title(self) -> str:
        """How it is called in a message, as it is typed on the command line."""
        return called(self.scope, self.name)


_CLIENT = "client:"
"""What origins of clients with a token begin with."""


def budget(scope: str, name: str, limit_usd: float, period: str, source: str = "set") -> Budget:
    """Check and make a budget; raise `InvalidArgument`."""
    scope, name, period = check_key(scope, name, period)
    if not 0 <= limit_usd <= MOST_USD:
        raise InvalidArgument(
            f"a budget of {limit_usd!r} US dollars: use a number from 0 to {MOST_USD:.0f}", field="budget.limit_usd"
        )
    return Budget(scope, name, period, nano(limit_usd), source)


def check_key(scope: str, name: str, period: str) -> Key:
    """Check what a budget is known by; an empty period is `total`. Raises `InvalidArgument`."""
    if scope not in SCOPES:
        raise InvalidArgument(f"{scope!r:.60} has no budget: use one of {', '.join(SCOPES)}", field="budget.scope")
    if period not in (*PERIODS, ""):
        raise InvalidArgument(
            f"a budget is over one of {', '.join(PERIODS)}, not {period!r:.60}", field="budget.period"
        )
    if (scope == "all") == bool(name):
        wanted = "no name" if scope == "all" else f"the name of the {scope}, or * for each that has none of its own"
        raise InvalidArgument(f"a budget of scope {scope} takes {wanted}", field="budget.name")
    if len(name) > MOST_NAME or not name.isprintable():
        raise InvalidArgument(f"{name!r:.60} is no name: at most {MOST_NAME} printable characters", field="budget.name")
    return scope, _origin_of(name) if scope == "client" else name, period or "total"


def called(scope: str, name: str) -> str:
    """Return how a budget is called, as it is typed on the command line."""
    if scope == "client" and name.startswith(_CLIENT):
        return name
    return f"{scope}:{name}" if name else scope


def _origin_of(name: str) -> str:
    """Return the origin of a client that is given by the name of its token; `local` is whoever comes without one."""
    return name if name in {"*", "local"} or ":" in name else _CLIENT + name


def client_of(origin: str) -> str:
    """Return the client of an origin: it is the same in all its sessions."""
    return origin.partition("#")[0]


def span(period: str, now_ns: int) -> tuple[int, int]:
    """Return when the period of a time begins and ends, in ns since 1970."""
    if period == "day":
        start = now_ns // DAY_NS * DAY_NS
        return start, start + DAY_NS
    if period == "month":
        first = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        following = (first + timedelta(days=32)).replace(day=1)
        return int(first.timestamp()) * 1_000_000_000, int(following.timestamp()) * 1_000_000_000
    return 0, FOREVER


@dataclass(slots=True)
class Purse:
    """What one budget counts for one name, in nano-dollars, from *start* to *end*."""

    budget: Budget
    name: str
    start: int
    end: int
    spent: int = 0
    held: int = 0

    @property
    def left(self) -> int:
        """What may still be held; below 0 where more was spent than held."""
        return self.budget.limit - self.spent - self.held

    @property
    def key(self) -> Key:
        """Scope, the name that is counted, and period."""
        return self.budget.scope, self.name, self.budget.period

    def roll(self, now_ns: int) -> None:
        """Begin the period anew where the last one is over."""
        if now_ns >= self.end:
            self.start, self.end = span(self.budget.period, now_ns)
            self.spent = 0


def name_of(payer: Payer, scope: str) -> str:
    """Return what *payer* is called in a scope."""
    return {"project": payer.project, "client": payer.client, "run": payer.run}.get(scope, "")


class BudgetBook:
    """The budgets, and the purses that are loaded."""

    def __init__(self, defaults: Iterable[Budget] = ()) -> None:
        self._defaults = {one.key: one for one in defaults}
        self._budgets: dict[Key, Budget] = dict(self._defaults)
        self._purses: dict[Key, Purse] = {}

    def __iter__(self) -> Iterator[Budget]:
        return iter(sorted(self._budgets.values(), key=lambda one: (SCOPES.index(one.scope), one.name, one.period)))

    def put(self, made: Budget) -> None:
        """Add or change a budget; purses that it counts from now on are loaded when they are needed."""
        self._budgets[made.key] = made
        for key, purse in list(self._purses.items()):
            if self._budget_for(*key) is not purse.budget:
                self._rebind(key, purse)

    def remove(self, key: Key) -> bool:
        """Let a budget go; one of the settings is there again. Says whether there was one."""
        found = self._budgets.pop(key, None)
        if key in self._defaults:
            self._budgets[key] = self._defaults[key]
        for name, purse in list(self._purses.items()):
            if purse.budget is found:
                self._rebind(name, purse)
        return found is not None and found.source != "settings"

    def get(self, key: Key) -> Budget | None:
        """Return a budget by what it is known by."""
        return self._budgets.get(key)

    def _rebind(self, key: Key, purse: Purse) -> None:
        fitting = self._budget_for(*key)
        if fitting is None:
            del self._purses[key]
        else:
            purse.budget = fitting

    def _budget_for(self, scope: str, name: str, period: str) -> Budget | None:
        return self._budgets.get((scope, name, period)) or self._budgets.get((scope, "*", period))

    def keys(self, payer: Payer) -> list[Key]:
        """Return the purses that count what *payer* pays, loaded or not."""
        if not self._budgets:
            return []
        found: list[Key] = []
        for scope in SCOPES:
            name = name_of(payer, scope)
            if scope == "all" or name:
                found += [(scope, name, period) for period in PERIODS if self._budget_for(scope, name, period)]
        return found

    def purse(self, key: Key, now_ns: int) -> Purse | None:
        """Return a purse as it is now; `None` where it is not loaded."""
        purse = self._purses.get(key)
        if purse is not None:
            purse.roll(now_ns)
        return purse

    def load(self, key: Key, now_ns: int, spent: int, held: int) -> None:
        """Add a purse that was read; nothing happens where its budget is gone meanwhile."""
        fitting = self._budget_for(*key)
        if fitting is None or key in self._purses:
            return
        start, end = span(key[2], now_ns)
        self._purses[key] = Purse(fitting, key[1], start, end, spent, held)
        if len(self._purses) > MOST_PURSES:
            idle = next((name for name, purse in self._purses.items() if not purse.held and name != key), None)
            if idle is not None:
                del self._purses[idle]

    def counting(self, payer: Payer, now_ns: int) -> list[Purse]:
        """Return the loaded purses that count what *payer* pays."""
        found = [self.purse(key, now_ns) for key in self.keys(payer)]
        return [purse for purse in found if purse is not None]

    def loaded(self) -> list[Purse]:
        """Return all loaded purses."""
        return list(self._purses.values())
