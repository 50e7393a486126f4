"""Taken ports, told in a way that helps: which port, whose, and which setting moves ours."""

from __future__ import annotations

import errno
import socket
from typing import Literal

from lightfast.core.config import split_address
from lightfast.core.errors import FailedPrecondition
from lightfast.core.ports import holder

Kind = Literal["tcp", "udp"]


def ensure_free(address: str, key: str, kind: Kind = "tcp") -> None:
    """Raise `FailedPrecondition` when *address* cannot be bound; *key* is the setting it comes from.

    An empty address is free. It is asked before the doors open: some would share a taken port in silence.
    """
    if not address:
        return
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    flavor = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, flavor) as probe:
        if kind == "tcp":  # what lingers after our own stop is no owner
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            if kind == "tcp":
                probe.listen(1)
        except OSError as error:
            raise explain(error, host, port, key, kind) from error


def explain(error: OSError, host: str, port: int, key: str, kind: Kind) -> FailedPrecondition:
    """Return the error for a *host* and *port* that could not be bound."""
    change = f"set {key} to another address, for example --set {key}={host}:0 for any free port"
    if error.errno == errno.EADDRINUSE:
        found = holder(port, kind)
        by = (
            f"by {found}: stop it"
            if found
            else ("by an outgoing connection, which goes away by itself: try again in a minute")
        )
        return FailedPrecondition(
            f"the {kind.upper()} port {port} on {host} is taken {by}, or {change}",
            reason="PORT_TAKEN",
            metadata={"port": str(port), "key": key, "holder": str(found or "")},
        )
    if error.errno == errno.EADDRNOTAVAIL:
        why = f"{host} is no address of this machine"
    elif error.errno == errno.EACCES:
        why = f"the system does not let this user bind {kind.upper()} port {port}"
    else:
        why = f"{kind.upper()} {host}:{port} cannot be bound ({error.strerror})"
    return FailedPrecondition(f"{why}: {change}", reason="PORT_REFUSED", metadata={"key": key})
