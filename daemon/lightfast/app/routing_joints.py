"""Joins routing and prompts to the gateway, and to what they ask of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lightfast.app.gateway_settings import GatewaySettings
from lightfast.core.clock import Clock
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.operations import Rows
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.gateway.router import Gateway
from lightfast.gateway.routing.aliases import Aliases
from lightfast.gateway.routing.candidates import Routing
from lightfast.host.plugins import PluginHost

if TYPE_CHECKING:
    from lightfast.context.views.views import Views


def join_routing(gateway: Gateway, settings: GatewaySettings, db: Rows, clock: Clock) -> tuple[Routing, PromptRoom]:
    """Give *gateway* the rooms that find models, and that make prompts of templates and context."""
    routing = Routing(gateway.catalog, clock, gateway.tasks, own_aliases(settings))
    routing.providers = gateway.providers
    prompts = PromptRoom(db, clock, gateway.tasks, gateway.catalog)
    gateway.candidates = routing
    gateway.prompts = gateway.windows = prompts
    gateway.on_attempt += [routing.attempted, prompts.attempted]
    return routing, prompts


def own_aliases(settings: GatewaySettings) -> Aliases:
    """Return the aliases and chains of the settings."""
    return Aliases(dict(settings.aliases), dict(settings.fallbacks))


def join_accounts(gateway: Gateway, routing: Routing, prompts: PromptRoom) -> None:
    """Let routing and prompts ask the rooms of accounts and of prices that the gateway has by now."""
    routing.join(gateway.sessions, gateway.costs if isinstance(gateway.costs, Costs) else None)
    prompts.sessions = gateway.sessions


def join_views(prompts: PromptRoom, views: Callable[[], Views]) -> None:
    """Let windows be packed with views of the context; they are loaded with the first."""
    prompts.views = views


async def check_aliases(host: PluginHost, routing: Routing) -> None:
    """Warn of aliases that are wrong, when all plugins are there."""
    await host.settled()
    routing.check_settings()
