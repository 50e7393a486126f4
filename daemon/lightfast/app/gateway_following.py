"""Lets the gateway follow its settings while it runs: what is under way keeps what it began with."""

from __future__ import annotations

from lightfast.app.cost_joints import own_prices
from lightfast.app.reload import Reloader
from lightfast.app.routing_joints import own_aliases
from lightfast.app.session_joints import provider_tables
from lightfast.app.settings import Settings
from lightfast.gateway.cost.book import PriceBook
from lightfast.gateway.routing.candidates import Routing
from lightfast.gateway.sessions.book import SessionBook


def follow_gateway(reloader: Reloader, sessions: SessionBook, prices: PriceBook, routing: Routing) -> None:
    """Have keys, limits, prices, aliases and chains of fallbacks follow a reload of the settings.

    A model that has a price in the settings is no slip, whatever its service lists.
    """
    routing.priced = prices.names

    async def providers(fresh: Settings) -> None:
        sessions.follow(provider_tables(fresh))
        prices.follow(own_prices(fresh))

    async def chains(fresh: Settings) -> None:
        routing.follow(own_aliases(fresh.gateway))

    reloader.follow("providers", providers)
    reloader.follow("gateway", chains)
