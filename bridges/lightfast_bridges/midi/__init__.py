"""MIDI: notes, controllers, clock and timecode of the devices at this machine: the bridge."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, MissingDependency, hookimpl

INSTALL = "pip install 'lightfast[midi]'"
"""How to get the driver."""


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Bring the bridge."""
    if importlib.util.find_spec("rtmidi") is None:
        raise MissingDependency("python-rtmidi", INSTALL)
    from lightfast_bridges.midi.bridge import MidiBridge

    return [MidiBridge(config)]
