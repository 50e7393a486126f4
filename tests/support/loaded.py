"""Waiting until a daemon has loaded its bridges: its doors are open before, and an application may join without."""

from __future__ import annotations

from tests.support.waiting import seen

from lightfast.api.v1.admin_pb2 import ListPluginsRequest
from lightfast.client import AsyncClient


async def loaded(client: AsyncClient, *bridges: str) -> None:
    """Wait until the daemon of *client* knows the kinds called *bridges*: their dialects, commands and parameters."""
    wanted = {f"bridge:{kind}" for kind in bridges}

    async def there() -> bool:
        plugins = (await client.call(client.admin.ListPlugins, ListPluginsRequest())).plugins
        return wanted <= {each for plugin in plugins for each in plugin.brings}

    await seen(there, f"the bridges {', '.join(bridges)}", 120.0)
