"""The settings of the bridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lightfast.sdk import BridgeError
from lightfast.sdk.settings import Table

URL = "ws://127.0.0.1:4455"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one OBS is joined. Times are seconds.

    *password* is what OBS shows under Tools > WebSocket Server Settings, given as a reference (`env:NAME`). *poll* is
    the time between two looks at what OBS does not tell by itself, *patience* how long it may take to answer one
    question, *gone* after how long without an answer it is given up.
    """

    url: str = URL
    password: str = field(default="", repr=False)
    name: str = ""
    poll: float = 2.0
    patience: float = 3.0
    gone: float = 20.0

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 4455


_NAMES = ("url", "password", "name", "poll", "patience", "gone")


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    table = Table("obs", config, _NAMES)
    settings = Settings(
        url=table.text("url", URL),
        password=table.text("password"),
        name=table.text("name"),
        poll=table.seconds("poll", 2.0),
        patience=table.seconds("patience", 3.0),
        gone=table.seconds("gone", 20.0),
    )
    try:
        parts = urlsplit(settings.url)
        good = parts.scheme in {"ws", "wss"} and bool(settings.address[0])
        named = "@" in parts.netloc
    except ValueError:
        good = named = False
    if named:  # it would stand in every message about this address
        raise BridgeError(f"obs.url holds a name or a password: write it like {URL}, and set obs.password")
    if not good:
        raise BridgeError(f"obs.url is {settings.url!r}: write it like {URL}")
    if settings.patience >= settings.gone:
        raise BridgeError("obs: patience must be shorter than gone")
    return settings
