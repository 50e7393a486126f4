"""SuperCollider's synthesis server: scsynth, or any server that speaks its commands over UDP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, hookimpl
from lightfast_bridges.supercollider.bridge import SuperColliderBridge


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [SuperColliderBridge()]
