"""Ableton Link: the tempo, the beat and the transport that musicians' programs share over the local network."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, MissingDependency, hookimpl

INSTALL = "pip install 'lightfast[ableton-link]'"
"""How to get the library, which is GPL-3.0-or-later and stays in a process of its own."""


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Return the bridge; it stays at home unless its setting `join` is on."""
    if importlib.util.find_spec("aalink") is None:
        raise MissingDependency("aalink, for Ableton Link,", INSTALL)
    from lightfast_bridges.abletonlink.bridge import AbletonLinkBridge

    return [AbletonLinkBridge()]
