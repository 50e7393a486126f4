"""Finds the daemon and the way to it: ZMQ where pyzmq is at hand, else plain TCP."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any, Callable, Optional

from lightfast_link.tcp import TcpTransport
from lightfast_link.zmq_transport import ZmqTransport

from .settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def zmq_module() -> Optional[Any]:
    """Return pyzmq, or `None` where it is not there or does not load; LIGHTFAST_LINK=tcp does without."""
    if os.environ.get("LIGHTFAST_LINK") == "tcp" or importlib.util.find_spec("zmq") is None:
        return None
    try:
        return importlib.import_module("zmq")
    except ImportError:
        return None


def transport(settings: Settings) -> Callable[[], Any]:
    """Return a function that finds the daemon anew each time it is called; it does not touch `bpy`."""
    zmq = zmq_module()

    def find() -> Any:
        if settings.host:
            return _tcp(settings.host, settings.port, settings.key_file)
        from lightfast_link import endpoints

        doors = endpoints.find(settings.home or None)
        router = str(doors.get("zmq_router") or "")
        if zmq is not None and router.startswith("ipc://"):
            return ZmqTransport(zmq, router)
        host, _, port = str(doors.get("link_tcp") or "").rpartition(":")
        if not host:
            raise OSError("the daemon has no TCP link door, and ZMQ is %s" % ("closed" if zmq else "not installed"))
        return _tcp(host, int(port), settings.key_file or str(doors.get("link_key_file") or ""))

    return find


def _tcp(host: str, port: int, key_file: str) -> TcpTransport:
    if not key_file:
        raise OSError("no link key: choose the key file of the daemon in the preferences of the add-on")
    return TcpTransport(host, port, bytes.fromhex(Path(key_file).read_text(encoding="ascii").strip()))
