"""Where the gRPC door listens, and why it cannot."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from grpc import ServerCredentials, aio

from lightfast.core.config import is_loopback, split_address
from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.core.ports import holder

MAX_SOCKET_PATH = 100
"""The longest path of a Unix socket, in bytes; systems take 104 or 108."""


def bind_tcp(server: aio.Server, listen: str, credentials: ServerCredentials | None) -> str:
    """Bind `HOST:PORT` and return it with the real port.

    Raises `FailedPrecondition` off loopback without *credentials*, and for a port that is taken,
    naming who holds it.
    """
    try:
        host, port = split_address(listen)
    except ValueError as error:
        raise InvalidArgument(f"grpc.listen is {listen!r}: use {error}", field="grpc.listen") from None
    if credentials is None and not is_loopback(host):
        raise FailedPrecondition(
            f"grpc.listen is {listen}, which other machines can reach, and there is no TLS: "
            "listen on 127.0.0.1, or set up TLS",
            reason="TLS_REQUIRED",
            metadata={"listen": listen},
        )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise _refused(host, port) from error
    if not bound:
        raise _refused(host, port)
    return f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"


def _refused(host: str, port: int) -> FailedPrecondition:
    found = holder(port) if port else None
    if found is not None:
        return FailedPrecondition(
            f"the TCP port {port} is taken by {found}: stop it, or set grpc.listen to another address",
            reason="PORT_TAKEN",
            metadata={"port": str(port), "holder": str(found)},
        )
    return FailedPrecondition(
        f"gRPC cannot listen on {host} port {port}: the address is not of this machine, "
        "or the port is reserved; set grpc.listen to another address",
        reason="PORT_REFUSED",
        metadata={"port": str(port)},
    )


class UnixSocket:
    """A Unix socket in the file system, only for its owner or a group.

    The caller holds the lock of the folder: gRPC takes over a live socket without a word.
    """

    def __init__(self, path: Path) -> None:
        """Take *path*, or where it is too long for a socket, a short one in a private folder."""
        self._folder: Path | None = None
        self.path = path
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            self._folder = Path(tempfile.mkdtemp(prefix="lightfast-", dir="/tmp"))
            self.path = self._folder / "grpc.sock"

    def bind(self, server: aio.Server, group: str = "") -> Path:
        """Bind it for its owner, or also for *group*; return where it really is."""
        self.path.unlink(missing_ok=True)
        # Nobody else may connect in the moment before the mode is set.
        before = os.umask(0o177)
        try:
            bound = server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:
            raise self._refused() from error
        finally:
            os.umask(before)
        if not bound:
            raise self._refused()
        if group:
            shutil.chown(self.path, group=group)
            if self._folder is not None:
                shutil.chown(self._folder, group=group)
                self._folder.chmod(0o750)
        self.path.chmod(0o660 if group else 0o600)
        return self.path

    def remove(self) -> None:
        """Take the socket away, and the folder that was made for it."""
        self.path.unlink(missing_ok=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _refused(self) -> FailedPrecondition:
        return FailedPrecondition(
            f"gRPC cannot listen on the Unix socket {self.path}: see that its folder exists and is yours",
            reason="SOCKET_REFUSED",
            metadata={"path": str(self.path)},
        )
