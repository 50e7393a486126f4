"""What bridges read out of their tables and addresses: each mistake named, with what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from lightfast.core.config import is_loopback
from lightfast.sdk.errors import BridgeError

LONGEST = 3600.0
"""The most seconds that a time in a table may have."""
DAEMONS = frozenset({"enabled", "instances", "isolated"})
"""Keys of a plugin's table that the daemon itself reads."""

Address = tuple[str, int]
"""Host and port."""
REMOTE = frozenset({"remote"})
"""The capabilities of an application on another machine: what a command sends there leaves this one."""


def capabilities_at(url: str) -> frozenset[str]:
    """Return `REMOTE` for an address that is not known to be of this machine; none for one that is."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return frozenset() if is_loopback(host) else REMOTE


class Table:
    """The table of one plugin. Every method raises `BridgeError` that names the setting and what is right.

    A value is never shown where *name* speaks of a secret: use `text` for those, which says only what is wrong.
    """

    def __init__(self, plugin: str, config: Mapping[str, Any], known: Sequence[str]) -> None:
        """Take the table of *plugin*, whose settings are *known*."""
        self._plugin = plugin
        self._config = config
        for key in config:
            if key not in known and key not in DAEMONS:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}"
                raise BridgeError(f"{plugin}.{key} is no setting of this plugin: {hint}")

    def wrong(self, name: str, right: str) -> BridgeError:
        """Return the error for a setting that is not what it should be; *right* says what to write."""
        return BridgeError(f"{self._plugin}.{name} is {self._config.get(name)!r:.100}: {right}")

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        value = self._config.get(name, default)
        if not isinstance(value, str):
            raise BridgeError(f"{self._plugin}.{name} is no text: put it in quotes")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true or false; nothing else stands for either."""
        value = self._config.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "write true or false")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number from *low* to *high*."""
        value = self._config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(name, f"write a number from {low:g} to {high:g}")
        return float(value)

    def count(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from *low* to *high*."""
        value = self._config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"write a number from {low} to {high}")
        return value

    def seconds(self, name: str, default: float) -> float:
        """Return a time in seconds, above 0 and at most `LONGEST`."""
        value = self._config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST:
            raise self.wrong(name, f"write seconds, above 0 and at most {LONGEST:g}")
        return float(value)

    def address(self, name: str, default: Address, *, lowest: int = 1) -> Address:
        """Return host and port, written HOST:PORT; *lowest* 0 takes the port 0, which stands for any."""
        if name not in self._config:
            return default
        host, _, port = str(self._config[name]).rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not lowest <= int(port) <= 65_535:
            raise self.wrong(name, f"write HOST:PORT, like {default[0]}:{default[1]}")
        return host, int(port)


def is_here(host: str) -> bool:
    """Say whether *host* is this machine, by its name or number alone; nothing is asked of the network."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def listen_for(remote: str) -> str:
    """Return the address to listen on for answers of *remote*: loopback for this machine, else all."""
    if remote == "::1":
        return "::1"
    return "127.0.0.1" if is_here(remote) else "0.0.0.0"  # noqa: S104  # another machine answers to our address


def pause(attempt: int, pauses: Sequence[float]) -> float:
    """Return the seconds to wait after try number *attempt* (from 0): each of *pauses* once, the last one for ever."""
    return pauses[min(attempt, len(pauses) - 1)]
