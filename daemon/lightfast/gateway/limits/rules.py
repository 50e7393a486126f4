"""Which limits hold for a model at an account, and where each is from.

For one kind and window the first of these that speaks decides: the settings; what the service said in its headers; what
the model, then the tier documents; the shipped table. A limit of the service also holds where the settings allow more.
What counts tokens in one way or another (`tokens`, `input_tokens`, `output_tokens`) is one kind in this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

KINDS = ("requests", "tokens", "input_tokens", "output_tokens", "concurrency", "spend")
"""The kinds of limits, as `lightfast.sdk.Limit.kind`."""
Amount = tuple[str, float, float]
"""A kind, a window in seconds (0 for concurrency) and a number."""

SETTINGS: Mapping[str, tuple[str, float]] = {
    "requests_per_minute": ("requests", 60.0),
    "requests_per_day": ("requests", 86_400.0),
    "tokens_per_minute": ("tokens", 60.0),
    "input_tokens_per_minute": ("input_tokens", 60.0),
    "output_tokens_per_minute": ("output_tokens", 60.0),
    "tokens_per_day": ("tokens", 86_400.0),
    "concurrency": ("concurrency", 0.0),
    "usd_per_day": ("spend", 86_400.0),
}
"""The settings of limits, and the kind and window of each."""

SHIPPED: Mapping[str, tuple[Amount, ...]] = {
    family: (("requests", 60.0, requests), ("tokens", 60.0, tokens))
    for family, requests, tokens in (
        ("claude", 100.0, 20_000.0),
        ("gpt", 200.0, 30_000.0),
        ("gemini", 300.0, 40_000.0),
        ("llama", 500.0, 50_000.0),
    )
}
"""The limits of a family of models while nobody knows better."""
_FAMILIES = {
    "claude": ("claude", "anthropic"),
    "gpt": ("gpt", "openai", "chatgpt", "dall-e"),
    "gemini": ("gemini", "gemma", "google"),
    "llama": ("llama", "meta"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit in force; *scope* is whose it is: `provider` (all accounts together), `account`, `family`, `model`."""

    kind: str
    window: float
    number: float
    scope: str
    source: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The limits in the settings of a provider: of *each* account, of models by pattern, of all accounts *together*."""

    each: tuple[Amount, ...] = ()
    models: tuple[tuple[str, tuple[Amount, ...]], ...] = ()
    together: tuple[Amount, ...] = ()


def read_wanted(table: Mapping[str, Any], limits: Sequence[Mapping[str, Any]] = ()) -> Wanted:
    """Return the limits of a table `[providers.NAME]` and of its `limits`; a number of 0 sets none.

    `usd_per_day` is for all accounts together. Raises `ValueError` as `check_limits` does.
    """
    each = _amounts({key: value for key, value in table.items() if key in SETTINGS and key != "usd_per_day"})
    together = _amounts({key: value for key, value in table.items() if key == "usd_per_day"})
    models: list[tuple[str, tuple[Amount, ...]]] = []
    for one in check_limits(list(limits)):
        found = _amounts({key: value for key, value in one.items() if key in SETTINGS})
        if one.get("together"):
            together += found
        else:
            models.append((str(one.get("model", "*")), found))
    return Wanted(each, tuple(models), together)


def _amounts(table: Mapping[str, Any]) -> tuple[Amount, ...]:
    return tuple((*SETTINGS[key], _scaled(SETTINGS[key][0], float(value))) for key, value in table.items() if value)


def _scaled(kind: str, number: float) -> float:
    return number * 1e6 if kind == "spend" else number


def check_limits(value: Any) -> tuple[dict[str, Any], ...]:
    """Check `limits`, a list of tables; `ValueError` says what was expected."""
    if not isinstance(value, list | tuple):
        raise ValueError(_FORM)  # noqa: TRY004 — the one error of a Check
    found: list[dict[str, Any]] = []
    for one in value:
        if not isinstance(one, Mapping):
            raise ValueError(_FORM)  # noqa: TRY004
        for key, item in one.items():
            if key == "model" and isinstance(item, str) and item:
                continue
            if key == "together" and isinstance(item, bool):
                continue
            if key not in SETTINGS:
                raise ValueError(f"{_FORM}; {key!r:.60} is none of {', '.join(('model', 'together', *SETTINGS))}")
            if isinstance(item, bool) or not isinstance(item, int | float) or not item >= 0:
                raise ValueError(f"{key} to be a number of at least 0")
        if "model" in one and one.get("together"):
            raise ValueError("either model or together: a limit of a model is that of each account")
        found.append(dict(one))
    return tuple(found)


_FORM = 'tables such as {model = "gpt-5*", requests_per_minute = 50} or {together = true, requests_per_minute = 400}'


def family_of(provider: str, model: str) -> str:
    """Return the family of `SHIPPED` that a model is of, by its name, else by its provider's; empty: of none."""
    for name in (model.lower(), provider.lower()):
        for family, words in _FAMILIES.items():
            if any(word in name for word in words):
                return family
    return ""


def rules_for(
    provider: str,
    model: str,
    *,
    wanted: Wanted,
    told: Mapping[tuple[str, float], float],
    documented: Sequence[Amount],
    tier: Sequence[Amount],
    local: bool,
) -> list[Rule]:
    """Return the limits that hold for a model.

    *told* are those of the service's headers, by kind and window: they are of the model, but for what may be under way
    at once, which is of the whole account. The shipped table is for services: a *local* provider has none.
    """
    rules = [Rule(*amount, "provider", "settings") for amount in wanted.together]
    rules += [Rule(*amount, "account", "settings") for amount in wanted.each]
    for pattern, amounts in wanted.models:
        if fnmatchcase(model, pattern):
            rules += [Rule(*amount, "model", "settings") for amount in amounts]
    decided = {_group(rule.kind, rule.window) for rule in rules if rule.scope != "provider"}
    said = [
        Rule(kind, window, _scaled(kind, number), "account" if kind == "concurrency" else "model", "service")
        for (kind, window), number in told.items()
    ]
    decided |= {_group(rule.kind, rule.window) for rule in said}
    rules += said
    family = "" if local else family_of(provider, model)
    lower: tuple[tuple[str, Sequence[Amount]], ...] = (
        ("model", documented),
        ("account", tier),
        ("family", SHIPPED.get(family, ())),
    )
    for scope, given in lower:
        new = [amount for amount in given if _group(amount[0], amount[1]) not in decided]
        rules += [Rule(kind, window, _scaled(kind, number), scope, "shipped") for kind, window, number in new]
        decided |= {_group(kind, window) for kind, window, _ in new}
    return _tightest(rules)


def _group(kind: str, window: float) -> tuple[str, float]:
    return ("tokens" if kind.endswith("tokens") else kind, window)


def _tightest(rules: Iterable[Rule]) -> list[Rule]:
    """Leave one rule for each scope, kind and window, the lowest; those without a bound go."""
    found: dict[tuple[str, str, float], Rule] = {}
    for rule in rules:
        key = (rule.scope, rule.kind, rule.window)
        if math.isfinite(rule.number) and (key not in found or rule.number < found[key].number):
            found[key] = rule
    return list(found.values())
