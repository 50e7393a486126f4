"""Hydrogen, the drum machine, by its OSC server: the bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, hookimpl
from lightfast_bridges.hydrogen.bridge import HydrogenBridge


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [HydrogenBridge(config)]
