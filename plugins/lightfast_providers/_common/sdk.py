"""How a provider asks through the official SDK of its service: loaded late, its errors made ours."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from lightfast.sdk import ProviderError, Session
from lightfast_providers._common.clients import Clients
from lightfast_providers._common.offloop import loaded

C = TypeVar("C")


def installed(name: str) -> bool:
    """Say whether a module could be imported, without doing so; of a name with dots, all but the last are imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@asynccontextmanager
async def asking(
    clients: Clients[C], session: Session, explain: Callable[[BaseException], ProviderError], *modules: str
) -> AsyncIterator[C]:
    """Lend the client of *session*, once *modules* are loaded; *explain* makes a `ProviderError` of what it raises."""
    await loaded(*modules)
    with clients.lend(session) as client:
        try:
            yield client
        except (ProviderError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 — an SDK raises its own, those of its HTTP client and of JSON
            raise explain(error) from None
