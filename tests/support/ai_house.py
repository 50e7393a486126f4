"""The whole AI gateway as the daemon composes it, in this process, over a real store in a temporary folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightfast.app.answer_joints import join_answers
from lightfast.app.cost_joints import Accounts, book_leftovers, join_costs
from lightfast.app.gateway_settings import GatewaySettings, ProviderSettings
from lightfast.app.routing_joints import join_accounts, join_routing
from lightfast.app.session_joints import join_sessions
from lightfast.app.settings import Settings
from lightfast.context.store import Store
from lightfast.core.clock import SYSTEM
from lightfast.core.paths import Paths
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import GenerateCall, OperationStep
from lightfast.gateway.router import Gateway
from lightfast.gateway.sessions.book import SessionBook
from lightfast.sdk import Provider
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database


@dataclass
class AiHouse:
    """The gateway, and the rooms a test asks about."""

    gateway: Gateway
    store: Store
    db: Database
    tasks: TaskGroup
    sessions: SessionBook
    accounts: Accounts

    async def run(self, origin: str = "client:test", **fields: Any) -> list[OperationStep]:
        """Run one generation to its end."""
        return [step async for step in self.gateway.generate(GenerateCall(**fields), origin)]


@asynccontextmanager
async def ai_house(
    folder: Path,
    providers: Sequence[Provider],
    tables: Mapping[str, Mapping[str, Any]],
    *,
    most: int = 64,
    **gateway_settings: Any,
) -> AsyncIterator[AiHouse]:
    """Open everything; *tables* are `[providers.NAME]`, *gateway_settings* of `[gateway]`."""
    settings = replace(
        Settings(),
        gateway=GatewaySettings(**gateway_settings),
        providers={name: ProviderSettings(options={}, **table) for name, table in tables.items()},
    )
    paths = Paths(folder / "config", folder / "state", folder / "run")
    for each in (paths.config, paths.state):
        each.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        db = await Database.open(paths.store_file, clock=SYSTEM)
        stack.push_async_callback(db.close)
        blobs = await BlobStore.open(paths.assets, db, 1 << 30, SYSTEM)
        store = await Store.open(db, clock=SYSTEM)
        stack.push_async_callback(store.close)
        tasks = TaskGroup("test")
        stack.push_async_callback(tasks.close)
        gateway = Gateway(store, blobs, db, SYSTEM, tasks, most=most)
        routing, prompts = join_routing(gateway, settings.gateway, db, SYSTEM)
        stack.push_async_callback(prompts.close)
        sessions = await join_sessions(gateway, settings, paths, db, SYSTEM)
        stack.push_async_callback(sessions.close)
        accounts = await join_costs(gateway, settings, db, SYSTEM, tasks)
        stack.push_async_callback(accounts.costs.close)
        answers, _ = join_answers(gateway, settings.gateway, db, blobs, SYSTEM)
        stack.push_async_callback(answers.close)
        await gateway.start()
        stack.push_async_callback(gateway.close)
        await book_leftovers(gateway, accounts.costs)
        join_accounts(gateway, routing, prompts)
        for provider in providers:
            gateway.register(provider, provider.name)
        yield AiHouse(gateway, store, db, tasks, sessions, accounts)
