"""The settings of the bridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import BridgeError
from lightfast.sdk.settings import Table, is_here

PORT = 57_110
MAX_BUSES = 1024
"""The most control buses that are followed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server is joined.

    *remote* is where it listens, *buses* the control buses that are followed from the start, *buffers* how many
    buffers are looked at (from 0) and *max_buffers* how many the server has (its option -b). *poll* is the time
    between two looks, *silence* after how long without an answer it is degraded, *gone* after how long it is lost,
    in seconds. *marker* is a control bus that holds a number by which a restart is seen; -1 uses none. *program*
    is what renders offline.
    """

    remote: tuple[str, int] = ("127.0.0.1", PORT)
    name: str = ""
    buses: tuple[int, ...] = ()
    buffers: int = 64
    max_buffers: int = 1024
    poll: float = 1.0
    silence: float = 3.0
    gone: float = 10.0
    marker: int = 16_383
    program: str = "scsynth"

    @property
    def local(self) -> bool:
        """Say whether the server runs on this machine, so that both may open the same files."""
        return is_here(self.remote[0])


_TIMES = {"poll": 1.0, "silence": 3.0, "gone": 10.0}
_NAMES = ("remote", "name", "buses", "program", *_TIMES, "buffers", "max_buffers", "marker")


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    table = Table("supercollider", config, _NAMES)
    settings = Settings(
        remote=table.address("remote", ("127.0.0.1", PORT)),
        name=table.text("name"),
        buses=_buses(config["buses"]) if "buses" in config else (),
        buffers=table.count("buffers", 64, 0, 1024),
        max_buffers=table.count("max_buffers", 1024, 1, 65_536),
        marker=table.count("marker", 16_383, -1, 1 << 20),
        program=table.text("program", "scsynth"),
        **{name: table.seconds(name, default) for name, default in _TIMES.items()},
    )
    if not settings.poll < settings.silence < settings.gone:
        raise BridgeError("supercollider: poll must be shorter than silence, and silence shorter than gone")
    return settings


def _buses(value: object) -> tuple[int, ...]:
    """Return the buses of `"0-15"`, of a list of numbers, or of one number."""
    parts = value if isinstance(value, list) else str(value).split(",")
    found: list[int] = []
    for part in parts:
        first, _, last = str(part).strip().partition("-")
        if not first.isdigit() or not (last.isdigit() or not last):
            raise BridgeError(f'supercollider.buses is {value!r}: write the control buses, like "0-15" or [0, 3]')
        found += range(int(first), min(int(last or first), int(first) + MAX_BUSES) + 1)
    if len(found) > MAX_BUSES:
        raise BridgeError(f"supercollider.buses has more than {MAX_BUSES} buses")
    return tuple(dict.fromkeys(found))
