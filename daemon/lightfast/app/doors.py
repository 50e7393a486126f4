"""The doors: each is opened by its settings, says where it was bound, and is closed with the wires."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.app.notify import Health
from lightfast.app.ports import ensure_free, explain
from lightfast.app.settings import OscSettings, Settings
from lightfast.app.stages import Stages
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.config import split_address
from lightfast.core.metrics import Metrics
from lightfast.core.paths import Paths
from lightfast.engine.apps.link_server import LinkServer
from lightfast.security.tokens import Principal, TokenBook

if TYPE_CHECKING:
    from grpc import ServerCredentials
    from starlette.requests import HTTPConnection

    from lightfast.engine.events.log import EventLog
    from lightfast.wire.grpc.services import Services
    from lightfast.wire.http.server import HttpDoor
    from lightfast.wire.http.streams import Streams
    from lightfast.wire.osc.door import OscDoor
    from lightfast.wire.oscquery.server import OscQueryServer

GRACE_S = 3.0
"""How long calls under way may take to end, in seconds."""
Found = dict[str, str | int]
"""Keys of `endpoints.json`."""


def check_ports(settings: Settings) -> None:
    """Raise `FailedPrecondition` for the first port that is taken."""
    for key, address in (
        ("grpc.listen", settings.grpc.listen),
        ("http.listen", settings.http.listen),
        ("oscquery.listen", settings.oscquery.listen),
        ("link.tcp", settings.link.tcp),
        ("link.router", settings.link.router),
        ("link.pub", settings.link.pub),
    ):
        if address != "auto":
            ensure_free(address, key)
    ensure_free(settings.osc.listen, "osc.listen", "udp")


async def open_grpc(
    stages: Stages, settings: Settings, paths: Paths, services: Services
) -> tuple[Found, Callable[[], tuple[int, int]]]:
    """Open gRPC on its Unix socket and on TCP; also return what counts the calls and the streams under way."""
    from lightfast.wire.grpc.server import GrpcServer

    socket = None if sys.platform == "win32" else paths.socket("grpc.sock")
    limits = settings.limits
    server = GrpcServer(
        services,
        max_unary=limits.unary_calls,
        max_streams=limits.streams,
        unary_deadline=limits.unary_deadline_s,
    )
    stages.leave("wires", "grpc", lambda: server.stop(GRACE_S))
    bound = await server.start(settings.grpc.listen, socket, credentials=_credentials(settings))
    if paths.shared and bound.get("grpc_unix"):
        # The socket has our own group already; the system unit may not change owners, nor need it.
        Path(bound["grpc_unix"]).chmod(0o660)
    return dict(bound), lambda: server.door.open_calls


def _credentials(settings: Settings) -> ServerCredentials | None:
    """Return what TLS needs, where it is set up."""
    if not settings.grpc.tls_cert:
        return None
    from grpc import ssl_server_credentials

    key, chain = (Path(name).expanduser().read_bytes() for name in (settings.grpc.tls_key, settings.grpc.tls_cert))
    return ssl_server_credentials([(key, chain)])


async def open_zmq(stages: Stages, settings: Settings, paths: Paths, link: LinkServer, bus: Bus) -> Found:
    """Open the ROUTER and the PUB."""
    if not settings.link.router or not settings.link.pub:
        return {}
    from lightfast.wire.zmq.curve import CurveKeys
    from lightfast.wire.zmq.door import ZmqDoor, ipc_works

    def endpoint(address: str, name: str, port: int) -> str:
        if address == "auto":
            return f"ipc://{paths.socket(name)}" if ipc_works() else f"tcp://127.0.0.1:{port}"
        host, number = split_address(address)
        return f"tcp://[{host}]:{number}" if ":" in host else f"tcp://{host}:{'*' if number == 0 else number}"

    router = endpoint(settings.link.router, "link.sock", 50152)
    pub = endpoint(settings.link.pub, "pub.sock", 50153)
    keys = CurveKeys(paths.state / "curve") if "tcp://" in router + pub else None
    door = ZmqDoor(link, bus, router=router, pub=pub, clock=SYSTEM, keys=keys)
    bound = await door.start()
    stages.leave("wires", "zmq", door.stop)
    return dict(bound)


async def open_tcp(stages: Stages, settings: Settings, link: LinkServer) -> Found:
    """Open the link for hosts without ZMQ."""
    if not settings.link.tcp:
        return {}
    from lightfast.wire.tcp.server import TcpDoor

    door = TcpDoor(link, settings.link.tcp, clock=SYSTEM)
    bound = await door.start()
    stages.leave("wires", "tcp", door.stop)
    return {"link_tcp": bound}


class OscKeeper:
    """Keeps the OSC door open, through changes of what it lets in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.door: OscDoor | None = None

    async def open(self, chosen: OscSettings) -> Found:
        """Open the door."""
        if not chosen.listen:
            return {}
        from lightfast.wire.osc.door import OscDoor

        self.door = OscDoor(
            self._store,
            listen=chosen.listen,
            allow=chosen.allow,
            grants=chosen.grants,
            decoder=chosen.decoder,
            rate=chosen.rate,
            burst=chosen.rate,
            clock=SYSTEM,
        )
        return {"osc": await self.door.start()}

    async def follow(self, settings: Settings) -> None:
        """Let in what the settings let in now."""
        if self.door is not None:
            self.door.admit(allow=settings.osc.allow, grants=settings.osc.grants)

    def stats(self) -> dict[str, int]:
        """Return what became of messages and datagrams."""
        return self.door.stats() if self.door is not None else {}

    async def stop(self) -> None:
        """Close the door."""
        if self.door is not None:
            await self.door.stop()


def open_http(
    stages: Stages,
    settings: Settings,
    tokens: TokenBook,
    metrics: Metrics,
    health: Health,
    found: Found,
    *,
    store: Store,
    events: EventLog,
) -> HttpDoor | None:
    """Bind the HTTP door; it serves once its libraries are loaded."""
    if not settings.http.listen:
        return None
    from lightfast.wire.http.server import HttpDoor, bind

    host, port = split_address(settings.http.listen)
    try:
        sock = bind(host, port)
    except OSError as error:
        raise explain(error, host, port, "http.listen", "tcp") from error

    def streams(authenticate: Callable[[HTTPConnection], Principal]) -> Streams:
        from lightfast.wire.http.streams import Streams

        return Streams(store, events, authenticate)

    door = HttpDoor(
        sock,
        authenticate=tokens.authenticate,
        metrics=metrics,
        serving=lambda: not health.trouble,
        streams=streams,
    )
    stages.leave("wires", "http", door.stop)
    host, port = sock.getsockname()[:2]
    found["http"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return door


async def open_oscquery(
    stages: Stages, settings: Settings, store: Store, bus: Bus, found: Found
) -> OscQueryServer | None:
    """Bind OSCQuery and the OSC door of its clients; it serves once its libraries are loaded."""
    chosen = settings.oscquery
    if not chosen.listen:
        return None
    from lightfast.wire.http.server import bind
    from lightfast.wire.osc.admission import Sources
    from lightfast.wire.osc.door import OscDoor
    from lightfast.wire.oscquery.server import OscQueryServer

    host, port = split_address(chosen.listen)
    try:
        sock = bind(host, port)
    except OSError as error:
        raise explain(error, host, port, "oscquery.listen", "tcp") from error
    # What its clients write passes a door like any OSC. Without a grant for it, it is counted and dropped there.
    door = OscDoor(
        store,
        listen=f"[{host}]:{chosen.osc_port}" if ":" in host else f"{host}:{chosen.osc_port}",
        allow=chosen.allow,
        grants=chosen.write,
        rate=settings.osc.rate,
        burst=settings.osc.rate,
        clock=SYSTEM,
    )
    stages.leave("wires", "oscquery osc", door.stop)
    osc_port = split_address(await door.start())[1]
    server = OscQueryServer(
        sock,
        store,
        bus.listen,
        grants=chosen.grants,
        write_grants=chosen.write,
        write=door.take,
        osc_port=osc_port,
        allows=Sources(chosen.allow).allows,
        name=chosen.name,
        mdns=chosen.mdns,
    )
    stages.leave("wires", "oscquery", server.stop)
    host, port = sock.getsockname()[:2]
    found["oscquery"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return server
