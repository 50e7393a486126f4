"""Who holds a port."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a port; *pid* is 0 where the system does not tell."""

    pid: int
    name: str

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


def _is_taken(port: int, kind: str) -> bool:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
