"""Who may send to the OSC door, and how much: allowed sources and a token bucket for each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument

MAX_SOURCES = 1024
"""How many sources are remembered; the one after that clears what is known of all of them."""


class Sources:
    """The addresses that may send: loopback always, others by *allow* (addresses or networks)."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """Raise `InvalidArgument` for what is no address."""
        self.networks = []
        for text in allow:
            try:
                self.networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise InvalidArgument(
                    f"osc.allow: {text!r} is no address or network: write 192.168.1.20 or 192.168.1.0/24",
                    field="osc.allow",
                ) from None
        self._known: dict[str, bool] = {}

    def allows(self, host: str) -> bool:
        """Say whether *host* (a numeric address) may send."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MAX_SOURCES:
                self._known.clear()
            known = self._known[host] = self._decide(host)
        return known

    def _decide(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in self.networks)


class Buckets:
    """A token bucket per source: *rate* messages a second, *burst* at once."""

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, when that was

    def take(self, source: str, wanted: int) -> int:
        """Return how many of *wanted* messages *source* may send now."""
        now = self._clock.monotonic()
        tokens, then = self._buckets.get(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        granted = min(wanted, int(tokens))
        if source not in self._buckets and len(self._buckets) >= MAX_SOURCES:
            self._buckets.clear()
        self._buckets[source] = (tokens - granted, now)
        return granted
