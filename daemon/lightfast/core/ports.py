"""Who holds a port."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a port, and the *address* it is bound to; *pid* is 0 where the system does not tell."""

    pid: int
    name: str
    address: str = ""

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})" if self.pid else self.name


def holder(port: int, kind: str = "tcp") -> Holder | None:
    """Return who listens on *port* of this machine; *kind* is `tcp` or `udp`; None where nobody does.

    Another user's process may be nameless; on macOS the look-up itself needs more rights, and then
    the answer is a nameless holder only where the port is really taken, which binding it shows.
    """
    import psutil

    try:
        connections = psutil.net_connections(kind)
    except psutil.AccessDenied:
        return Holder(0, "a process that this user may not see") if _is_taken(port, kind) else None
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status in {"LISTEN", "NONE"}:
            if not connection.pid:
                return Holder(0, "a process of another user")
            try:
                return Holder(connection.pid, psutil.Process(connection.pid).name())
            except psutil.Error:
                return Holder(connection.pid, "a process that has just ended")
    return None


def holders(ports: Iterable[tuple[int, str]]) -> dict[tuple[int, str], list[Holder]]:
    """Return who listens on each of *ports* (port and `tcp` or `udp`); several may share one.

    All sockets are looked at once. Those that are connected to somewhere, and happen to have such a number
    themselves, do not count. Where the system does not tell, a taken port has one nameless holder.
    """
    import psutil

    wanted = set(ports)
    found: dict[tuple[int, str], list[Holder]] = {}
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        nameless = Holder(0, "a process that this user may not see")
        return {place: [nameless] for place in wanted if _is_taken(*place)}
    names: dict[int | None, str] = {None: "a process of another user"}
    for connection in connections:
        kind = "tcp" if connection.type == socket.SOCK_STREAM else "udp"
        if not connection.laddr or (connection.laddr.port, kind) not in wanted:
            continue
        if connection.status != "LISTEN" and (kind == "tcp" or connection.raddr):
            continue
        if connection.pid not in names:
            try:
                names[connection.pid] = psutil.Process(connection.pid).name()
            except psutil.Error:
                names[connection.pid] = "a process that has just ended"
        holder = Holder(connection.pid or 0, names[connection.pid], connection.laddr.ip)
        listed = found.setdefault((connection.laddr.port, kind), [])
        if holder not in listed:
            listed.append(holder)
    return found


def _is_taken(port: int, kind: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
