"""Pure Data: the bridge, and the abstractions that let a patch join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, Pack, hookimpl
from lightfast_bridges.puredata.bridge import PureDataBridge
from lightfast_bridges.puredata.pack import PureDataPack


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    return [PureDataBridge()]


@hookimpl
def lightfast_packs() -> Sequence[Pack]:
    """Bring the abstractions."""
    return [PureDataPack()]
