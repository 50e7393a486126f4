"""HOST_INFO: what the server says of itself."""

from __future__ import annotations

import os
import socket
from typing import Any

from lightfast.wire.oscquery.nodes import ATTRIBUTES

NAMES = frozenset(("FULL_PATH", "CONTENTS", "TYPE"))
"""Required attributes, which are no extensions."""


def process() -> str:
    """Return what tells this process from any other: a client that finds its own here must not mirror itself."""
    return f"{socket.gethostname()}:{os.getpid()}"


def host_info(name: str, host: str, port: int, osc_port: int, *, writable: bool) -> dict[str, Any]:
    """Return the answer to `?HOST_INFO`; *host* is the address that the asker reached."""
    extensions = {attribute: True for attribute in ATTRIBUTES if attribute not in NAMES}
    extensions |= {
        "LISTEN": True,
        "IGNORE": True,
        "PATH_CHANGED": True,
        "PATH_ADDED": True,
        "PATH_REMOVED": True,
        "PATH_RENAMED": True,
        "OSC_STREAMING": True,
        "TAGS": False,
        "OVERLOADS": False,
        "HTML": False,
    }
    return {
        "NAME": name,
        "EXTENSIONS": extensions,
        "OSC_IP": host,
        "OSC_PORT": osc_port or port,
        "OSC_TRANSPORT": "UDP",
        "WS_IP": host,
        "WS_PORT": port,
        "LIGHTFAST": {"PROCESS": process(), "WRITABLE": writable},
    }
