"""Servers that advertise themselves as `_oscjson._tcp` on the networks of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import structlog

log = structlog.get_logger("lightfast.bridges.oscquery")

KIND = "_oscjson._tcp.local."
MAX_WAITING = 64
RESOLVE_MS = 3000


class Discovery:
    """Looks for servers; `found` yields their addresses as they appear."""

    def __init__(self) -> None:
        self._names: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._zeroconf: Any = None
        self._browser: Any = None

    async def found(self) -> AsyncIterator[str]:
        """Yield `http://HOST:PORT` of each server that appears."""
        module = await asyncio.to_thread(__import__, "zeroconf.asyncio", fromlist=["AsyncZeroconf"])
        from zeroconf import ServiceStateChange

        loop = asyncio.get_running_loop()

        def changed(zeroconf: Any, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if state_change is not ServiceStateChange.Removed:
                loop.call_soon_threadsafe(self._note, name)

        try:
            self._zeroconf = module.AsyncZeroconf()
        except OSError as error:
            log.warning("oscquery servers are not looked for: no multicast here", reason=str(error))
            await asyncio.Event().wait()
            return
        self._browser = module.AsyncServiceBrowser(self._zeroconf.zeroconf, KIND, handlers=[changed])
        while True:
            name = await self._names.get()
            info = await self._zeroconf.async_get_service_info(KIND, name, timeout=RESOLVE_MS)
            addresses = info.parsed_addresses() if info is not None else []
            if info is not None and addresses and info.port:
                host = next((address for address in addresses if ":" not in address), addresses[0])
                yield f"http://[{host}]:{info.port}" if ":" in host else f"http://{host}:{info.port}"

    def _note(self, name: str) -> None:
        if not self._names.full():
            self._names.put_nowait(name)

    async def close(self) -> None:
        """Look no longer."""
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_close()
