"""Any OSC device, by a map: one YAML file says what it understands, and it is joined like any other application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, Pack, hookimpl
from lightfast_bridges.osc.bridge import OscBridge
from lightfast_bridges.osc.pack import packs


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [OscBridge()]


@hookimpl
def lightfast_packs() -> Sequence[Pack]:
    """Bring the maps that come with it; `lightfast osc use NAME` writes one where it is used."""
    return packs()
