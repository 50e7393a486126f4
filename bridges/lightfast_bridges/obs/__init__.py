"""OBS Studio, through obs-websocket 5, which comes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, hookimpl
from lightfast_bridges.obs.bridge import ObsBridge


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [ObsBridge()]
