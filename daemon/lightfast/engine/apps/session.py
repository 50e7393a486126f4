"""One joined application: what its bridge calls, and what the registry sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import structlog

from lightfast.context.entry import Entry, Mutation
from lightfast.context.watch import Batch
from lightfast.core.errors import Exhausted, LightfastError, Unavailable
from lightfast.engine.apps.calls import Calls
from lightfast.engine.apps.declaring import Known
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.glider import Glider
from lightfast.engine.apps.health import LEFT_OUT, NO_ANSWER, Health
from lightfast.engine.apps.incoming import Incoming, check_changes
from lightfast.engine.apps.join import Join
from lightfast.engine.apps.kinds import Kind, Kinds
from lightfast.engine.apps.leaving import leave
from lightfast.engine.apps.outgoing import Outgoing
from lightfast.engine.apps.readback import ReadBack
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.records import AppRecord, AppState, Progress, Result, ResyncReport, Vitals
from lightfast.engine.apps.renames import CAPABILITY
from lightfast.engine.apps.ticking import Ticker
from lightfast.engine.apps.volatile import Volatile
from lightfast.engine.apps.wishes import Flight, Wishes
from lightfast.sdk import AppChannel, Change, Command, Hello, Parameter
from lightfast_link.value import Value

log = structlog.get_logger("lightfast.apps")


class Session:
    """Implements `sdk.AppSession`; the registry makes one for each `hello`.

    It begins when it is made: *predecessor*, which held the mount before, is waited for.
    """

    def __init__(
        self,
        desk: Desk,
        mount: str,
        hello: Hello,
        channel: AppChannel,
        *,
        transport: str,
        kinds: Kinds,
        predecessor: Session | None = None,
    ) -> None:
        self.mount = mount
        self.hello = hello
        self.channel = channel
        self.origin = "app:" + mount[1:]
        self.settings = desk.config.of(mount, hello.kind)
        self.calls = Calls(mount, channel, desk.hold)
        self.ended = asyncio.Event()
        self.live = asyncio.Event()
        self.closing = ""
        self._desk = desk
        self._transport = transport
        self._predecessor = predecessor
        self._kinds = kinds
        self._known = Known(desk.store, desk.tasks, mount, hello)
        self.learn(kinds[hello.kind])
        self._state = AppState.CONNECTING
        self._reason = ""
        self._since = self._connect_time = desk.clock.now_ns()
        self._health = Health(mount, desk.clock.monotonic(), self.degraded)
        self._connected = desk.clock.monotonic()
        self._recovery_s: float | None = None
        self._ticker = Ticker(desk.tick_s, self._waits, self._look)
        self._assemble()
        self._stop_listening = desk.bus.listen([mount + "//"], self._on_batch)
        self._pump = desk.tasks.start(self._recorder.run(), f"recorder {mount}")
        self._signals = desk.tasks.start(self._volatile.run(), f"signals {mount}")
        self._joining = desk.tasks.start(self._come(), f"join {mount}")
        self._show(AppState.CONNECTING, "")

    def _assemble(self) -> None:
        desk, mount = self._desk, self.mount
        self._wishes = Wishes(timeout=self.settings.wish_timeout_s)
        self._doubt = Doubt(desk.clock, self._wishes, self._ticker.arm)
        self._recorder = Recorder(
            desk.store, desk.groups, refused=self._refused, trouble=self._on_trouble, newer=self._is_newer
        )
        self._volatile = Volatile(desk.store, self.origin)
        self._incoming = Incoming(
            desk,
            mount,
            self._wishes,
            self._recorder,
            self._volatile,
            self._doubt,
            echoed=self._on_echo,
            unsent=self._is_unsent,
            group=self.calls.group,
        )
        self._outgoing = Outgoing(
            desk,
            mount,
            self.channel,
            self._wishes,
            self._recorder,
            self._incoming,
            self._doubt,
            answered=self._on_answered,
            unsure=self._on_unsure,
            renames=CAPABILITY in self.hello.capabilities,
        )
        self._join = Join(
            desk,
            mount,
            self.hello,
            self.settings,
            self._wishes,
            self._doubt,
            self._recorder,
            self._incoming,
            self._outgoing,
            take=self._take,
            progress=self._on_progress,
        )
        self._wishes.follow(self._join.renamed)
        self._read_back = ReadBack(
            desk, mount, self.channel, self._wishes, self._recorder, self._incoming, self._outgoing, self._doubt
        )
        self.glider = Glider(self._outgoing, self._incoming.glides, self._join, self._on_unsure, self._ticker.arm)

    # What the bridge calls.

    def declare(self, parameters: Sequence[Parameter]) -> None:
        """Take what is known of the paths from now on; see `sdk.AppSession`."""
        self._known.say(parameters)

    def report(self, changes: Sequence[Change]) -> None:
        """Take what changed; see `sdk.AppSession`."""
        now = self._desk.clock.monotonic()
        self._health.heard(now)
        if self.closing:
            return
        checked = check_changes(self.mount, changes, lambda problem: self._health.left_out(now, problem))
        try:
            if self._join.flowing:
                self._take(checked)
            else:
                self._join.report(checked)
        except Exhausted as error:
            self.end(error.message)
        self._ticker.arm()

    def synced(self) -> None:
        """Take the end of a full report."""
        self._health.heard(self._desk.clock.monotonic())
        if self._join.listening:  # else it is the end of the first one
            self._join.in_turn(self._read_back.synced)
        self._join.synced()
        if self._reason == NO_ANSWER:
            self.degraded("")

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        """Take the answer to a wish."""
        self._health.heard(self._desk.clock.monotonic())
        if not self.closing:
            self._join.in_turn(self._outgoing.settle, wish_id, value)

    def reject(self, wish_id: int, reason: str) -> None:
        """Take the refusal of a wish."""
        self._health.heard(self._desk.clock.monotonic())
        if not self.closing:
            self._join.in_turn(self._outgoing.reject, wish_id, reason)

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        """Take news of a command."""
        self._health.heard(self._desk.clock.monotonic())
        self.calls.progress(call_id, fraction, message)

    def result(self, call_id: int, value: Value | None) -> None:
        """Take the result of a command."""
        self._health.heard(self._desk.clock.monotonic())
        self.calls.result(call_id, value)

    def fail(self, call_id: int, reason: str) -> None:
        """Take the failure of a command."""
        self._health.heard(self._desk.clock.monotonic())
        self.calls.fail(call_id, reason)

    def degraded(self, reason: str) -> None:
        """Take note that something is wrong, or (empty) that all is well again."""
        if self._state in {AppState.LIVE, AppState.DEGRADED}:
            self._show(AppState.DEGRADED if reason else AppState.LIVE, reason)

    def lost(self, reason: str) -> None:
        """Take note that the application is gone."""
        self.end(reason or "the connection was lost")

    # What the registry calls.

    @property
    def backlog(self) -> int:
        """Return how many changes wait for the store: the edge grants credit by it."""
        return self._recorder.backlog

    @property
    def commands(self) -> Mapping[str, Command]:
        """Return the commands it offers, by name."""
        return self._known.commands

    def record(self) -> AppRecord:
        """Return how the application stands."""
        return AppRecord(
            mount=self.mount,
            kind=self.hello.kind,
            state=self._state,
            state_reason=self._reason,
            app_version=self.hello.app_version,
            instance_id=self.hello.instance_id,
            document_id=self.hello.document_id,
            pid=self.hello.pid,
            transport=self._transport,
            connect_time=self._connect_time,
            recovery_s=self._recovery_s,
            simulator=self.hello.simulator,
            lost_paths=tuple(self._join.lost),
            pending=len(self._wishes),
            since=self._since,
        )

    def vitals(self) -> Vitals:
        """Return what is known of its health now."""
        now, flights = self._desk.clock.monotonic(), self._wishes.all()
        return self._health.vitals(now, flights, self.channel, calls=len(self.calls), backlog=self.backlog)

    def learn(self, kind: Kind) -> None:
        """Take what a bridge knows of this kind, also when it is loaded while the application is here."""
        self._known.learn(kind)

    def hold(self) -> None:
        """Give all commands up and send no wish until `release`."""
        self._outgoing.hold()
        self.calls.give_up()

    def release(self) -> None:
        """Send the wishes that have waited."""
        # One that is not compared yet gets what waits by the comparison.
        send = self._join.listening and not self.closing
        try:
            if not self._outgoing.release(send=send):
                self._doubt.begin()
        finally:
            self._ticker.arm()

    async def invoke(
        self, command: Command, arguments: Mapping[str, Value], timeout: float, group: str, key: str = ""
    ) -> AsyncGenerator[Progress | Result, None]:
        """Run a command that was checked."""
        if self.closing:
            raise Unavailable(f"{self.mount} is away: {self.closing}", reason="APP_GONE")
        # Closed here and now when the caller leaves, so that the application hears of it at once.
        async with aclosing(self.calls.invoke(command, arguments, timeout, group, key)) as steps:
            async for step in steps:
                yield step

    async def resync(self, timeout: float) -> ResyncReport:
        """Read everything back and bring the tree in step."""
        if self.closing or not self._join.flowing:
            raise Unavailable(
                f"{self.mount} is {self._state}: {self._reason or 'try again in a moment'}",
                reason="APP_GONE" if self.closing else "APP_RESYNCING",
                retry_after=1.0,
            )
        malformed = self._health.malformed
        compared = await self._read_back.compare(timeout)
        self._join.lost.extend(compared.lost)
        if self._reason.startswith(LEFT_OUT) and self._health.malformed == malformed:
            self.degraded("")
        self._show(self._state, self._reason)
        return ResyncReport(self.record(), compared.taken, compared.restored, compared.lost)

    def end(self, reason: str) -> None:
        """End the session once: what was settled becomes stale, wishes that wait stay pending."""
        if self.closing:
            return
        self.closing = reason
        self._known.end()
        self._outgoing.hold()  # what is wished from now on is for a successor; what is still to be committed minds it
        self._ticker.stop()
        self._joining.cancel()
        self.calls.abandon(reason)
        self._read_back.give_up(Unavailable(f"{self.mount} went away: {reason}", reason="APP_GONE"))
        self._show(AppState.GONE, reason)
        self._desk.tasks.start(self._leave(reason), f"leave {self.mount}")

    # The rest is its own business.

    async def _follow(self) -> None:
        """Wait until what held the mount before is done: what it has to say last is older than all of this one."""
        if self._predecessor is not None:
            await self._predecessor.ended.wait()
            self._predecessor = None

    async def _come(self) -> None:
        await self._follow()
        try:
            self._desk.store.add_mount(self.mount)
            self._desk.store.set_policies(self.mount, self.settings.policies_of(self.mount))
            self.learn(await self._kinds.arrive(self.hello.kind))
            await self._known.begin()
            self._show(AppState.RESYNCING, "")
            reason = await self._join.run()
        except Exception as error:  # whatever it is: better gone, and back anew, than half joined for ever
            reason = error.message if isinstance(error, LightfastError) else f"it could not be joined: {error!r}"
            log.warning("an application could not join", mount=self.mount, reason=reason, exc_info=True)
            self.end(reason)
            self.channel.close(reason)
            return
        self._recovery_s = self._desk.clock.monotonic() - self._connected
        self._show(AppState.DEGRADED if reason else AppState.LIVE, reason)
        self._ticker.arm()  # what was deleted or renamed again has deadlines, too
        self.live.set()

    def _is_unsent(self, entry: Entry) -> bool:
        return self._outgoing.unsent(entry)

    def _is_newer(self, entry: Entry, revision: int) -> bool:
        return self._outgoing.newer(entry, revision)

    def _take(self, changes: Sequence[tuple[str, Change]]) -> None:
        self._read_back.see(changes)
        self._incoming.take(changes)

    async def _leave(self, reason: str) -> None:
        try:
            await self._follow()
            await leave(self._desk.store, self._recorder, self.mount, reason)
        finally:
            self._stop_listening()
            self._pump.cancel()
            self._signals.cancel()
            self.ended.set()

    def _on_echo(self, flight: Flight, value: Value | None) -> None:
        self._outgoing.echoed(flight, value)

    def _on_answered(self, flight: Flight, took: bool, reason: str) -> None:
        self._join.answered(flight, took, reason)
        if took:
            self._read_back.took(flight)
        if took and self._reason == NO_ANSWER:
            self.degraded("")

    def _on_trouble(self, reason: str) -> None:
        if self._state is AppState.RESYNCING:  # the comparison waits for the store, too
            self._show(AppState.RESYNCING, reason)
        self.degraded(reason)

    def _on_unsure(self) -> None:
        self._read_back.begin()

    def _on_progress(self, words: str) -> None:
        held = self._desk.hold.reason
        self._show(AppState.RESYNCING, f"{words}, once it is released: {held}" if held else words)
        self._ticker.arm()  # what is put back has deadlines, too

    def _on_batch(self, batch: Batch) -> None:
        self._outgoing.seen(batch.revision)
        self._join.see(batch.events)
        if self._join.listening or self.closing:
            try:
                self._outgoing.wish(batch.events)
            finally:
                self._ticker.arm()  # a channel that raises has not answered: its wishes run out

    def _waits(self) -> bool:
        return not self.closing and bool(self._wishes.outstanding or self._incoming.waiting or self._doubt)

    def _look(self) -> None:
        now = self._desk.clock.monotonic()
        # While it is compared, its answers are held back: they are not late.
        if not self._read_back.tick(now, busy=len(self.calls) > 0 or not self._join.flowing):
            self.degraded(NO_ANSWER)
        self._incoming.sweep(now)
        self._wishes.sweep(now)

    def _refused(self, mutation: Mutation, reason: str) -> None:
        self._health.refused(self._desk.clock.monotonic(), repr(mutation)[:200], reason)
        self._incoming.refused(mutation)
        self._join.not_recorded(mutation)

    def _show(self, state: AppState, reason: str) -> None:
        if self._state is AppState.GONE:
            return
        if state is not self._state:
            self._since = self._desk.clock.now_ns()
        self._state, self._reason = state, reason
        self._desk.presence.show(self.record())
