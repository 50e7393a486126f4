"""Ableton Live, through the AbletonOSC control surface: the bridge and a simulator of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, Simulator, hookimpl
from lightfast_bridges.ableton.bridge import AbletonBridge
from lightfast_bridges.ableton.simulator import AbletonSimulator


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [AbletonBridge(config)]


@hookimpl
def lightfast_simulators() -> Sequence[Simulator]:
    """Bring the simulator."""
    return [AbletonSimulator()]
