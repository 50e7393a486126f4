"""Hears which sessions are there before one is joined: peers say their tempo by multicast four times a second.

The datagrams are those of Link's discovery: `_asdp_v` and a 1, the type (1: alive, 2: an answer), the time to live,
two bytes of group and eight of node id, then entries of a four-letter key, a size and a value, all big-endian. The
entry `tmln` holds microseconds per beat, then where its beats and times begin.
"""

from __future__ import annotations

import socket
import struct

GROUP, PORT = "224.76.78.75", 20808
_HEADER = struct.Struct(">8sBBH8s")
_ENTRY = struct.Struct(">4sI")
_TIMELINE = struct.Struct(">qqq")
_MAGIC = b"_asdp_v\x01"
_ALIVE, _ANSWER = 1, 2


def tempo_of(datagram: bytes) -> float | None:
    """Return the tempo that a discovery datagram tells, in beats per minute; nothing where it tells none."""
    if len(datagram) < _HEADER.size:
        return None
    magic, kind, *_ = _HEADER.unpack_from(datagram)
    if magic != _MAGIC or kind not in {_ALIVE, _ANSWER}:
        return None
    at = _HEADER.size
    while at + _ENTRY.size <= len(datagram):
        key, size = _ENTRY.unpack_from(datagram, at)
        at += _ENTRY.size
        if at + size > len(datagram):
            return None
        if key == b"tmln" and size == _TIMELINE.size:
            per_beat = _TIMELINE.unpack_from(datagram, at)[0]
            return 60e6 / per_beat if per_beat > 0 else None
        at += size
    return None


def ear() -> socket.socket:
    """Open a socket that hears peers on all interfaces; raises `OSError`."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((GROUP if _binds_groups() else "", PORT))
        _enter(sock)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _binds_groups() -> bool:
    """Say whether a socket can be bound to a group, so that it hears nothing else on the port."""
    return hasattr(socket, "AF_UNIX")


def _enter(sock: socket.socket) -> None:
    """Enter the group on each interface that takes part in multicasts; raises `OSError` where none does."""
    group, refused = socket.inet_aton(GROUP), OSError("no network interface takes part in multicasts")
    entered = False
    for index, _ in socket.if_nameindex():
        try:
            sock.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("@4s4si", group, b"\0\0\0\0", index)
            )
            entered = True
        except OSError as error:
            refused = error
    if not entered:
        raise refused
