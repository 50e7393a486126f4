"""REAPER, through its OSC control surface: the bridge, what goes into REAPER, and a simulator of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, Pack, Simulator, hookimpl
from lightfast_bridges.reaper.bridge import ReaperBridge
from lightfast_bridges.reaper.pack import ReaperPack
from lightfast_bridges.reaper.simulator import ReaperSimulator


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [ReaperBridge(config)]


@hookimpl
def lightfast_simulators() -> Sequence[Simulator]:
    """Bring the simulator."""
    return [ReaperSimulator()]


@hookimpl
def lightfast_packs() -> Sequence[Pack]:
    """Bring the pattern file and the script."""
    return [ReaperPack()]
