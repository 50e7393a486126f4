"""Any OSCQuery server as an application: its tree is read, listened to and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, hookimpl
from lightfast_bridges.oscquery.bridge import OscQueryBridge


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [OscQueryBridge()]
