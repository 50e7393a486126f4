"""Tools of MCP servers as commands, through the official SDK."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, MissingDependency, hookimpl

INSTALL = "pip install 'lightfast[mcp]'"
"""How to get the SDK."""


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Return the bridge; it starts no server that is not named in its settings."""
    if importlib.util.find_spec("mcp") is None:
        raise MissingDependency("the MCP SDK", INSTALL)
    from lightfast_bridges.mcp.bridge import McpBridge

    return [McpBridge()]
