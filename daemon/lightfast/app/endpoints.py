"""The note in the runtime folder that tells everybody where the daemon can be reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lightfast.security.keys import write_private

KEYS = (
    "pid",
    "store_id",
    "grpc",
    "grpc_unix",
    "zmq_router",
    "zmq_pub",
    "zmq_server_key",
    "link_tcp",
    "link_key_file",
    "http",
    "osc",
    "oscquery",
    "token_file",
)
"""Every key is always there; an empty text says that the door is closed."""


def write(path: Path, found: Mapping[str, str | int], *, shared: bool = False) -> None:
    """Write the note whole or not at all, for its owner and, where *shared*, the owner's group.

    An unknown key is a `ValueError`.
    """
    unknown = set(found) - set(KEYS)
    if unknown:
        raise ValueError(f"endpoints.json has no key {', '.join(sorted(unknown))}")
    body = json.dumps({key: found.get(key, "") for key in KEYS}, indent=2) + "\n"
    write_private(path, body.encode())
    if shared:
        path.chmod(0o640)


def remove(path: Path) -> None:
    """Take the note away; one that is gone already is fine."""
    path.unlink(missing_ok=True)
