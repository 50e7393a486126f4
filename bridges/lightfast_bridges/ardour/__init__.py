"""Ardour, by the OSC of its control surfaces: the bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, hookimpl
from lightfast_bridges.ardour.bridge import ArdourBridge


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [ArdourBridge(config)]
