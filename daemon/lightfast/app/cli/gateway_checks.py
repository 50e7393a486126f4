"""What `lightfast doctor` says of the AI services: keys, providers, aliases, models, budgets, work under way."""

from __future__ import annotations

import stat
import sys
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lightfast.app.cli.checks import BAD, OK, WARN, Finding
from lightfast.gateway.routing.aliases import COMPUTED, Aliases
from lightfast.gateway.routing.circuits import FAILING

NEARLY_SPENT = 0.9
LONG = timedelta(hours=2)
LONG_BATCH = timedelta(hours=73)
"""What runs longer is worth a word."""
MOST_NAMED = 10
Json = Mapping[str, Any]


class Configured:
    """What the settings in force say of the services; *rows* is the answer of `GetConfig`."""

    def __init__(self, rows: Sequence[Json]) -> None:
        held = {row["key"]: row.get("value", "") for row in rows}
        self.providers = {key.split(".")[1] for key in held if key.startswith("providers.") and key.count(".") > 1}
        self.aliases = Aliases(_table(held.get("gateway.aliases", "")), _table(held.get("gateway.fallbacks", "")))

    def named(self) -> set[str]:
        """Return the members of the chains of the settings: models, and computed aliases."""
        chains = [*self.aliases.own.values(), *self.aliases.fallbacks.values()]
        return {member for chain in chains for member in chain if member not in self.aliases.own}


def _table(text: str) -> dict[str, list[str]]:
    """Return a table of chains as `GetConfig` shows it: a TOML value."""
    return dict(tomllib.loads(f"table = {text or '{}'}")["table"])


def check_key_files(folder: Path) -> Iterator[Finding]:
    """Look whether others can read the keys in *folder*; no key is read."""
    if sys.platform == "win32" or not folder.is_dir():
        return
    for path in [folder, *sorted(folder.iterdir())]:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            mode = 700 if path is folder else 600
            yield Finding(
                BAD,
                f"{path} can be read by other users" + ("" if path is folder else ", and is not used"),
                f"run: chmod {mode} {path}, and consider that key known: make a new one at the service",
            )


def check_services(providers: Sequence[Json], sessions: Sequence[Json], config: Configured) -> Iterator[Finding]:
    """Look at the answers of `ListProviders` and `ListSessions`; what somebody has set up and cannot be used is bad."""
    wanted = config.providers | {member.partition("/")[0] for member in config.named() if "/" in member}
    accounts: dict[str, list[Json]] = defaultdict(list)
    for session in sessions:
        accounts[session["provider"]].append(session)
    ready, keyless = [], []
    for provider in providers:
        name = provider["name"]
        told = list(_accounts(accounts[name]))
        yield from told
        if provider.get("available"):
            ready.append(name)
        elif name in wanted and not any(finding.level == BAD for finding in told):
            yield Finding(BAD, f"the provider {name} is set up and cannot be used", provider.get("reason", ""))
        elif name not in wanted and any(_state(each) == "NO_KEY" for each in accounts[name]):
            if "(" in provider.get("reason", ""):  # there is one, and it was refused
                yield Finding(BAD, f"the key of {name} is not used", provider["reason"])
            else:
                keyless.append(name)
        elif name not in wanted and not told:
            yield Finding(OK, f"the provider {name} is not there", provider.get("reason", ""))
    if ready:
        yield Finding(OK, f"these providers can be used: {', '.join(ready)}")
    if keyless:
        yield Finding(OK, f"these have no key: {', '.join(keyless)}", "for those you want: lightfast key set NAME")
    unknown = sorted(wanted - {provider["name"] for provider in providers} - set(COMPUTED))
    if unknown:
        yield Finding(BAD, f"the settings name providers that no plugin brings: {', '.join(unknown)}", _PLUGINS)


_PLUGINS = "'lightfast plugins' says which there are, and what is missing for others"


def _accounts(sessions: Sequence[Json]) -> Iterator[Finding]:
    for session in sessions:
        name, state, source = _account(session), _state(session), session.get("key_source", "")
        if state == "DENIED":
            yield Finding(BAD, f"{name}: the key from {source} was refused", session.get("reason", ""))
        elif state in {"EXHAUSTED", "DOWN"}:
            yield Finding(WARN, f"{name} cannot be used now", session.get("reason", ""))
        elif source:
            said = "works" if state == "READY" else "was not tried yet"
            yield Finding(OK, f"{name}: the key from {source} {said}")
        if source.startswith("env:"):
            yield Finding(
                WARN,
                f"{name}: other programs of this user can read the key from the environment",
                f"run: lightfast key set {session['provider']}, and take {source.removeprefix('env:')} away",
            )


def _account(session: Json) -> str:
    name = session.get("account", "")
    return f"{session['provider']}" + (f"/{name}" if name not in {"", "default"} else "")


def _state(session: Json) -> str:
    return str(session.get("state", "")).removeprefix("SESSION_STATE_")


def check_chains(models: Sequence[Json], providers: Sequence[Json], config: Configured) -> Iterator[Finding]:
    """Look whether the aliases and fallbacks of the settings lead anywhere; *models* is the answer of `ListModels`."""
    known = {model["name"]: model.get("outputs", []) for model in models}
    usable = {model["name"] for model in models if model.get("available")}
    here = [provider["name"] for provider in providers]
    for mistake in config.aliases.mistakes(known, here):
        yield Finding(BAD, mistake, "'lightfast models --all' lists what there is")
    chains = {f"gateway.aliases.{name}": chain for name, chain in config.aliases.own.items()}
    chains |= {f"gateway.fallbacks.{name}": chain for name, chain in config.aliases.fallbacks.items()}
    for key, chain in chains.items():
        if not any(_usable(config.aliases, member, usable, ()) for member in chain):
            yield Finding(
                BAD,
                f"{key} leads to no model that can be used now",
                f"'lightfast models --all' says why: {', '.join(chain[:MOST_NAMED])}",
            )


def _usable(aliases: Aliases, member: str, usable: Collection[str], way: Sequence[str]) -> bool:
    if member in aliases.own and member not in way:
        return any(_usable(aliases, each, usable, (*way, member)) for each in aliases.own[member])
    return member in usable or (member in COMPUTED and bool(usable))


def check_models(models: Sequence[Json], used: Collection[str], config: Configured, now: datetime) -> Iterator[Finding]:
    """Look for circuits that are open, and for models in use that come to an end; *used* are those used lately."""
    failing = [model["name"] for model in models if model.get("reason", "").startswith(FAILING)]
    if failing:
        yield Finding(
            WARN,
            f"these models failed again and again, and are left alone for a while: {_some(failing)}",
            "'lightfast failures' says what happened",
        )
    day = now.date().isoformat()
    for model in models:
        name, end = model["name"], model.get("retirement_date", "")
        if name not in used and name not in config.named():
            continue
        by = "the settings name it" if name in config.named() else "it was used lately"
        if end and end <= day:
            yield Finding(BAD, f"{name} was retired on {end}, and {by}", "choose another: lightfast models")
        elif end or model.get("deprecation_date"):
            until = f" and ends on {end}" if end else f" from {model['deprecation_date']}"
            yield Finding(WARN, f"{name} is deprecated{until}, and {by}", "choose another: lightfast models")


def check_budgets(budgets: Sequence[Json]) -> Iterator[Finding]:
    """Look at the answer of `ListBudgets`: what is spent, and what nearly is."""
    for one in budgets:
        limit, spent = float(one.get("limit_usd", 0.0)), float(one.get("spent_usd", 0.0))
        taken = spent + float(one.get("held_usd", 0.0))
        if taken < NEARLY_SPENT * limit:
            continue
        whose = "everybody" if one["scope"] == "all" else f"{one['scope']} {one.get('name', '')}".rstrip()
        held = f", ${taken - spent:.2f} more are held for what is under way" if taken > spent else ""
        again = one.get("reset_time", "")
        until = f"; it begins anew at {datetime.fromisoformat(again):%Y-%m-%d %H:%M} UTC" if again else ""
        over = taken >= limit
        yield Finding(
            BAD if over else WARN,
            f"the budget of {whose} for {_period(one)} is {'spent' if over else 'nearly spent'}:"
            f" ${spent:.2f} of ${limit:.2f}{held}",
            f"what costs is refused{until}; to change it: lightfast budget set" if over else "see: lightfast budget",
        )


def _period(budget: Json) -> str:
    return {"day": "the day", "month": "the month"}.get(budget.get("period", ""), "all time")


def check_operations(operations: Sequence[Json], providers: Sequence[Json], now: datetime) -> Iterator[Finding]:
    """Look for work that is stuck; *operations* is the answer of `ListOperations` for those that run."""
    here = {provider["name"] for provider in providers if provider.get("available")}
    for one in operations:
        age = now - datetime.fromisoformat(one["create_time"])
        model, name = one.get("model", ""), one["operation_id"]
        batch = one.get("output") == "batch"
        advice = f"look: lightfast operation show {name}; to end it: lightfast operation cancel {name}"
        if model.partition("/")[0] not in here:
            yield Finding(WARN, f"{name} waits for {model}, which cannot be used now", advice)
        elif age > (LONG_BATCH if batch else LONG):
            yield Finding(WARN, f"{name} by {model} is under way for {age.total_seconds() / 3600:.0f} hours", advice)


def check_answers(provider: str, sessions: Sequence[Json]) -> Iterator[Finding]:
    """Look at the answer of `CheckProvider`, which has asked the service just now."""
    for session in sessions:
        good = _state(session) == "READY"
        said = "answers" if good else "does not answer as it should"
        latency = f" in {session['latency']}" if good and session.get("latency") else ""
        yield Finding(OK if good else BAD, f"{_account(session)} {said}{latency}", session.get("reason", ""))
    if not sessions:
        yield Finding(WARN, f"{provider} has no account to ask with", f"run: lightfast key set {provider}")


def to_ask(providers: Sequence[Json], sessions: Sequence[Json], config: Configured) -> list[str]:
    """Return the providers that are worth a question over the network: set up, or with a key, or ready to be used."""
    keyed = {session["provider"] for session in sessions if session.get("key_source")}
    return [
        each["name"]
        for each in providers
        if each["name"] in config.providers | keyed or (each.get("available") and each.get("needs_key"))
    ]


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
