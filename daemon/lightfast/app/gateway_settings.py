"""The settings of the AI gateway. The help texts here are the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.app.setting_chains import chains, fallback_chains
from lightfast.app.setting_providers import base_urls
from lightfast.core.config import parse_size, setting
from lightfast.core.config_secrets import check_references
from lightfast.gateway.cost.overrides import check_prices
from lightfast.gateway.limits.rules import check_limits


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """AI services and the local provider."""

    cache: str = setting(
        "exact",
        "Which answers are kept and given again: off; exact, to the very same request; semantic, also to one of the "
        "same meaning.",
        choices=("off", "exact", "semantic"),
    )
    cache_size: int = setting("256 MiB", "The most that answers which are kept may take.", check=parse_size)
    cache_days: float = setting(7.0, "How long an answer is kept, in days.", minimum=0.0)
    aliases: tuple[tuple[str, tuple[str, ...]], ...] = setting(
        {},
        "Names for chains of models, each tried when the one before fails, such as "
        '{fast = ["anthropic/claude-haiku-4-5", "studio/text"]}; members may be aliases. fast, best, cheap and local '
        "are there by themselves, and can be set anew.",
        check=chains,
        restart=False,
    )
    fallbacks: tuple[tuple[str, tuple[str, ...]], ...] = setting(
        {},
        "What is fallen back on where a request names a model and no others, by what is made, such as "
        '{text = ["cheap"]}.',
        check=fallback_chains,
        restart=False,
    )
    budget_per_day_usd: float = setting(
        0.0,
        "The most that may be spent a day (UTC) by all together, in US dollars; 0: no such budget. 'lightfast budget' "
        "sets others, also for projects, clients and runs.",
        minimum=0.0,
    )
    budget_per_month_usd: float = setting(
        0.0, "The same for a month of the calendar, in US dollars; 0: no such budget.", minimum=0.0
    )
    usage_days: float = setting(
        400.0, "How long each single use is kept, in days; the sums of each day are kept for ever.", minimum=1.0
    )


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One AI service; further keys are its own."""

    options: Mapping[str, Any]
    keys: tuple[str, ...] = setting(
        (),
        "References to its keys, such as credential:openai, keyring:openai, file:~/.keys/openai or env:OPENAI_API_KEY; "
        "none: they are looked for in that order. Requests are balanced over several.",
        check=check_references,
        restart=False,
    )
    base_urls: tuple[str, ...] = setting(
        (),
        "Where it is, where that is not its own address; several are balanced.",
        check=base_urls,
        restart=False,
    )
    prices: tuple[tuple[str, str], ...] = setting(
        {},
        'What models cost where no list knows them or you pay another price, in US dollars, such as {"gpt-x" = '
        '"input 1.25/M, cached 0.125/M, output 10/M", "my-image-*" = "image 0.04", "house-*" = "free"}.',
        check=check_prices,
        restart=False,
    )
    tier: str = setting("", "The tier of the account, whose limits hold; empty: the lowest.", restart=False)
    requests_per_minute: float = setting(
        0.0,
        "The most requests of each account in any minute; 0: what the service says, else its tier, else what is "
        "shipped; inf: what the service says.",
        minimum=0.0,
        restart=False,
    )
    tokens_per_minute: float = setting(
        0.0, "The most tokens of each account in any minute, question and answer.", minimum=0.0, restart=False
    )
    input_tokens_per_minute: float = setting(
        0.0, "The most tokens of questions of each account in any minute.", minimum=0.0, restart=False
    )
    output_tokens_per_minute: float = setting(
        0.0, "The most tokens of answers of each account in any minute.", minimum=0.0, restart=False
    )
    concurrency: float = setting(
        0.0, "The most requests of each account that may be under way at once.", minimum=0.0, restart=False
    )
    requests_per_day: float = setting(
        0.0, "The most requests of each account in any 24 hours.", minimum=0.0, restart=False
    )
    tokens_per_day: float = setting(0.0, "The most tokens of each account in any 24 hours.", minimum=0.0, restart=False)
    usd_per_day: float = setting(
        0.0, "The most US dollars of all accounts together in any 24 hours.", minimum=0.0, restart=False
    )
    limits: tuple[Mapping[str, Any], ...] = setting(
        (),
        "Further limits: of models by a pattern, or of all accounts together, such as "
        '[{model = "gpt-5*", requests_per_minute = 50}, {together = true, requests_per_minute = 400}].',
        check=check_limits,
        restart=False,
    )
