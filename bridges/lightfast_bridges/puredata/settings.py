"""The settings of the bridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import BridgeError
from lightfast.sdk.settings import Table

PORT = 50_157
"""Where `[lightfast NAME]` sends to when it names no port."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How patches are joined. Times are seconds.

    *listen* is where patches send to, *ping* the time between two signs of life, *silence* after how long without one
    a patch is degraded, *gone* after how long it is lost, *refresh* the time between two full readings.
    """

    listen: tuple[str, int] = ("127.0.0.1", PORT)
    name: str = ""
    ping: float = 1.0
    silence: float = 3.0
    gone: float = 10.0
    refresh: float = 5.0


_TIMES = {"ping": 1.0, "silence": 3.0, "gone": 10.0, "refresh": 5.0}


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    table = Table("puredata", config, ("listen", "name", *_TIMES))
    settings = Settings(
        table.address("listen", ("127.0.0.1", PORT), lowest=0),
        table.text("name"),
        **{name: table.seconds(name, default) for name, default in _TIMES.items()},
    )
    if not settings.ping < settings.silence < settings.gone:
        raise BridgeError("puredata: ping must be shorter than silence, and silence shorter than gone")
    return settings
