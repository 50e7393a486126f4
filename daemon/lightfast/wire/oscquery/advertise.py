"""Says on the network that there is an OSCQuery server, on the interface it listens on and nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import structlog

log = structlog.get_logger("lightfast.oscquery")

BUDGET_S = 5.0


class Advertiser:
    """Two services under one name: `_oscjson._tcp` and `_osc._udp`."""

    def __init__(self, name: str, host: str, port: int, osc_port: int) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._osc_port = osc_port
        self._zeroconf: Any = None

    async def start(self) -> None:
        """Begin. Without multicast nothing is lost but being found: it is told, and that is all."""
        try:
            async with asyncio.timeout(BUDGET_S):
                await self._start()
        except (OSError, TimeoutError, ValueError) as error:
            log.warning(
                "oscquery is not advertised", reason=str(error) or "no answer from the network", host=self._host
            )
            await self.stop()

    async def _start(self) -> None:
        zeroconf = await asyncio.to_thread(__import__, "zeroconf.asyncio", fromlist=["AsyncZeroconf"])
        from zeroconf import Error, InterfaceChoice, ServiceInfo

        everywhere = ipaddress.ip_address(self._host).is_unspecified
        interfaces: Any = InterfaceChoice.Default if everywhere else [self._host]
        self._zeroconf = zeroconf.AsyncZeroconf(interfaces=interfaces)
        addresses = None if everywhere else [self._host]
        server = f"{self._name}.local."
        for kind, port in (("_oscjson._tcp.local.", self._port), ("_osc._udp.local.", self._osc_port)):
            if not port:
                continue
            info = ServiceInfo(
                kind,
                f"{self._name}.{kind}",
                port=port,
                server=server,
                parsed_addresses=addresses or _addresses(),
                properties={"txtvers": "1"},
            )
            try:
                await self._zeroconf.async_register_service(info, allow_name_change=True)
            except Error as error:
                raise OSError(f"{kind} cannot be registered: {error!r}") from error

    async def stop(self) -> None:
        """Say goodbye."""
        found, self._zeroconf = self._zeroconf, None
        if found is None:
            return
        try:
            async with asyncio.timeout(BUDGET_S):
                await found.async_close()
        except (OSError, TimeoutError) as error:
            log.debug("oscquery's goodbye was not heard", reason=str(error))


def _addresses() -> list[str]:
    """Return the addresses of this machine that others may reach."""
    import psutil

    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and not ipaddress.ip_address(address.address).is_loopback
    ]
    return found or ["127.0.0.1"]
