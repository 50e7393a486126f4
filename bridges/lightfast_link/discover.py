"""From `endpoints.json` to a transport: ZMQ where the module is at hand, else plain TCP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

from lightfast_link.endpoints import EndpointsError, find
from lightfast_link.tcp import TcpTransport
from lightfast_link.zmq_transport import ZmqTransport, load_keypair

CLIENT_PAIR = "curve/client.curve"
"""Where, beside the link key, the daemon keeps the CURVE pair of this user's own applications."""


def transport(home: Optional[str] = None, zmq_module: Any = None) -> Callable[[], Any]:
    """Return what `LinkClient` calls before each attempt: it finds the running daemon and the best way to it.

    Without *zmq_module* the way is plain TCP. The function it returns raises `OSError` or `ValueError`.
    """

    def choose() -> Any:
        doors = find(home)
        key_file = str(doors.get("link_key_file") or "")
        router = str(doors.get("zmq_router") or "")
        if zmq_module is not None and router.startswith("ipc://"):
            return ZmqTransport(zmq_module, router)
        if zmq_module is not None and router and key_file:
            public, secret = load_keypair(str(Path(key_file).parent / CLIENT_PAIR))
            server_key = str(doors["zmq_server_key"]).encode("ascii")
            return ZmqTransport(zmq_module, router, server_key=server_key, public_key=public, secret_key=secret)
        host, _, port = str(doors.get("link_tcp") or "").rpartition(":")
        if not host or not key_file:
            raise EndpointsError("the daemon has no link door for this host: set link.tcp, or install pyzmq")
        return TcpTransport(host.strip("[]"), int(port), load_key(key_file))

    return choose


def load_key(path: str) -> bytes:
    """Return the link key in the file at *path*; raise `ValueError` when it holds none."""
    try:
        key = bytes.fromhex(Path(path).read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("%s holds no link key: it needs 32 bytes in hex" % path)
    return key
