"""The application's half of the link.

One thread of its own owns the socket and only receives and sends. The application's main
thread calls `LinkClient.poll` and the methods that answer; nothing here calls into it, and
none of them waits for the network.

    client = LinkClient(transport, {"app": "blender", …}, key=key)
    client.start()
    …
    for event in client.poll():            # from a timer, or after client.wait(0.1)
        if event[0] == "welcome":          # report everything, then say so
            client.report(everything()); client.synced()
        elif event[0] == "apply":
            for wish in event[1]:
                client.settled(wish.id, carry_out(wish))

Events: `("welcome", header)` · `("apply", [Wish, …])` · `("command", Call)` · `("cancel", call_id)` ·
`("resync", reason)` report everything again, then `synced()` · `("lost", reason, unseen)` the connection is
gone, the client tries again by itself, and wishes and calls not yet answered are void; *unseen* changes were reported
until now and not acknowledged: where there are any, say `rehello(generation=…)` with a higher generation, or the daemon
puts its older values back · `("refused", reason, message)` it will not have us (`LINK_VERSION`, …), tried again every
`REFUSED_PAUSE` seconds · `("unsent", path, message)` a report could not travel · `("stored", transfer, Asset)`,
`("asset", transfer, Asset, bytes or None)`, `("asset_failed", transfer, reason)`.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union
from typing import Counter as CounterOf

from lightfast_link.assets import Transfers
from lightfast_link.frame import VERSIONS, Frame, encode
from lightfast_link.inbox import Inbox
from lightfast_link.keys import Keys
from lightfast_link.messages import Call, Change, LinkError, Wish, check_change
from lightfast_link.outbox import Outbox
from lightfast_link.session import GREETING, Session
from lightfast_link.value import Value, check_value, to_json

Event = Tuple[Any, ...]

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
"""Seconds before a lost connection is tried again: doubled each time, with a random part."""
REFUSED_PAUSE = 10.0
"""Seconds before a daemon that refused us is tried again: somebody may update it, or mend the key."""
MAX_TEXT = 1000
"""The most characters of a reason or a message."""


class LinkClient:
    """Joins one application instance to the daemon, and again whenever the connection breaks.

    *transport* is a transport, or a function that returns one, called anew for each attempt (so that
    a daemon that came back on another port is found; see `discover.transport`). *hello* is the header
    of `hello`: app, app_version, name, instance_id, document_id, generation, pid, simulator,
    parameters, commands, capabilities; `ValueError` when it cannot travel. *wake* is called from the
    link's thread when events wait; it must only set a flag.
    """

    def __init__(
        self,
        transport: Any,
        hello: Dict[str, Any],
        *,
        key: Optional[bytes] = None,
        wake: Optional[Callable[[], None]] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self.hello = dict(hello)
        encode(Frame("hello", self.hello))
        self.key = key
        self.clock = clock
        self._wake = wake
        self.stream = os.urandom(16).hex()
        self.lock = threading.Lock()
        self.counters: CounterOf[str] = Counter()
        self.outbox = Outbox(self.counters)
        self.inbox = Inbox(self.counters)
        self.transfers = Transfers()
        self.asset_frames: List[Frame] = []
        self.last_error = ""
        self.stopping = ""
        self._state = "connecting"
        self._mount = ""
        self._lost = ""
        self._refusal = ("", "")
        self._sessions = 0
        self._seen_session = 0
        self._last_number = 0
        self._wishes: Dict[int, Wish] = {}
        self._calls: Dict[int, int] = {}
        self._keys = Keys()
        self._closing = False
        self._hurry = threading.Event()
        self._waker_in: Any = None
        self._waker_out: Any = None
        self._thread = threading.Thread(target=self._run, name="lightfast-link", daemon=True)

    def start(self) -> "LinkClient":
        """Start the link's thread; returns the client."""
        self._waker_in, self._waker_out = socket.socketpair()
        self._waker_in.setblocking(False)
        self._waker_out.setblocking(False)
        self._thread.start()
        return self

    @property
    def state(self) -> str:
        """`connecting`, `greeting`, `live`, `refused` or `closed`."""
        return self._state

    @property
    def mount(self) -> str:
        """The mount of the last welcome (`/blender`), empty before the first."""
        return self._mount

    def status(self) -> Dict[str, Any]:
        """Return state, mount, why the last connection ended, and counters; for a panel or a log."""
        with self.lock:
            return {
                "state": self._state,
                "mount": self._mount,
                "lost": self._lost,
                "last_error": self.last_error,
                "versions": list(VERSIONS),
                "sessions": self._sessions,
                "waiting_reports": len(self.outbox),
                "counters": dict(self.counters),
            }

    # What the main thread takes

    def poll(self, limit: int = 256) -> List[Event]:
        """Return what has happened since the last call, at most *limit* events and wishes; never waits."""
        if not self.inbox.ready.is_set():
            return []
        with self.lock:
            events = self.inbox.take(limit)
            if any(event[0] == "welcome" for event in events):
                self._seen_session = self._sessions
        return events

    def wait(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds for events; say whether there are any."""
        return self.inbox.ready.wait(timeout)

    # What the main thread says

    def report(self, changes: Iterable[Union[Change, Dict[str, Any]]]) -> None:
        """Report changes (dicts have the fields of `Change`). Raises `ValueError` for one that cannot travel.

        Kept while the connection is away, the latest of each path; when even that is more than the
        bound, all are dropped, counted, and a `resync` event asks for a full report.
        """
        checked = [check_change(change if isinstance(change, Change) else Change(**change)) for change in changes]
        with self.lock:
            kept = [self.outbox.add(change) for change in checked]
            self.inbox.reported(len(checked))
            if not all(kept) and self._state == "live":
                self.inbox.add(("resync", "too many reports waited, so they were dropped: report everything again"))
        self._touch()

    def synced(self) -> None:
        """Say that the full report after `welcome` or `resync` is complete; ignored when that session is gone."""
        with self.lock:
            void = self.stopping and not self._closing  # after `rehello`: the report is not to be judged by the old one
            if self._state == "live" and self._seen_session == self._sessions and not void:
                self.outbox.mark_synced()
        self._touch()

    def settled(self, wish_id: int, value: Optional[Value] = None) -> None:
        """Say that a wish was carried out; *value* is what the application holds now, where it was read back."""
        if value is not None:
            check_value(value)
        with self.lock:
            wish = self._wishes.pop(wish_id, None)
            if wish is not None:
                self.outbox.settled(wish.id, value)
                if not wish.moved_from:
                    self.outbox.supersede(wish.path.strip("/"), wish.value if value is None else value)
        self._touch()

    def rejected(self, wish_id: int, reason: str) -> None:
        """Say that the application refused a wish."""
        with self.lock:
            wish = self._wishes.pop(wish_id, None)
            if wish is not None:
                self.outbox.answer(Frame("rejected", {"id": wish.id, "reason": _text(reason)}))
        self._touch()

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        """Say how far a command is; *fraction* from 0 to 1, or -1 where that is not known."""
        known = float(fraction)
        header = {"fraction": min(known, 1.0) if known >= 0.0 else -1.0, "message": _text(message)}
        self._answer_call("progress", call_id, header)

    def result(self, call_id: int, value: Optional[Value] = None) -> None:
        """Say that a command is done, and what it gave."""
        header = {} if value is None else {"value": to_json(check_value(value))}
        self._answer_call("result", call_id, header)

    def error(self, call_id: int, reason: str) -> None:
        """Say that a command failed."""
        self._answer_call("error", call_id, {"reason": "COMMAND_FAILED", "message": _text(reason)})

    def _answer_call(self, kind: str, call_id: int, header: Dict[str, Any]) -> None:
        with self.lock:
            number = self._calls.get(call_id) if kind == "progress" else self._calls.pop(call_id, None)
            if kind != "progress":
                self._keys.end(call_id, header if kind == "result" else None)
            if number is not None:
                self.outbox.answer(Frame(kind, dict(header, id=number)))
        self._touch()

    def put_asset(self, source: Union[bytes, str], name: str, media_type: str) -> int:
        """Store bytes, or the file at a path; returns a transfer id, answered by `stored` or `asset_failed`."""
        with self.lock:
            number = self.transfers.put(source, name, media_type)
        self._touch()
        return number

    def get_asset(self, sha256: str, path: str = "") -> int:
        """Fetch an asset into memory, or into the file at *path*; answered by `asset` or `asset_failed`."""
        with self.lock:
            number = self.transfers.get(sha256, path)
        self._touch()
        return number

    def rehello(self, **changes: Any) -> None:
        """Change fields of `hello` (another document was opened) and join anew at once."""
        hello = dict(self.hello, **changes)
        encode(Frame("hello", hello))
        with self.lock:
            self.hello = hello
            self.stopping = "the application says hello anew"
        self._hurry.set()
        self._touch()

    def close(self, timeout: float = 2.0) -> None:
        """Say goodbye, stop the thread and wait for it at most *timeout* seconds; what is queued is tried first."""
        with self.lock:
            self._closing = True
            self.stopping = "the application closed the link"
        self._hurry.set()
        self._touch()
        if self._thread.is_alive():
            self._thread.join(timeout)

    # Called by the session, with the lock held

    def begin_session(self, header: Dict[str, Any]) -> None:
        """Begin anew after a welcome."""
        self._sessions += 1
        self._state = "live"
        self._mount = header["mount"]
        self._refusal = ("", "")
        self._wishes.clear()
        self._calls.clear()
        self.inbox.add(("welcome", header))

    def open_wish(self, wish: Wish) -> Optional[str]:
        """Queue a wish under a number of our own, so that an answer can never reach a later session."""
        number = 0 if wish.signal else self._next_number()
        refusal = self.inbox.add_wish(replace(wish, id=number))
        if number and not refusal:
            self._wishes[number] = wish
        return refusal

    def open_call(self, call: Call) -> Optional[str]:
        """Queue a command under a number of our own; one that was done is answered, one under way answers anew."""
        if call.key:
            result = self._keys.found(call.key)
            if result is not None:
                self.counters["repeated_calls"] += 1
                self.outbox.answer(Frame("result", dict(result, id=call.id)))
                return None
            number = self._keys.under_way(call.key)
            if number:
                self.counters["repeated_calls"] += 1
                self._calls[number] = call.id
                return None
        number = self._next_number()
        refusal = self.inbox.add_call(Call(number, call.command, call.arguments, call.timeout, call.key))
        if not refusal:
            self._calls[number] = call.id
            if call.key:
                self._keys.begin(number, call.key)
        return refusal

    def local_call(self, number: int) -> int:
        """Return our own number of the daemon's call *number*, 0 when it is over."""
        return next((local for local, remote in self._calls.items() if remote == number), 0)

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    # The link's thread

    def notify(self) -> None:
        """Tell the main thread that events wait."""
        if self._wake is not None and self.inbox.ready.is_set():
            self._wake()

    def _touch(self) -> None:
        if self._waker_out is None:
            return  # not started yet: what waits is sent when it is
        try:
            self._waker_out.send(b"x")
        except (BlockingIOError, InterruptedError):
            pass  # enough is unread to wake the thread anyway
        except OSError:
            if not self._closing:
                raise

    def drain_waker(self) -> None:
        """Forget the touches seen so far."""
        try:
            while len(self._waker_in.recv(4096)) == 4096:
                pass
        except (BlockingIOError, InterruptedError):
            pass  # nobody touched it

    def _run(self) -> None:
        pause = FIRST_PAUSE
        try:
            while not self._closing:
                self._hurry.clear()
                was_live, refused = self._attempt()
                pause = FIRST_PAUSE if was_live else min(pause * 2, LAST_PAUSE)
                if not self._closing:
                    self._hurry.wait(REFUSED_PAUSE if refused else pause * (0.5 + random.random() / 2))  # noqa: S311  # spreads attempts
        finally:
            # Also when a bug ends the thread: an application must not wait for a link that is no more.
            self._end_session("the link is closed", was_live=self._state == "live")
            with self.lock:
                for event in self.transfers.close():
                    self.inbox.add(event)
                self._state = "closed"
            self._waker_in.close()
            self._waker_out.close()
            self.notify()

    def _attempt(self) -> Tuple[bool, bool]:
        """Connect once and stay while it lasts; say whether it was live, and whether we were refused."""
        with self.lock:
            if not self._closing:
                self.stopping = ""
        self._state = "connecting"
        session, connection = None, None
        reason, code = self.stopping, ""
        try:
            transport = self._transport() if callable(self._transport) else self._transport
            connection = transport.open(self._waker_in, GREETING)
            self._state = "greeting"
            session = Session(self, transport, connection)
            session.run()
            reason = self.stopping
        except LinkError as error:
            reason, code = error.message, error.reason
        except (OSError, ValueError) as error:
            reason, code = "cannot reach the daemon: %s" % error, "LINK_LOST"
        finally:
            if connection is not None:
                connection.close()
        was_live = session is not None and session.live
        refused = code not in ("", "LINK_LOST")
        self._end_session(reason, was_live=was_live)
        if refused:
            self._state = "refused"
            if self._refusal != (code, reason):
                self._refusal = (code, reason)
                with self.lock:
                    self.inbox.add(("refused", code, reason))
        else:
            self._state = "connecting"
        self.notify()
        return was_live, refused

    def _end_session(self, reason: str, *, was_live: bool) -> None:
        with self.lock:
            self._lost = reason
            unseen = self.outbox.end_session()
            for number in self.inbox.end_session(reason, unseen, was_live=was_live):
                self._keys.end(number, None)  # the application never saw it
            self._wishes.clear()
            self._calls.clear()
            self.asset_frames.clear()


def _text(text: str) -> str:
    return str(text).encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]
