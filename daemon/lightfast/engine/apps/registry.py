"""The applications on the desk: who is joined, who is away, and how to reach them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from lightfast.context.entry import Mutation, Report, Status
from lightfast.context.store import Store
from lightfast.context.watch import bus_of
from lightfast.core.clock import Clock
from lightfast.core.errors import Denied, NotFound, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.calls import check_arguments, check_timeout, find_command
from lightfast.engine.apps.conflicts import ROOT as CONFLICTS
from lightfast.engine.apps.conflicts import Conflicts
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.diagnosis import DEADLINE, View, of_application, unknown
from lightfast.engine.apps.groups import Groups
from lightfast.engine.apps.kinds import Kind, Kinds
from lightfast.engine.apps.mounts import MAX_INSTANCES, Claim, Mounts
from lightfast.engine.apps.presence import ORIGIN as DAEMON
from lightfast.engine.apps.presence import Presence
from lightfast.engine.apps.recorder import MAX_TRANSACTION, Recorder
from lightfast.engine.apps.records import AppRecord, AppState, Progress, Result, ResyncReport
from lightfast.engine.apps.resolve import Choice, Resolved, resolve
from lightfast.engine.apps.session import Session
from lightfast.engine.apps.settings import AppsConfig
from lightfast.sdk import AppChannel, Bridge, Command, Finding, Hello, Timeline
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database
from lightfast_link.path import encode_segment, is_under
from lightfast_link.value import Value

log = structlog.get_logger("lightfast.apps")

RESYNC_TIMEOUT = 60.0
"""Seconds a full comparison may take."""
CLOSE_S = 10.0
"""Seconds that the end waits for a store that takes nothing."""
AWAY = "it has not come back since the daemon started"


class AppRegistry:
    """Joins applications to the context; *config* holds the tables `[apps.NAME]`.

    `start` comes before anything else. *blobs* is for the edges that carry assets.
    """

    def __init__(
        self,
        store: Store,
        db: Database,
        clock: Clock,
        tasks: TaskGroup,
        blobs: BlobStore | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        tick_s: float = 0.25,
    ) -> None:
        self.store = store
        self.blobs = blobs
        self.clock = clock
        self.tasks = tasks
        groups = Groups(store)
        self._recorder = Recorder(store, groups, refused=_refused, trouble=_trouble)
        self._desk = Desk(
            store=store,
            bus=bus_of(store),
            clock=clock,
            tasks=tasks,
            groups=groups,
            conflicts=Conflicts(clock),
            mounts=Mounts(db, clock),
            presence=Presence(self._recorder),
            config=AppsConfig(config),
            tick_s=tick_s,
        )
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, AppRecord] = {}
        self.kinds = Kinds()

    async def start(self) -> None:
        """Read the claims back; what was settled when the daemon ended is stale until its application returns."""
        self.tasks.start(self._recorder.run(), "presence")
        await self._desk.mounts.load()
        self._desk.conflicts.load(self.store.select(CONFLICTS + "//"))
        for claim in self._desk.mounts.all():
            self.store.add_mount(claim.mount)
            settings = self._desk.config.of(claim.mount, claim.kind)
            self.store.set_policies(claim.mount, settings.policies_of(claim.mount))
            self._recorder_stale(claim.mount)
            self._show_away(_away_record(claim, AppState.GONE, AWAY))
        await self._recorder.drained()

    async def close(self) -> None:
        """Say goodbye to all applications, and wait a while until what they reported last is committed."""
        for session in self._live():
            session.end("the daemon is stopping")
            session.channel.close("the daemon is stopping")
        with suppress(TimeoutError):  # a full disk has been told of by now, and the daemon is to end
            async with asyncio.timeout(CLOSE_S):
                for session in tuple(self._sessions.values()):
                    await session.ended.wait()
                await self._recorder.drained()

    def add_kind(self, bridge: Bridge, tables: Sequence[Mapping[str, Any]] = ({},)) -> None:
        """Take over what *bridge* knows of its kind: parameters and commands of each instance that comes.

        *tables* are the configurations of its instances, one for each. Those that are joined already learn of it, too.
        """
        known = Kind.of(bridge, tables)
        self.kinds.add(bridge.kind, known)
        for session in self._live():
            if session.hello.kind == bridge.kind:
                session.learn(known)

    def timeline(self, kind: str) -> Timeline | None:
        """Return where applications of *kind* keep their transport, as far as a bridge said so."""
        return self.kinds[kind].timeline

    def remove_kind(self, kind: str) -> None:
        """Forget a kind; instances that are joined stay, and those that never came are shown no more."""
        self.kinds.remove(kind)
        for record in [known for known in self._away.values() if known.kind == kind]:
            if record.state is AppState.ABSENT:
                claim = self._desk.mounts.get(record.mount)
                if claim is None:
                    del self._away[record.mount]
                    self._desk.presence.forget(record.mount)
                else:
                    self._show_away(_away_record(claim, AppState.GONE, f"nothing looks for a {kind} any more"))

    def hello(self, hello: Hello, channel: AppChannel, *, transport: str = "") -> Session:
        """Join an application and return its session, which begins at once.

        The second session of one instance replaces the first. Raises `BridgeError` where the hello is malformed.
        """
        replaced = self._same_instance(hello)
        live = {session.mount for session in self._live() if session is not replaced}
        mount = self._desk.mounts.choose(hello, live)
        if replaced is not None:
            self._replace(replaced, channel)
            if self._fits(replaced, hello):
                mount = replaced.mount
        self._away.pop(mount, None)
        session = Session(
            self._desk,
            mount,
            hello,
            channel,
            transport=transport or hello.transport,
            kinds=self.kinds,
            predecessor=self._sessions.get(mount),
        )
        self._sessions[mount] = session
        return session

    def absent(self, kind: str, reason: str, name: str = "") -> None:
        """Show that a bridge looks for its application, or the instance called *name*, and does not find it."""
        mount = self._mount_for("/" + encode_segment(name or kind), kind)
        session = self._sessions.get(mount)
        if session is not None:
            return
        claim = self._desk.mounts.get(mount)
        record = AppRecord(mount, kind, AppState.ABSENT, reason)
        self._show_away(_away_record(claim, AppState.ABSENT, reason) if claim is not None else record)

    def _mount_for(self, base: str, kind: str) -> str:
        """Return the first of `/name`, `/name-2`… that belongs to no application of another kind."""
        for number in range(1, MAX_INSTANCES + 1):
            mount = base if number == 1 else f"{base}-{number}"
            session = self._sessions.get(mount)
            hello = session.hello if session is not None else None
            known = (hello, self._desk.mounts.get(mount), self._away.get(mount))
            if all(one is None or one.kind == kind for one in known):
                return mount
        return base

    def list(self) -> list[AppRecord]:
        """Return all applications, the ones that are away included, ordered by mount."""
        records = dict(self._away)
        for mount, session in self._sessions.items():
            records[mount] = session.record()
        return [self._counted(records[mount]) for mount in sorted(records)]

    def mounts(self) -> dict[str, str]:
        """Return the kind of each application by its mount, ordered as `list` does, which counts what waits, too."""
        found = {mount: record.kind for mount, record in self._away.items()}
        found |= {mount: session.hello.kind for mount, session in self._sessions.items()}
        return {mount: found[mount] for mount in sorted(found)}

    def get(self, mount: str) -> AppRecord:
        """Return one application; raise `NotFound` that lists those there are."""
        mount = _normal(mount)
        session = self._sessions.get(mount)
        if session is not None:
            return self._counted(session.record())
        if mount in self._away:
            return self._counted(self._away[mount])
        known = sorted({*self._sessions, *self._away})
        there_are = f"there are {', '.join(known)}" if known else "none has joined yet"
        raise NotFound(f"there is no application at {mount}: {there_are}", reason="APP_UNKNOWN", field="mount")

    def session(self, mount: str) -> Session:
        """Return the session of an application that is joined; raise `NotFound` or `Unavailable`."""
        record = self.get(mount)
        session = self._sessions.get(record.mount)
        if session is None or session.closing:
            raise Unavailable(
                f"{record.mount} is {record.state}: {record.state_reason}; start it and try again",
                reason="APP_GONE",
                metadata={"mount": record.mount},
            )
        return session

    def commands(self, mount: str) -> Sequence[Command]:
        """Return the commands an application offers, ordered by name; of one not seen yet, those of its kind."""
        mount = _normal(mount)
        session, away = self._sessions.get(mount), self._away.get(mount)
        kind = away.kind if away is not None else self.get(mount).kind if session is None else ""
        known = session.commands.values() if session is not None else self.kinds[kind].commands
        return sorted(known, key=lambda command: command.name)

    async def invoke(
        self,
        mount: str,
        command: str,
        arguments: Mapping[str, Value] | None = None,
        timeout: float | None = None,
        origin: str = "",
        group: str = "",
        key: str = "",
    ) -> AsyncGenerator[Progress | Result, None]:
        """Check a command and return what runs it: progress, then one result. Leaving it early cancels.

        *key* is for applications with the capability `keyed`, which do a thing once for one key.
        """
        session = self.session(mount)
        found = find_command(session.mount, session.commands, command)
        checked = check_arguments(found, arguments or {})
        seconds = check_timeout(timeout)
        if found.effect == "code" and not session.settings.allow_code:
            key = f"apps.{session.mount[1:]}.allow_code"
            raise Denied(
                f"{session.mount} {command!r} runs code, which is switched off: set {key} = true to allow it",
                reason="CODE_NOT_ALLOWED",
                metadata={"config_key": key},
            )
        self._desk.hold.refuse(session.mount, command)
        log.info("command", mount=session.mount, command=command, origin=origin, group=group)
        return session.invoke(found, checked, seconds, group, key)

    @property
    def held(self) -> str:
        """Return why the applications are held; empty where they are not."""
        return self._desk.hold.reason

    def hold(self, reason: str) -> None:
        """Stop driving all applications at once, until `release`: the panic button.

        Commands under way end with CANCELLED, in the applications too; new ones are refused with HELD. Wishes are
        still acknowledged and durable, but wait as PENDING. What the applications report is recorded as ever; a
        wish that waits is not overwritten by it. Holding again changes the reason.
        """
        began = not self.held
        self._desk.hold.reason = reason or "the applications are held"
        log.warning("applications held", reason=self.held)
        if began:
            self._each(Session.hold)

    def release(self) -> None:
        """Let the wishes that have waited go out, in their order, and take commands again."""
        if self.held:
            log.warning("applications released", reason=self.held)
            self._desk.hold.reason = ""
            self._each(Session.release)

    def _each(self, action: Callable[[Session], None]) -> None:
        """Do *action* with every session; one whose bridge raises keeps no other from it."""
        for session in self._live():
            try:
                action(session)
            except Exception:
                log.exception("a bridge failed", mount=session.mount, action=action.__name__)

    async def resolve(self, conflict_id: str, choice: Choice | Value, *, origin: str) -> Resolved:
        """Answer a conflict record with the wished value, the reported one, or another; see `resolve.resolve`."""
        return await resolve(self.store, self._desk.conflicts, conflict_id, choice, origin=origin)

    async def diagnose(self, target: str, deadline: float = DEADLINE) -> Sequence[Finding]:
        """Return what can be said of an application, by its mount, or of all of a kind.

        Raises `NotFound` for a name that nobody knows, with the mounts and kinds there are. Their bridges look, too,
        all at once, each within *deadline* seconds.
        """
        mount, kind = _normal(target), target.strip("/")
        chosen = [record for record in self.list() if record.mount == mount]
        chosen = chosen or [record for record in self.list() if record.kind == kind]
        kind = chosen[0].kind if chosen else kind
        known = self.kinds.get(kind)
        if not chosen and known is None:
            raise unknown(target, [record.mount for record in self.list()], tuple(self.kinds))
        found = [finding for record in chosen for finding in of_application(self._view(record))]
        if not chosen:
            found.append(Finding("error", f"/{kind}", f"no {kind} has joined yet", "start it"))
        if known is None or known.bridge is None:
            return [*found, Finding("warning", mount, f"no bridge for a {kind} is loaded", "lightfast plugins")]
        return [*found, *await known.diagnose({record.mount for record in chosen}, deadline)]

    def _view(self, record: AppRecord) -> View:
        session = self._sessions.get(record.mount)
        bodies = [entry.value for entry in self.store.select(CONFLICTS + "//")]
        return View(
            record,
            session.vitals() if session is not None and not session.closing else None,
            self.store.select(record.mount + "//"),
            [b for b in bodies if isinstance(b, dict) and is_under(str(b.get("path", "")), record.mount)],
            self.held,
            self.clock.now_ns(),
        )

    async def resync(self, mount: str, timeout: float = RESYNC_TIMEOUT) -> ResyncReport:
        """Read everything back from an application and bring the tree in step with it."""
        return await self.session(mount).resync(timeout)

    def _live(self) -> Sequence[Session]:
        return [session for session in self._sessions.values() if not session.closing]

    def _same_instance(self, hello: Hello) -> Session | None:
        for session in self._live():
            if session.hello.kind == hello.kind and session.hello.instance_id == hello.instance_id:
                return session
        return None

    def _replace(self, old: Session, channel: AppChannel) -> None:
        reason = f"{old.hello.instance_id} said hello again"
        old.end(reason)
        if old.channel is not channel:
            old.channel.close(reason)

    def _fits(self, old: Session, hello: Hello) -> bool:
        return old.hello.name == hello.name

    def _recorder_stale(self, mount: str) -> None:
        stale: Sequence[Mutation] = [
            Report(entry.path, Status.STALE, reason=f"{mount}: {AWAY}")
            for entry in self.store.resident(mount + "//")
            if entry.status is Status.SETTLED
        ]
        for start in range(0, len(stale), MAX_TRANSACTION):
            self._recorder.add_together(
                [*stale[start : start + MAX_TRANSACTION]], origin=DAEMON, label=f"{mount} is away"
            )

    def _show_away(self, record: AppRecord) -> None:
        known = self._away.get(record.mount)
        if known is not None and known.state is record.state:
            record = replace(record, since=known.since)
        else:
            record = replace(record, since=self.clock.now_ns())
        if known != record:
            log.info("application away", mount=record.mount, state=record.state, reason=record.state_reason)
            self._away[record.mount] = record
            self._desk.presence.show(record)

    def _counted(self, record: AppRecord) -> AppRecord:
        if record.state in {AppState.LIVE, AppState.DEGRADED}:
            return record
        waiting = sum(entry.status is Status.PENDING for entry in self.store.resident(record.mount + "//"))
        return replace(record, pending=waiting)


def _normal(mount: str) -> str:
    return "/" + mount.strip("/")


def _away_record(claim: Claim, state: AppState, reason: str) -> AppRecord:
    return AppRecord(
        mount=claim.mount,
        kind=claim.kind,
        state=state,
        state_reason=reason,
        instance_id=claim.instance_id,
        document_id=claim.document_id,
    )


def _refused(mutation: Mutation, reason: str) -> None:
    log.error("presence was refused by the store", mutation=repr(mutation)[:200], reason=reason)


def _trouble(reason: str) -> None:
    if reason:
        log.error("presence cannot be written", reason=reason)
