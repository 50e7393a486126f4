"""How a client finds the daemon and proves who it is."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc import aio

from lightfast.client.errors import DaemonGone
from lightfast_link import endpoints

OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 64 << 20),
    # A fresh client asks for itself: it does not inherit another one's back-off after a restart of the daemon.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Short, for it is this machine: a lease of 2 s has to be beaten again soon after a restart of the daemon.
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the daemon is; *token* is empty on the user's own Unix socket."""

    address: str
    token: str = ""
    certificates: bytes | None = None


def find_target(home: str | os.PathLike[str] | None = None) -> Target:
    """Return the daemon of *home* (or `LIGHTFAST_HOME`, or this user's); raise `DaemonGone` where none runs."""
    try:
        found = endpoints.find(os.fspath(home) if home is not None else None)
    except (OSError, ValueError, LookupError) as error:
        raise DaemonGone(str(error)) from None
    unix = found.get("grpc_unix")
    if unix and os.name == "posix":
        return Target(f"unix:{unix}")
    token_file = found.get("token_file")
    token = Path(token_file).read_text(encoding="utf-8").strip() if token_file else ""
    return Target(str(found["grpc"]), token)


def metadata(target: Target, session: str = "") -> tuple[tuple[str, str], ...]:
    """Return the metadata of every call: the token, and a session that sets this client apart."""
    pairs = [("lightfast-session", session or secrets.token_hex(4))]
    if target.token:
        pairs.append(("authorization", f"Bearer {target.token}"))
    return tuple(pairs)


def open_channel(target: Target) -> aio.Channel:
    """Open the channel; a token goes over TLS, or over loopback."""
    if target.certificates is not None:
        credentials = grpc.ssl_channel_credentials(target.certificates)
        return aio.secure_channel(target.address, credentials, options=OPTIONS)
    return aio.insecure_channel(target.address, options=OPTIONS)
