"""The Python SDK: read, write and watch the shared context of all applications.

    from lightfast.client import Client

    with Client() as client:
        client.set("/show/brightness", 0.8)
        for batch in client.watch("/show//", include_snapshot=True):
            print(batch.events)

`AsyncClient` is the same for asyncio. Errors are those of `lightfast.core.errors`.
Importing this package imports nothing of the daemon.
"""

from lightfast.client import frames, mutations
from lightfast.client.aio import AsyncClient
from lightfast.client.blocking import Client
from lightfast.client.errors import DaemonGone
from lightfast.client.records import Applied, Batch, Entry, Event, Undone

__all__ = [
    "Applied",
    "AsyncClient",
    "Batch",
    "Client",
    "DaemonGone",
    "Entry",
    "Event",
    "Undone",
    "frames",
    "mutations",
]
