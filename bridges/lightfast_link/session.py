"""One connection of an application, from the greeting to its loss; runs in the link's thread."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Dict, Optional

from lightfast_link.auth import AuthError, Responder
from lightfast_link.frame import VERSIONS, Frame, FrameError, decode, encode
from lightfast_link.keys import KEYED, MAX_KEY
from lightfast_link.messages import Call, LinkError, Wish, check_relative
from lightfast_link.value import from_json

if TYPE_CHECKING:
    from lightfast_link.client import LinkClient

GREETING = 5.0
"""Seconds that the daemon has to connect, prove itself and welcome us."""
PING_EVERY = 2.0
DEAD_AFTER = 6.0
"""Seconds of silence after which the daemon is taken for lost."""
LATE = 1.0
"""Seconds between two looks beyond the wait that was meant. After more, this process stood still, and what the daemon said
meanwhile is still to be read: only the wait that was meant counts as silence."""

_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What reading a malformed header raises; `FrameError` is a `ValueError`."""

WRONG_KEY = (
    "the daemon at %s does not hold our link key (fingerprint %s): the key file is not of this daemon; "
    "read link_key_file in its endpoints.json, or stop the program that holds its port"
)


def fingerprint(key: bytes) -> str:
    """Return eight hex digits that tell keys apart in messages, and from which no key can be found."""
    return hashlib.sha256(b"lightfast-link fingerprint" + key).hexdigest()[:8]


class Session:
    """Drives one connection for `LinkClient`; `run` ends with `LinkError` or `OSError`, or when it is stopped."""

    def __init__(self, client: "LinkClient", transport: Any, connection: Any) -> None:
        self._client = client
        self._transport = transport
        self._connection = connection
        self._clock = client.clock
        now = self._clock()
        self._deadline = now + GREETING
        self._heard = self._pinged = self._looked = now
        self._responder: Optional[Responder] = None
        self._first: Optional[Frame] = None
        self._credit = 0
        self.live = False

    def run(self) -> None:
        """Greet, then send and receive until the client stops or the daemon is gone."""
        key = self._transport.key or self._client.key
        if self._transport.authenticates:
            if not key:
                raise LinkError(
                    "LINK_KEY", "%s needs the link key: pass the content of link_key_file" % self._transport
                )
            self._responder = Responder(key)
            self._first = Frame("auth_start", self._responder.start())
        else:
            self._first = self._hello()
        while not self._client.stopping:
            blocked = not self._send_all()
            patience = self._patience()
            self._connection.wait(patience, writable=blocked)
            self._client.drain_waker()
            for parts in self._connection.receive():
                self._heard = self._clock()
                self._receive(parts)
            self._check_time(patience)
        self._say_bye(self._client.stopping)

    def _hello(self) -> Frame:
        hello = dict(self._client.hello, versions=list(VERSIONS), stream=self._client.stream)
        hello["capabilities"] = sorted({*hello.get("capabilities", ()), KEYED})
        return Frame("hello", hello)

    # Sending

    def _send(self, frame: Frame) -> bool:
        return bool(self._connection.send(encode(frame)))

    def _send_all(self) -> bool:
        """Send what may be sent; `False` when the connection has no room for the rest."""
        if self._first is not None:
            if not self._send(self._first):
                return False
            self._first = None
        if not self.live:
            return True
        return self._send_answers() and self._send_states() and self._send_assets()

    def _send_answers(self) -> bool:
        client = self._client
        while True:
            with client.lock:
                if client.outbox.overfull:
                    raise LinkError("LINK_LOST", "the daemon does not read: too many answers wait")
                frame = client.outbox.next_answer()
            if frame is None:
                return True
            try:
                sent = self._send(frame)
            except FrameError as error:
                # Only a result can be that large; whoever waits for it must hear of it.
                frame = Frame("error", {"id": frame.header.get("id"), "reason": "LINK_FRAME", "message": str(error)})
                sent = self._send(frame)
            if not sent:
                return False
            with client.lock:
                client.outbox.sent_answer()

    def _send_states(self) -> bool:
        client = self._client
        while True:
            with client.lock:
                header, refused = client.outbox.next_state(self._credit)
                for path, message in refused:
                    client.inbox.add(("unsent", path, message))
            if refused:
                client.notify()
            if header is None:
                return True
            if not self._send(Frame("state", header)):
                return False
            with client.lock:
                client.outbox.sent_state()

    def _send_assets(self) -> bool:
        client = self._client
        while True:
            if not client.asset_frames:
                with client.lock:
                    frames, events = client.transfers.next_frames()
                    for event in events:
                        client.inbox.add(event)
                client.asset_frames.extend(frames)
                if events:
                    client.notify()
            if not client.asset_frames:
                return True
            if not self._send(client.asset_frames[0]):
                return False
            client.asset_frames.pop(0)

    def _say_bye(self, reason: str) -> None:
        if self.live:
            self._send_all()
            self._send(Frame("bye", {"reason": reason}))

    # Time

    def _patience(self) -> float:
        until = min(self._pinged + PING_EVERY, self._heard + DEAD_AFTER) if self.live else self._deadline
        return min(max(until - self._clock(), 0.0), PING_EVERY)

    def _check_time(self, patience: float) -> None:
        now = self._clock()
        stood = now - self._looked - patience
        self._looked = now
        if stood > LATE:
            self._heard = min(self._heard + stood, now)
            self._deadline += stood
        if not self.live:
            if now >= self._deadline:
                raise LinkError("LINK_LOST", "no daemon answered at %s within %g s" % (self._transport, GREETING))
            return
        if now - self._heard >= DEAD_AFTER:
            raise LinkError("LINK_LOST", "the daemon was silent for %g s" % DEAD_AFTER)
        if now - self._pinged >= PING_EVERY:
            self._pinged = now
            self._send(Frame("ping", {}))

    # Receiving

    def _receive(self, parts: "list[bytes]") -> None:
        try:
            frame = decode(parts)
            handler = self._HANDLERS.get(frame.type)
            if handler is None:
                self._client.counters["unknown_frames"] += 1
                return
            if not self.live and frame.type not in ("auth_challenge", "auth_ok", "welcome", "error", "bye", "ping"):
                raise FrameError("%s came before welcome" % frame.type)
            handler(self, frame)
        except _MALFORMED as error:
            self._client.counters["bad_frames"] += 1
            message = "%s: %s %.400s" % (parts[0][:32].decode("ascii", "replace"), type(error).__name__, error)
            self._send(Frame("error", {"reason": "LINK_FRAME", "message": message}))
        self._client.notify()

    def _on_auth_challenge(self, frame: Frame) -> None:
        if self._responder is None:
            raise LinkError("LINK_KEY", "the daemon at %s asks for a proof that is not due" % self._transport)
        key = self._transport.key or self._client.key
        try:
            proof = self._responder.respond(frame.header.get("nonce"), frame.header.get("proof"))
        except AuthError:
            message = WRONG_KEY % (self._transport, fingerprint(key or b""))
            self._send(Frame("error", {"reason": "LINK_KEY", "message": "your link key is not the one I was given"}))
            raise LinkError("LINK_KEY", message) from None
        self._responder = None
        self._send(Frame("auth_proof", proof))

    def _on_auth_ok(self, frame: Frame) -> None:
        if self._responder is not None:
            raise LinkError("LINK_KEY", "the daemon at %s skipped its proof: it is an impostor" % self._transport)
        self._send(self._hello())

    def _on_welcome(self, frame: Frame) -> None:
        if self._responder is not None:
            raise LinkError("LINK_KEY", "the daemon at %s skipped its proof: it is an impostor" % self._transport)
        header = frame.header
        self._credit = int(header["credit"])
        if not isinstance(header["mount"], str) or int(header["version"]) not in VERSIONS:
            raise LinkError("LINK_VERSION", "the daemon welcomes us in version %r" % header.get("version"))
        client = self._client
        with client.lock:
            client.outbox.acknowledged(int(header.get("acked", 0)))
            client.outbox.resend()
            client.transfers.restart()
            client.asset_frames.clear()
            client.begin_session(header)
        self.live = True

    def _on_state_ack(self, frame: Frame) -> None:
        with self._client.lock:
            self._client.outbox.acknowledged(int(frame.header["sequence"]))
        self._credit = int(frame.header["credit"])

    def _on_apply(self, frame: Frame) -> None:
        client = self._client
        for item in frame.header["batch"]:
            number, signal = int(item["id"]), bool(item.get("signal"))
            try:
                value = from_json(item["value"]) if item.get("value") is not None else None
                source = check_relative(item["moved_from"], "moved_from") if item.get("moved_from") else ""
                wish = Wish(number, check_relative(item["path"]), value, int(item.get("revision", 0)), signal, source)
            except _MALFORMED as error:
                client.counters["bad_frames"] += 1
                refusal: Optional[str] = "the application cannot read the wish: %s" % error
            else:
                with client.lock:
                    refusal = client.open_wish(wish)
            if refusal and not signal:
                with client.lock:
                    client.outbox.answer(Frame("rejected", {"id": number, "reason": refusal}))

    def _on_command(self, frame: Frame) -> None:
        client, header = self._client, frame.header
        arguments = {str(name): from_json(data, name) for name, data in header.get("arguments", {}).items()}
        key = str(header.get("key", ""))
        if len(key) > MAX_KEY:
            raise ValueError("a key has at most %d characters" % MAX_KEY)
        call = Call(int(header["id"]), str(header["command"]), arguments, float(header.get("timeout", 60.0)), key)
        with client.lock:
            refusal = client.open_call(call)
            if refusal:
                client.outbox.answer(Frame("error", {"id": call.id, "reason": "LINK_BUSY", "message": refusal}))

    def _on_cancel(self, frame: Frame) -> None:
        with self._client.lock:
            local = self._client.local_call(int(frame.header["id"]))
            if local:
                self._client.inbox.add(("cancel", local))

    def _on_resync(self, frame: Frame) -> None:
        with self._client.lock:
            self._client.inbox.add(("resync", str(frame.header.get("reason", ""))))

    def _on_asset(self, frame: Frame) -> None:
        with self._client.lock:
            event = self._client.transfers.receive(frame)
            if event is not None:
                self._client.inbox.add(event)

    def _on_error(self, frame: Frame) -> None:
        reason, message = str(frame.header.get("reason", "")), str(frame.header.get("message", ""))
        self._client.counters["errors"] += 1
        self._client.last_error = message
        if not self.live:
            raise LinkError(reason or "LINK_REFUSED", message)

    def _on_bye(self, frame: Frame) -> None:
        reason = str(frame.header.get("reason", "the daemon said goodbye"))
        raise LinkError("LINK_LOST" if self.live else "LINK_REFUSED", reason)

    def _on_ping(self, frame: Frame) -> None:
        self._send(Frame("pong", dict(frame.header)))

    def _on_pong(self, frame: Frame) -> None:
        """Do nothing: hearing it is all that matters."""

    _HANDLERS: ClassVar[Dict[str, Any]] = {
        "auth_challenge": _on_auth_challenge,
        "auth_ok": _on_auth_ok,
        "welcome": _on_welcome,
        "state_ack": _on_state_ack,
        "apply": _on_apply,
        "command": _on_command,
        "cancel": _on_cancel,
        "resync": _on_resync,
        "asset_begin": _on_asset,
        "asset_chunk": _on_asset,
        "asset_end": _on_asset,
        "asset_done": _on_asset,
        "asset_failed": _on_asset,
        "asset_ack": _on_asset,
        "error": _on_error,
        "bye": _on_bye,
        "ping": _on_ping,
        "pong": _on_pong,
    }
