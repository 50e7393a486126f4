"""One connection of one application, without I/O: frames in, calls of an `AppSession` out, and back.

Nothing that comes from the other side raises out of here: it is answered by an `error` frame that
says what was wrong, counted, and after `MAX_BAD` of them the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import structlog

from lightfast import sdk
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.engine.apps import link_pulse
from lightfast.engine.apps.link_assets import PeerAssets
from lightfast.engine.apps.link_calls import LinkCalls
from lightfast.engine.apps.link_credit import Credit
from lightfast.engine.apps.link_entry import KEY_REFUSED, KEY_REFUSED_BY_APP, welcome
from lightfast.engine.apps.link_outbox import LinkOutbox
from lightfast.engine.apps.link_pulse import Due, Pulse
from lightfast.engine.apps.link_read import (
    MALFORMED,
    State,
    choose_version,
    read_hello,
    read_state,
    read_text,
    read_value,
    read_versions,
)
from lightfast.sdk.errors import PluginError
from lightfast_link.auth import AuthError, Challenger
from lightfast_link.frame import VERSIONS, Frame, FrameError, decode

if TYPE_CHECKING:
    from lightfast.engine.apps.link_server import LinkServer

log = structlog.get_logger("lightfast.link")

CREDIT = 8
"""The most `state` frames that an application may have sent and not seen acknowledged."""
MAX_BAD = 1000
"""Malformed frames after which a joined application is given up; before `hello` the first is enough."""
MAX_LOGGED = 5
"""How many complaints are worth a line in the log."""
_BEFORE_PROOF = ("auth_start", "auth_proof")
_BEFORE_HELLO = (*_BEFORE_PROOF, "hello", "ping", "pong", "bye", "error")


class LinkPeer:
    """Turns frames into calls of an `AppSession`, and is the `AppChannel` of the engine."""

    def __init__(
        self,
        server: LinkServer,
        transport: str,
        send: Callable[[list[bytes]], bool],
        close: Callable[[str], None],
        *,
        authenticated: bool,
        source: str,
    ) -> None:
        self._server = server
        self._transport = transport
        self._raw_send = send
        self._raw_close = close
        self._source = source
        self._outbox = LinkOutbox(self._send_parts)
        self._assets = PeerAssets(server, self._send, self._origin)
        self._challenger = None if authenticated else Challenger(server.key)
        self._session: sdk.AppSession | None = None
        self._calls = LinkCalls(self._send)
        self._credit = Credit(server.tasks, self._acknowledge)
        self._bad = 0
        self._complaints = 0
        self._unreachable = ""
        self._pulse = Pulse(server.clock.monotonic())
        self.over = False
        self.key_refused = False
        """Whether the two sides found that they hold different keys."""
        self.stream = ""

    @property
    def authenticated(self) -> bool:
        """Whether the other side has proved who it is."""
        return self._challenger is None

    @property
    def mount(self) -> str:
        """The mount it was given, empty before its `hello`."""
        return self._session.mount if self._session else ""

    @property
    def signs(self) -> tuple[float, int, int]:
        """When it was heard last (monotonic), how many frames were malformed, and signals dropped on the way."""
        return self._pulse.heard, self._bad, self._outbox.dropped_signals

    def _origin(self) -> str:
        return "app:" + self.mount.strip("/")

    def _send_parts(self, parts: list[bytes]) -> bool:
        if self.over or self._unreachable:
            return True
        try:
            return self._raw_send(parts)
        except ConnectionError as error:
            # Said to the registry later, from a place where it expects to be called.
            self._unreachable = str(error) or "the connection is gone"
            return True

    def _send(self, frame: Frame) -> None:
        if not self.over:
            self._outbox.now(frame)

    def _complain(self, reason: str, message: str) -> None:
        self._bad += 1
        self._server.counters["bad_frames"] += 1
        if self._bad <= MAX_LOGGED:
            log.warning("bad frame", mount=self.mount, source=self._source, reason=reason, message=message[:200])
        self._send(Frame("error", {"reason": reason, "message": message[:1000]}))
        if self._bad >= MAX_BAD or self._session is None:
            self.lose(f"the application does not speak the link protocol: {message:.200}")

    # What the door calls

    def receive(self, parts: list[bytes]) -> None:
        """Take in one frame; never raises for what is in it."""
        if self.over:
            return
        if self._pulse.beat(self._server.clock.monotonic()) and self._session is not None:
            self._session.degraded("")
        try:
            frame = decode(parts)
        except FrameError as error:
            self._complain("LINK_FRAME", str(error))
            return
        handler = self._HANDLERS.get(frame.type)
        allowed = frame.type in _BEFORE_PROOF if not self.authenticated else frame.type not in _BEFORE_PROOF
        if handler is None:
            self._complain("LINK_FRAME", f"there is no frame {frame.type!r} in version {VERSIONS[-1]}")
        elif not allowed and frame.type != "error":
            self._complain("LINK_ORDER", f"{frame.type} does not belong here: prove that you hold the key first")
        elif self._session is None and frame.type not in _BEFORE_HELLO:
            self._complain("LINK_ORDER", f"{frame.type} came before hello: this daemon does not know you")
        else:
            self._handle(handler, frame)
        self._settle_accounts()

    def _handle(self, handler: Callable[[LinkPeer, Frame], None], frame: Frame) -> None:
        try:
            handler(self, frame)
        except LightfastError as error:
            self._complain(error.reason, f"{frame.type}: {error.message}")
        except PluginError as error:
            self._complain("LINK_REFUSED", f"{frame.type}: {error}")
        except MALFORMED as error:
            self._complain("LINK_FRAME", f"{frame.type}: {error}{' is missing' * (type(error) is KeyError)}")

    def tick(self, now: float) -> None:
        """Look after deadlines and pings; called about four times a second with the monotonic time."""
        if self.over:
            return
        due = self._pulse.due(now, joined=(session := self._session) is not None)
        if due is Due.LATE:
            self._complain("LINK_TIMEOUT", f"no hello within {link_pulse.GREETING:g} s")
        elif due is Due.DEAD:
            self.lose(f"the application was silent for {link_pulse.DEAD_AFTER:g} s")
        elif due is Due.SILENT and session is not None:
            session.degraded(f"no sign of life for {link_pulse.SILENT_AFTER:g} s, nor to a ping: it may be frozen")
        if session is not None and self._pulse.ping_due(now):
            self._send(Frame("ping"))
        self._outbox.flush()
        self._settle_accounts()

    def writable(self) -> None:
        """Send on: the transport has room again."""
        if not self.over:
            self._outbox.flush()
            self._settle_accounts()

    def disconnected(self, reason: str) -> None:
        """Take note that the transport lost the connection."""
        self._end(reason)

    def probe(self) -> None:
        """Find out whether the application is still there, where sending can tell."""
        if self._session is not None:
            self._send(Frame("ping"))
            self._settle_accounts()

    def _settle_accounts(self) -> None:
        """Tell the registry what went wrong since it last called us."""
        if self._unreachable:
            self._end(self._unreachable)
        elif self._outbox.overfull:
            self.lose("the application does not read what it is sent")
        session = self._session
        while session and self._outbox.refused:
            session.reject(*self._outbox.refused.popleft())
        while session and self._calls.refused:
            session.fail(*self._calls.refused.popleft())

    def lose(self, reason: str) -> None:
        """End the connection from our side, with a word to the other."""
        if not self.over:
            self._send(Frame("bye", {"reason": reason}))
            self._end(reason)

    def _end(self, reason: str) -> None:
        if self.over:
            return
        self.over = True
        session, self._session = self._session, None
        self._server.forget(self)
        self._assets.close()
        self._credit.close()
        self._outbox.clear()
        log.info("link ended", source=self._source, mount=session.mount if session else "", reason=reason)
        self._raw_close(reason)
        if session is not None:
            session.lost(reason)

    # What the engine calls: sdk.AppChannel

    def apply(self, wishes: Sequence[sdk.Wish]) -> None:
        """Send wishes."""
        if not self.over:
            self._outbox.apply(wishes)

    def invoke(self, call: sdk.Call) -> None:
        """Run a command in the application."""
        if not self.over:
            self._calls.invoke(call)

    def cancel(self, call_id: int) -> None:
        """Give a command up."""
        self._calls.cancel(call_id)

    def resync(self) -> None:
        """Ask for a full report."""
        self._send(Frame("resync", {"reason": "the daemon asks for a full report"}))

    def close(self, reason: str) -> None:
        """Say goodbye; the registry knows already, so it is not told."""
        self._session = None
        self.lose(reason)

    # Frames before hello

    def _on_auth_start(self, frame: Frame) -> None:
        if self._challenger is not None:
            try:
                self._send(Frame("auth_challenge", self._challenger.challenge(frame.header.get("nonce"))))
            except AuthError as error:
                self._complain("LINK_KEY", str(error))

    def _on_auth_proof(self, frame: Frame) -> None:
        if self._challenger is None:
            return
        try:
            self._challenger.verify(frame.header.get("proof"))
        except AuthError:
            self.key_refused = True
            self._server.counters["wrong_keys"] += 1
            log.warning("link key refused", source=self._source, remedy=KEY_REFUSED)
            self._complain("LINK_KEY", KEY_REFUSED)
        else:
            self._challenger = None
            self._send(Frame("auth_ok"))

    def _on_hello(self, frame: Frame) -> None:
        if self._session is not None:
            raise ValueError("hello was said already: say bye first")
        try:
            version = choose_version(read_versions(frame.header), frame.header.get("app"))
        except InvalidArgument as error:
            self._refuse_version(error)
            return
        hello = read_hello(frame.header, self._transport)
        stream = str(frame.header.get("stream", ""))[:64]
        self._server.supersede(self, stream)
        self._server.probe()
        self.stream = stream
        session = self._server.registry.hello(hello, self, transport=self._transport)
        if self.over:
            session.lost("the connection was closed while it was joined")
            return
        self._session = session
        acked = self._server.sequence(stream)
        self._send(welcome(version, session.mount, self._server.position(), CREDIT, acked))
        self._server.counters["joined"] += 1
        log.info("application joined", mount=session.mount, source=self._source, transport=self._transport)
        self._outbox.held = False
        self._outbox.flush()

    def _refuse_version(self, error: InvalidArgument) -> None:
        log.warning("link version refused", source=self._source, reason=error.message)
        self._server.counters["wrong_versions"] += 1
        header = {"reason": error.reason, "message": error.message, "versions": list(VERSIONS), **error.metadata}
        self._send(Frame("error", header))
        self.lose(error.message)

    # Frames of a joined application

    def _joined(self) -> sdk.AppSession:
        if self._session is None:
            raise ValueError("say hello first")
        return self._session

    def _on_state(self, frame: Frame) -> None:
        session, state = self._joined(), read_state(frame.header)
        try:
            self._take(session, state)
        finally:
            # Also when the registry would not have it: sending it again would change nothing.
            self._credit.taken(session, state.sequence)

    def _acknowledge(self, sequence: int) -> None:
        self._send(Frame("state_ack", {"sequence": sequence, "credit": CREDIT}))

    def _take(self, session: sdk.AppSession, state: State) -> None:
        last = self._server.sequence(self.stream)
        if state.sequence <= last:
            self._server.counters["duplicates"] += 1
            return
        if last and state.sequence != last + 1:
            self._complain("LINK_SEQUENCE", f"state {last + 1} to {state.sequence - 1} never came: report everything")
            self.resync()
        self._server.taken(self.stream, state.sequence)
        for problem in state.problems:
            self._complain("LINK_VALUE", f"state: {problem}")
        if state.changes:
            session.report(state.changes)
        if state.synced:
            session.synced()

    def _on_applied(self, frame: Frame) -> None:
        for item in frame.header["wishes"]:
            if not self._outbox.answered(item["id"]):
                self._server.counters["stray_answers"] += 1
                continue
            try:
                value = read_value(item, f"wish {item['id']}")
            except MALFORMED as error:
                self._complain("LINK_VALUE", f"applied: {error}")
                value = None
            self._joined().settle(item["id"], value)
        self._outbox.flush()

    def _on_rejected(self, frame: Frame) -> None:
        if self._outbox.answered(frame.header["id"]):
            reason = read_text(frame.header, "reason") or "the application gave no reason"
            self._joined().reject(frame.header["id"], reason)
        self._outbox.flush()

    def _on_progress(self, frame: Frame) -> None:
        self._calls.progressed(self._joined(), frame)

    def _on_result(self, frame: Frame) -> None:
        self._calls.ended(self._joined(), frame)

    def _on_error(self, frame: Frame) -> None:
        reason, message = read_text(frame.header, "reason"), read_text(frame.header, "message")
        if self._session is not None and self._calls.failed(self._session, frame):
            return
        self._server.counters["errors_of_applications"] += 1
        if reason == "LINK_KEY":
            self.key_refused = True
            self._server.counters["wrong_keys"] += 1
            log.warning("link key refused", source=self._source, remedy=KEY_REFUSED_BY_APP)
            self._end(KEY_REFUSED_BY_APP)
            return
        self._complaints += 1
        if self._complaints <= MAX_LOGGED:
            log.warning("application complains", mount=self.mount, source=self._source, reason=reason, message=message)

    def _on_bye(self, frame: Frame) -> None:
        self._end(read_text(frame.header, "reason") or "the application said goodbye")

    _HANDLERS: ClassVar[Mapping[str, Callable[[LinkPeer, Frame], None]]] = {
        "auth_start": _on_auth_start,
        "auth_proof": _on_auth_proof,
        "hello": _on_hello,
        "state": _on_state,
        "applied": _on_applied,
        "rejected": _on_rejected,
        "progress": _on_progress,
        "result": _on_result,
        "error": _on_error,
        "bye": _on_bye,
        "ping": lambda peer, _frame: peer._send(Frame("pong")),  # noqa: SLF001 - it is this class
        "pong": lambda _peer, _frame: None,  # hearing it is all that matters
        **dict.fromkeys(
            ("asset_begin", "asset_chunk", "asset_end", "asset_get", "asset_ack", "asset_failed"),
            lambda peer, frame: peer._assets.receive(frame),  # noqa: SLF001 - it is this class
        ),
    }
