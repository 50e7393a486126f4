"""Every setting of the daemon. The help texts here are the documentation."""

# ruff: noqa: RUF009  # section and tables are dataclasses.field

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightfast.app.engine_settings import (
    DeskSettings,
    EngineSettings,
    JobSettings,
    WorkflowSettings,
    WorkspaceSettings,
)
from lightfast.app.gateway_settings import GatewaySettings, ProviderSettings
from lightfast.app.memory_settings import (
    ArchiveSettings,
    BackupSettings,
    CacheSettings,
    CollectorSettings,
    FlowSettings,
    HistorySettings,
    MemorySettings,
)
from lightfast.app.setting_checks import loopback, networks, patterns, policies, targets, zmq_address
from lightfast.app.setting_providers import provider_mistakes
from lightfast.core.config import (
    Problem,
    is_loopback,
    parse_address,
    parse_size,
    section,
    setting,
    split_address,
    tables,
)
from lightfast.core.log import LEVELS
from lightfast.engine.transport.records import Hands, Options


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """The process."""

    lag_limit_s: float = setting(
        5.0, "The watchdog is not fed after the event loop was blocked for longer, in seconds.", minimum=0.1
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Logging."""

    level: str = setting("info", "What is worth a line.", choices=LEVELS, restart=False)
    style: str = setting(
        "auto",
        "How lines look; auto takes the journal under systemd, the console on a terminal, else JSON.",
        choices=("auto", "console", "json", "journal"),
        restart=False,
    )


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """The gRPC door."""

    listen: str = setting(
        "127.0.0.1:50151",
        "Where gRPC listens besides its Unix socket; empty: only there. Other machines need TLS.",
        check=parse_address,
    )
    tls_cert: str = setting("", "The file with the certificate chain, in PEM.")
    tls_key: str = setting("", "The file with its private key, in PEM.")


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """The doors for applications."""

    tcp: str = setting("127.0.0.1:50156", "Where applications without ZMQ connect; empty: nowhere.", check=loopback)
    router: str = setting(
        "auto",
        "Where applications connect by ZMQ: auto is a socket in the runtime folder, or 127.0.0.1:50152 with "
        "CURVE where the system has no such sockets; empty: nowhere, and then nothing is published either.",
        check=zmq_address,
    )
    pub: str = setting(
        "auto",
        "Where ZMQ publishes every change: auto is a socket in the runtime folder, or 127.0.0.1:50153 with CURVE.",
        check=zmq_address,
    )


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP door."""

    listen: str = setting("127.0.0.1:50154", "Where HTTP (health, metrics) listens; empty: nowhere.", check=loopback)


@dataclass(frozen=True, slots=True)
class OscSettings:
    """OSC from outside."""

    listen: str = setting(
        "127.0.0.1:50155",
        "Where OSC comes in; empty: nowhere. OSC has no authentication: off loopback it needs `allow`.",
        check=parse_address,
    )
    decoder: str = setting("lightfast", "Which decoder reads it.", choices=("lightfast", "python-osc"))
    allow: tuple[str, ...] = setting(
        (), "The addresses and networks besides this machine that OSC is taken from.", check=networks, restart=False
    )
    rate: int = setting(
        200_000, "The most messages a second from one source; what is more is dropped and counted.", minimum=1
    )
    grants: tuple[str, ...] = setting(
        (),
        "The patterns OSC may write; none: everything that comes in is counted and dropped.",
        check=patterns,
        restart=False,
    )


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """The timeline."""

    hands: str = setting(
        "report",
        "What somebody brings about who plays or stops a follower's own transport: report leaves it alone and shows "
        "it, lead plays or stops all, ignore brings it back in step.",
        choices=("report", "lead", "ignore"),
    )
    threshold_ms: float = setting(
        80.0, "The phase error from which a follower is located, in milliseconds.", minimum=1.0
    )
    corrections_hz: float = setting(2.0, "How often a second a follower may be located.", minimum=0.1)
    chase_hz: float = setting(
        10.0, "How often a second a follower that cannot play by itself is moved along.", minimum=0.1
    )
    mirror_hz: float = setting(10.0, "How often a second the position is published while it plays.", minimum=1.0)
    osc_out: tuple[str, ...] = setting(
        (),
        "Who is sent /lightfast/transport/playing, tempo, position and beat by OSC on every beat, for example "
        '["127.0.0.1:9000"]; other machines only where they are listed here.',
        check=targets,
    )


@dataclass(frozen=True, slots=True)
class OscQuerySettings:
    """The tree for browsers of OSC."""

    listen: str = setting(
        "",
        "Where OSCQuery (HTTP and WebSocket) listens, such as 127.0.0.1:5678; empty: nowhere. Its clients cannot send "
        "tokens: off loopback it needs `allow`.",
        check=parse_address,
    )
    osc_port: int = setting(0, "The UDP port that OSC from its clients comes to; 0: any free one.", minimum=0)
    grants: tuple[str, ...] = setting((), "The patterns that are shown; none: nothing is.", check=patterns)
    write: tuple[str, ...] = setting(
        (),
        "The patterns that its clients may write, within type and range, and that are therefore shown, too; "
        "none: it is read-only.",
        check=patterns,
    )
    allow: tuple[str, ...] = setting(
        (), "The addresses and networks besides this machine that are answered.", check=networks
    )
    name: str = setting("", "What it calls itself; empty: lightfast- and the name of this machine.")
    mdns: bool = setting(
        False,
        "Whether it is advertised by mDNS, on the interface it listens on. That takes the UDP port 5353, which can "
        "only be opened for all interfaces.",
    )


@dataclass(frozen=True, slots=True)
class AppSettings:
    """One mount."""

    resync_policy: str = setting(
        "auto",
        "Who wins when the application returns; auto: the daemon for the same document, the application "
        "for another one; ask: you, by 'lightfast apps resolve'.",
        choices=("auto", "app", "daemon", "newest", "ask"),
    )
    allow_code: bool = setting(False, "Whether commands that run code inside the application are let through.")
    wish_timeout_s: float = setting(5.0, "How long the application has to answer a wish, in seconds.", minimum=0.05)
    resync_timeout_s: float = setting(30.0, "How long it may be silent during a full report, in seconds.", minimum=0.1)
    policies: tuple[tuple[str, str], ...] = setting(
        {},
        'Who may write where others write, too, by pattern below the mount, such as {"tracks/*/volume" = "owner"}: '
        "last_writer; owner: nobody else while somebody touches it; compare_and_set: who knows what it holds.",
        check=policies,
    )
    owner_hold_s: float = setting(
        1.0, "For how long a write counts as touching, where the policy is owner, in seconds.", minimum=0.05
    )


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """One plugin; further keys are its own."""

    options: Mapping[str, Any]
    enabled: bool = setting(True, "Whether the plugin is loaded.", restart=False)
    isolated: bool = setting(False, "Whether its providers run in a process of their own.", restart=False)


@dataclass(frozen=True, slots=True)
class AssetSettings:
    """Assets."""

    quota: int = setting("20 GiB", "The most that all assets together may take.", check=parse_size)


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """Recordings of sessions."""

    max_size: int = setting("4 GiB", "The largest recording; with that it ends, and says so.", check=parse_size)
    pack_days: float = setting(
        0.0, "Recordings older than so many days are packed into a fraction of their bytes; 0: never.", minimum=0.0
    )
    pack_hz: float = setting(
        0.0, "Of a signal, so many samples a second stay when a recording is packed; 0: all.", minimum=0.0
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds."""

    unary_calls: int = setting(2000, "How many short gRPC calls may be under way.", minimum=1)
    streams: int = setting(4000, "How many gRPC streams may be open.", minimum=1)
    unary_deadline_s: float = setting(
        60.0, "How long a short call that brings no deadline of its own may take, in seconds.", minimum=0.1
    )
    generations: int = setting(64, "How many generations may run at once.", minimum=1)


@dataclass(frozen=True, slots=True)
class Settings:
    """All sections."""

    daemon: DaemonSettings = section(DaemonSettings, "The process.")
    log: LogSettings = section(LogSettings, "What is written down while it runs.")
    grpc: GrpcSettings = section(GrpcSettings, "The door for clients: the CLI, SDKs, dashboards.")
    link: LinkSettings = section(LinkSettings, "The doors for applications that speak the link protocol.")
    http: HttpSettings = section(HttpSettings, "The door for browsers and scrapers.")
    osc: OscSettings = section(OscSettings, "The door for OSC from anywhere: controllers, sensors, scripts.")
    transport: TransportSettings = section(TransportSettings, "The one timeline of the desk.")
    oscquery: OscQuerySettings = section(
        OscQuerySettings, "The door for browsers of OSC: ossia score, Chataigne and others."
    )
    assets: AssetSettings = section(AssetSettings, "Images, sounds and other files.")
    recordings: RecordingSettings = section(RecordingSettings, "Recordings of whole sessions.")
    flow: FlowSettings = section(FlowSettings, "Who goes first.")
    cache: CacheSettings = section(CacheSettings, "What is kept in memory.")
    history: HistorySettings = section(HistorySettings, "The past of the context.")
    archive: ArchiveSettings = section(ArchiveSettings, "The store that grows for years.")
    memory: MemorySettings = section(MemorySettings, "Facts, notes and relations.")
    collector: CollectorSettings = section(CollectorSettings, "What moves on, and what goes, by itself.")
    backups: BackupSettings = section(BackupSettings, "Copies of everything.")
    gateway: GatewaySettings = section(GatewaySettings, "AI services and the local provider.")
    engine: EngineSettings = section(EngineSettings, "Programs: planning and running them.")
    desk: DeskSettings = section(DeskSettings, "The front desk.")
    jobs: JobSettings = section(JobSettings, "Durable work.")
    workspaces: WorkspaceSettings = section(WorkspaceSettings, "Workspaces, projects and tasks.")
    workflows: WorkflowSettings = section(WorkflowSettings, "Programs from files, and what starts them.")
    limits: LimitSettings = section(LimitSettings, "What is refused rather than queued.")
    apps: Mapping[str, AppSettings] = tables(AppSettings, "One table per mount, named like it.", example="blender")
    providers: Mapping[str, ProviderSettings] = tables(
        ProviderSettings,
        "One table per AI service, named like its provider; further keys are its own.",
        example="openai",
    )
    plugins: Mapping[str, PluginSettings] = tables(
        PluginSettings, "One table per plugin; further keys are the plugin's own.", example="studio"
    )


def mistakes(settings: Settings) -> list[Problem]:
    """Return what is wrong with settings that are right one by one."""
    found: list[Problem] = []
    grpc = settings.grpc
    for key, path in (("grpc.tls_cert", grpc.tls_cert), ("grpc.tls_key", grpc.tls_key)):
        if path and not Path(path).expanduser().is_file():
            found.append(Problem(key, f"there is no file {path}"))
    if bool(grpc.tls_cert) != bool(grpc.tls_key):
        found.append(Problem("grpc.tls_cert", "TLS needs both, grpc.tls_cert and grpc.tls_key"))
    if grpc.listen and not grpc.tls_cert and not is_loopback(split_address(grpc.listen)[0]):
        found.append(
            Problem(
                "grpc.listen",
                f"{grpc.listen} can be reached from other machines, and there is no TLS: set grpc.tls_cert and "
                "grpc.tls_key, or listen on 127.0.0.1 and forward the port through SSH",
            )
        )
    osc = settings.osc
    if osc.listen and not osc.allow and not is_loopback(split_address(osc.listen)[0]):
        found.append(
            Problem(
                "osc.listen",
                f"{osc.listen} can be reached from other machines, and OSC asks for no password: list who may send "
                'in osc.allow, for example ["192.168.1.0/24"], or listen on 127.0.0.1',
            )
        )
    if osc.listen and osc.listen in settings.transport.osc_out:
        found.append(Problem("transport.osc_out", f"{osc.listen} is our own osc.listen: the beat would come back in"))
    query = settings.oscquery
    if query.listen and not query.allow and not is_loopback(split_address(query.listen)[0]):
        found.append(
            Problem(
                "oscquery.listen",
                f"{query.listen} can be reached from other machines, and OSCQuery asks for no password: list who is "
                'answered in oscquery.allow, for example ["192.168.1.0/24"], or listen on 127.0.0.1',
            )
        )
    if query.osc_port > 65_535:
        found.append(Problem("oscquery.osc_port", "a port is a number from 0 to 65535"))
    return found + _shared_addresses(settings) + provider_mistakes(settings.providers)


def _shared_addresses(settings: Settings) -> list[Problem]:
    """Return the doors that were given an address which another one has."""
    link = settings.link
    doors = {
        "grpc.listen": settings.grpc.listen,
        "http.listen": settings.http.listen,
        "oscquery.listen": settings.oscquery.listen,
        "link.tcp": link.tcp,
        "link.router": link.router.removeprefix("auto"),
        "link.pub": link.pub.removeprefix("auto"),
    }
    first: dict[tuple[str, int], str] = {}
    found: list[Problem] = []
    for key, address in doors.items():
        if address and split_address(address)[1]:
            other = first.setdefault(split_address(address), key)
            if other != key:
                found.append(Problem(key, f"{address} is also {other}: give each door a port of its own"))
    return found


def app_tables(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the tables `[apps.NAME]` as the registry takes them."""
    tables = {name: asdict(table) for name, table in settings.apps.items()}
    for table in tables.values():
        table["resync_policy"] = table["resync_policy"].removeprefix("auto")
        table["policies"] = dict(table["policies"])
    return tables


def transport_options(settings: Settings) -> Options:
    """Return the section `[transport]` as the transport takes it."""
    chosen = settings.transport
    return Options(
        hands=Hands(chosen.hands),
        threshold_s=chosen.threshold_ms / 1e3,
        corrections_hz=chosen.corrections_hz,
        chase_hz=chosen.chase_hz,
        mirror_hz=chosen.mirror_hz,
    )


def plugin_tables(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the tables `[plugins.NAME]` as the plugin host takes them."""
    return {
        name: {**table.options, "enabled": table.enabled, "isolated": table.isolated}
        for name, table in settings.plugins.items()
    }
