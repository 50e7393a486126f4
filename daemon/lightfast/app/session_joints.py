"""Joins the sessions with AI services to the gateway, and to their settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from lightfast.core.clock import Clock
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.rules import read_wanted
from lightfast.gateway.limits.stored import Rows
from lightfast.gateway.ports import Load
from lightfast.gateway.router import Gateway
from lightfast.gateway.sessions.book import SessionBook
from lightfast.gateway.sessions.records import ProviderTable
from lightfast.sdk import Model, Provider
from lightfast.security.secrets.finder import KeyFinder

if TYPE_CHECKING:
    from lightfast.app.settings import Settings
    from lightfast.core.paths import Paths


def provider_tables(settings: Settings) -> dict[str, ProviderTable]:
    """Return the tables `[providers.NAME]` as the sessions take them."""
    return {
        name: ProviderTable(
            keys=table.keys,
            base_urls=table.base_urls,
            tier=table.tier,
            wanted=read_wanted(asdict(table), table.limits),
            options=dict(table.options),
        )
        for name, table in settings.providers.items()
    }


async def join_sessions(gateway: Gateway, settings: Settings, paths: Paths, db: Rows, clock: Clock) -> SessionBook:
    """Give *gateway* the accounts with its providers, and return them."""
    catalog = gateway.catalog

    def provider(name: str) -> Provider | None:
        return catalog.provider(name) if catalog.has(name) else None

    def model(name: str) -> Model | None:
        found = catalog.find(name)
        return found.model if found is not None else None

    def price(record: ModelRecord, load: Load) -> float | None:
        if gateway.costs is None:
            return None
        estimate = gateway.costs.estimate(record, load)
        return estimate.likely_usd if estimate.most_usd is None else estimate.most_usd

    book = SessionBook(
        KeyFinder(paths.keys),
        clock,
        gateway.tasks,
        db,
        provider=provider,
        model=model,
        price=price,
        tables=provider_tables(settings),
    )
    await book.start()
    gateway.sessions = book
    return book
