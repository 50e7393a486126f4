"""The ZMQ doors: a ROUTER for the link and a PUB plane, on `ipc://` or on TCP with CURVE."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import structlog
import zmq

from lightfast.context.watch import Bus
from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.apps.link_server import LinkServer
from lightfast.wire.zmq.curve import CurveKeys
from lightfast.wire.zmq.publisher import Publisher, make_publisher
from lightfast.wire.zmq.router import Router, make_router
from lightfast.wire.zmq.zap import Authenticator, prove

log = structlog.get_logger("lightfast.wire.zmq")


def ipc_works() -> bool:
    """Say whether `ipc://` can be had here; elsewhere the doors are loopback TCP with CURVE."""
    return sys.platform != "win32" and bool(zmq.has("ipc"))


class ZmqDoor:
    """Opens both sockets at *router* and *pub* (`ipc://PATH`, or `tcp://HOST:PORT`, which needs *keys*)."""

    def __init__(
        self,
        link: LinkServer,
        bus: Bus,
        *,
        router: str,
        pub: str,
        clock: Clock,
        keys: CurveKeys | None = None,
        per_update: bool = False,
    ) -> None:
        self._link = link
        self._bus = bus
        self._endpoints = {"zmq_router": router, "zmq_pub": pub}
        self._clock = clock
        self._keys = keys
        self._per_update = per_update
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._authenticator: Authenticator | None = None
        self._unlisten: Callable[[], None] | None = None
        self.router: Router | None = None
        self.publisher: Publisher | None = None

    async def start(self) -> dict[str, str]:
        """Bind; returns what belongs into `endpoints.json`. Raises `FailedPrecondition`, and then nothing is open."""
        for endpoint in self._endpoints.values():
            self._check(endpoint)
        self._context = zmq.Context()
        sockets: list[zmq.Socket[bytes]] = []
        try:
            curve = [endpoint for endpoint in self._endpoints.values() if endpoint.startswith("tcp://")]
            if curve and self._keys:
                # Before any bind: a CURVE socket without an authenticator lets everybody in.
                self._authenticator = self._make_authenticator(self._context, self._keys)
            bound = {}
            for name, make in (("zmq_router", make_router), ("zmq_pub", make_publisher)):
                sock = make(self._context)
                sockets.append(sock)
                bound[name] = self._bind(sock, self._endpoints[name])
            for name, client in (("zmq_router", zmq.DEALER), ("zmq_pub", zmq.SUB)):
                if bound[name].startswith("tcp://") and self._keys:
                    await prove(bound[name], self._keys, client)
        except BaseException:  # a socket left open would keep `term` from ever returning
            for sock in sockets:
                sock.close(0)
            await self.stop()
            raise
        self.router = Router(sockets[0], self._link, self._clock)
        self.publisher = Publisher(sockets[1], self._bus.store_id, per_update=self._per_update)
        self._unlisten = self._bus.listen(["//"], self.publisher.publish)
        key = self._keys.server.public.decode() if self._authenticator and self._keys else ""
        return {**bound, "zmq_server_key": key}

    def _make_authenticator(self, context: zmq.Context[zmq.Socket[bytes]], keys: CurveKeys) -> Authenticator:
        return Authenticator(context, keys.allows)

    def _check(self, endpoint: str) -> None:
        if endpoint.startswith("ipc://"):
            _check_folder(Path(endpoint.removeprefix("ipc://")).parent)
        elif not endpoint.startswith("tcp://"):
            raise FailedPrecondition(f"{endpoint!r} is no endpoint for ZMQ: use ipc://PATH or tcp://HOST:PORT")
        elif self._keys is None:
            raise FailedPrecondition(
                f"ZMQ on {endpoint} without CURVE would let everybody in who can reach the port: "
                "give it keys, or use ipc://",
                reason="LISTEN_UNPROTECTED",
            )

    def _bind(self, sock: zmq.Socket[bytes], endpoint: str) -> str:
        if endpoint.startswith("tcp://") and self._keys:
            self._keys.guard(sock)
            sock.setsockopt(zmq.IPV6, 1 if "[" in endpoint else 0)
        try:
            sock.bind(endpoint)
        except zmq.ZMQError as error:
            raise FailedPrecondition(
                f"cannot bind {endpoint} ({error.strerror}): stop who holds it, or set another one",
                reason="PORT_TAKEN" if error.errno == zmq.EADDRINUSE else "PORT_REFUSED",
            ) from error
        if endpoint.startswith("ipc://"):
            # The folder decides who may come this far; its group may, where it is shared.
            Path(endpoint.removeprefix("ipc://")).chmod(0o660)
            return endpoint
        return sock.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    async def stop(self) -> None:
        """Say goodbye, close the sockets, and wait until what was still unsent has left."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self.router is not None:
            router, self.router = self.router, None
            await router.close("the daemon stops")
        if self.publisher is not None:
            self.publisher.close()
            self.publisher = None
        if self._authenticator is not None:
            self._authenticator.close()
            self._authenticator = None
        if self._context is not None:
            context, self._context = self._context, None
            # Waits as long as the sockets linger, so not on the loop.
            await asyncio.get_running_loop().run_in_executor(None, context.term)
        for endpoint in self._endpoints.values():
            if endpoint.startswith("ipc://"):
                Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that lets others in: on `ipc://` it is all that keeps them out."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o027:
        raise FailedPrecondition(
            f"the folder {folder} of the ZMQ sockets lets others in (owner {status.st_uid}, "
            f"mode {stat.S_IMODE(status.st_mode):04o}): run 'chmod 700 {folder}' as its owner",
            reason="FOLDER_NOT_PRIVATE",
            metadata={"path": str(folder)},
        )
