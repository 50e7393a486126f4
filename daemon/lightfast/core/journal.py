"""The native protocol of the systemd journal: one datagram per entry, every field searchable."""

from __future__ import annotations

import array
import errno
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as journal fields: `MESSAGE`, `PRIORITY`, `LIGHTFAST_<FIELD>`."""
    import json

    fields: dict[str, str] = {
        "MESSAGE": str(event.get("event", "")),
        "PRIORITY": str(_PRIORITY.get(str(event.get("level")), 6)),
        "SYSLOG_IDENTIFIER": "lightfast",
    }
    for name, value in event.items():
        if name not in {"event", "level", "timestamp"}:
            key = "LIGHTFAST_" + _NOT_IN_A_NAME.sub("_", name.upper())[:50]
            fields[key] = value if isinstance(value, str) else json.dumps(value, default=str)
    if "LIGHTFAST_EXCEPTION" in fields:
        fields["MESSAGE"] += "\n" + fields["LIGHTFAST_EXCEPTION"]
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: str) -> bytes:
    content = value.encode(errors="replace")
    if b"\n" not in content:
        return name.encode() + b"=" + content + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n"


class JournalWriter:
    """Writes events to the journal; when it cannot be reached they go to *fallback* as text."""

    def __init__(self, *, fallback: Callable[[str], None], address: str = SOCKET) -> None:
        self._fallback = fallback
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def write(self, event: Mapping[str, Any]) -> None:
        """Send one event."""
        content = encode(event)
        try:
            self._socket.sendto(content, self._address)
        except OSError as error:
            if error.errno == errno.EMSGSIZE and sys.platform == "linux" and self._send_large(content):
                return
            self._fallback(f"{event.get('level', '')}: {event.get('event', '')}: {dict(event)}")

    def _send_large(self, content: bytes) -> bool:
        """Send an entry too large for a datagram as a sealed file in memory; return whether it went."""
        import fcntl

        handle = os.memfd_create("lightfast-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(handle, content)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(handle, fcntl.F_ADD_SEALS, seals)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))
            self._socket.sendmsg([], [rights], 0, self._address)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
