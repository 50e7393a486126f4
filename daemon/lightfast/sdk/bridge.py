"""What a bridge is to the daemon: the half that joins one kind of application.

Two ways lead in. An application that speaks the *link protocol* (Blender, TouchDesigner)
connects by itself; its bridge only says how its kind behaves (`Bridge.traits`). An
application that speaks a protocol of its own (AbletonOSC) is driven by `Bridge.run`, which
opens sockets through `BridgeHost`, says `hello` when the application answers, and then
reports and settles through the `AppSession` it was given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightfast.sdk.diagnosis import Finding
from lightfast.sdk.dialect import Dialect
from lightfast.sdk.timeline import Timeline
from lightfast_link.value import Asset, Value


@dataclass(frozen=True, slots=True)
class Parameter:
    """What is known of the paths under *pattern*, which is relative to the mount (`objects/*/location`).

    *kind* is a kind of value or empty for any; *access* is `rw`, `r` or `w`; *tolerance* is absolute,
    0 meaning 1e-6 relative.
    """

    pattern: str
    kind: str = ""
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    access: str = "rw"
    description: str = ""
    signal: bool = False
    choices: tuple[str, ...] = ()
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command; *kind* is a kind of value."""

    name: str
    kind: str = ""
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Undo:
    """How a command is taken back: by another *command* of the application.

    *arguments* are those of that command; a text that begins with `$` stands for something of the call: `$result`,
    `$result.name`, `$arguments.object`, `$arguments.track+1`. Where one of these is not there, or is a number below 0
    (an index that counts from the end), the command cannot be taken back so.
    """

    command: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the application's own verb; *effect* is `read`, `reversible`, `destructive` or `code`.

    It is `reversible` where *undo* takes it back, where all it changes are values that are reported and can be set
    back, or where it leaves nothing in the document (what plays, where the playhead is). Whatever else it changes for
    good (a file that is written, a note that is added) is `destructive`: in a program it waits for an approval.

    *schema* is the JSON Schema of all its arguments as a text, where one is known. *idempotent*: doing it again right
    after leaves all as it is, as with a command that sets a state. *undo* takes it back, where setting values back is
    not enough for that.
    """

    name: str
    description: str = ""
    arguments: tuple[Argument, ...] = ()
    effect: str = "reversible"
    schema: str = ""
    idempotent: bool = False
    undo: Undo | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """Who an application is, as its half of the bridge says.

    *name* is the mount the user wants (empty: the kind). *instance_id* tells two running instances
    apart, *document_id* names what is open in it and survives a restart, *generation* counts the
    changes made outside our sight (a file reloaded, an edit while away); -1 says that nobody counts them,
    and then what the application holds after the daemon was away is taken to be newer. Of the *capabilities* two
    are acted on: `rename` says that wishes with a `moved_from` are carried out, `keyed` that a command whose key was
    seen before is answered with the result it had, and not done again, as long as this instance lives. The daemon
    itself adds `remote` where it speaks to another machine.
    """

    kind: str
    instance_id: str
    name: str = ""
    app_version: str = ""
    document_id: str = ""
    generation: int = 0
    pid: int = 0
    simulator: bool = False
    transport: str = "osc"
    parameters: tuple[Parameter, ...] = ()
    commands: tuple[Command, ...] = ()
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """One value the application reports; *path* is relative to the mount, times in ns since 1970.

    A value of `None` means that the path is gone; `moved_from` (relative, too) means that the subtree
    was renamed, and the value is ignored. With *every* each one counts, as of a note that is struck and
    released at once; else only the last of those that wait together for one path is recorded.
    """

    path: str
    value: Value | None
    event_time: int = 0
    object_id: str = ""
    moved_from: str = ""
    every: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """One value the context wants in the application. *wish_id* is answered by `settle` or `reject`.

    *revision* is the revision of the wish; 0 for a signal, which is not answered. A value of `None`
    wants the path gone; with *moved_from* (relative, too) it wants the subtree there renamed to *path*,
    which is only sent to applications with the capability `rename`.
    """

    wish_id: int
    path: str
    value: Value | None
    revision: int
    signal: bool = False
    moved_from: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One command to run, answered by `progress`, then `result` or `fail`; *timeout* in seconds.

    *key*, where there is one, is the same when the same thing is asked again: see the capability `keyed`.
    """

    call_id: int
    command: str
    arguments: Mapping[str, Value] = field(default_factory=dict)
    timeout: float = 60.0
    key: str = ""


class AppChannel(Protocol):
    """How the engine reaches an application. No method may block or raise; trouble goes to `AppSession.lost`."""

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes; each state wish is answered later."""

    def invoke(self, call: Call) -> None:
        """Run a command; answered later."""

    def cancel(self, call_id: int) -> None:
        """Give a command up, where the application can."""

    def resync(self) -> None:
        """Ask for a full report, which ends with `AppSession.synced`."""

    def close(self, reason: str) -> None:
        """Say goodbye and drop the connection."""


class AppSession(Protocol):
    """One joined application, as its bridge sees the engine. All methods return at once."""

    mount: str

    def declare(self, parameters: Sequence[Parameter]) -> None:
        """Say what is known of the paths from now on, in place of what was said before."""

    def report(self, changes: Sequence[Change]) -> None:
        """Report what changed in the application; an echo of a wish in flight is recognized here."""

    def synced(self) -> None:
        """Say that the full report that began with `hello`, or was asked for by `resync`, is complete."""

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        """Say that the wish was carried out; *value* is what the application holds now, where it was read back."""

    def reject(self, wish_id: int, reason: str) -> None:
        """Say that the application refused the wish."""

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        """Say how far a command is, from 0 to 1 (-1: not known)."""

    def result(self, call_id: int, value: Value | None) -> None:
        """Say that a command is done, and what it gave."""

    def fail(self, call_id: int, reason: str) -> None:
        """Say that a command failed, and why."""

    def degraded(self, reason: str) -> None:
        """Say that it answers, but something is wrong; an empty reason means that all is well again."""

    def lost(self, reason: str) -> None:
        """Say that the application is gone; the session ends."""


class OscSender(Protocol):
    """An open OSC socket."""

    address: tuple[str, int]

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message, built by python-osc; a full socket buffer drops it and counts."""

    def close(self) -> None:
        """Close the socket."""


OscMessage = tuple[str, str, Sequence[Any]]
"""Address, type tags without the comma, arguments."""


Peer = tuple[str, int]
"""The host and port of a program that sent something."""


class OscServer(Protocol):
    """An open OSC socket that takes messages from anybody on this machine."""

    address: tuple[str, int]

    def send(self, peer: Peer, address: str, *arguments: Any) -> None:
        """Send one message to *peer*, built by python-osc; a full socket buffer drops it and counts."""

    def close(self) -> None:
        """Close the socket."""


class BridgeHost(Protocol):
    """What the daemon lends a bridge while it runs.

    *config* is the plugin's table; where the table names `instances`, `run` is called once for each of them, with
    the instance's own keys (its `name` among them) over the common ones. *folder* is where the user keeps files for
    this kind of bridge: `<configuration folder>/<kind>`, which need not be there; empty where there is none.
    """

    config: Mapping[str, Any]
    folder: str

    def hello(self, hello: Hello, channel: AppChannel) -> AppSession:
        """Join an application; may raise `BridgeError` when the mount is taken or the hello malformed."""

    def absent(self, reason: str, name: str = "") -> None:
        """Say that the application was looked for and not found, and what to do.

        *name* is the mount of one application among several that one `run` looks for.
        """

    async def open_osc(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        receive: Callable[[list[OscMessage]], None],
    ) -> OscSender:
        """Open a UDP socket bound to *local* (port 0: any) that sends to *remote*.

        *receive* gets all messages of one wake-up; datagrams from other hosts than *remote* are dropped.
        Raises `BridgeError` naming who holds the port, where that can be found out.
        """

    async def serve_osc(
        self, local: tuple[str, int], receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]
    ) -> OscServer:
        """Open a UDP socket bound to the loopback address *local* that answers whoever asked.

        *receive* gets all messages of one wake-up, by sender. Raises `BridgeError` for an address that others than
        this machine reach, and for a port that is taken.
        """

    async def save_asset(self, name: str, media_type: str, data: bytes) -> Asset:
        """Keep *data* among the assets; raise `BridgeError` when there is no room."""

    async def load_asset(self, sha256: str) -> bytes:
        """Return the bytes of an asset; raise `BridgeError` when there is no such asset."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Bridge(ABC):
    """The daemon's half for one kind of application.

    One object serves all instances of its kind: `run` may be under way several times.
    """

    kind: str
    title: str = ""
    timeline: Timeline | None = None
    """Where the kind keeps its transport, if it has one."""
    dialect: Dialect | None = None
    """How it says what others say, too: names, units and axes of shared concepts."""
    link: bool = False
    """The application connects by the link protocol; `run` is not called."""

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of the kind's paths before any instance says `hello`."""
        return ()

    def commands(self) -> Sequence[Command]:
        """Return the commands of the kind that the daemon's half itself offers."""
        return ()

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Return what can be said of the way to the application of *config*, looked at without disturbing it."""
        return ()

    @abstractmethod
    async def run(self, host: BridgeHost) -> None:
        """Join applications until cancelled; one that raises is restarted with back-off."""
