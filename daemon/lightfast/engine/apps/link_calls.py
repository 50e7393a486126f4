"""The commands that are with one application over the link."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lightfast import sdk
from lightfast.engine.apps.link_read import MALFORMED, read_text, read_value
from lightfast_link.frame import Frame, FrameError
from lightfast_link.value import to_json

MAX_CALLS = 256
UNKNOWN = -1.0
"""The fraction of a command that cannot say how far it is."""


class LinkCalls:
    """Sends commands and takes their answers; an answer to none of them is ignored."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self._send = send
        self._open: set[int] = set()
        self.refused: deque[tuple[int, str]] = deque()
        """Commands that could not be sent, and why; whoever owns this fails them."""

    def invoke(self, call: sdk.Call) -> None:
        """Send a command."""
        if len(self._open) >= MAX_CALLS:
            self.refused.append((call.call_id, f"{MAX_CALLS} commands are with the application already"))
            return
        header = {
            "id": call.call_id,
            "command": call.command,
            "arguments": {name: to_json(value) for name, value in call.arguments.items()},
            "timeout": call.timeout,
        }
        if call.key:
            header["key"] = call.key
        try:
            self._send(Frame("command", header))
        except FrameError as error:
            self.refused.append((call.call_id, f"the arguments cannot travel: {error}"))
        else:
            self._open.add(call.call_id)

    def cancel(self, call_id: int) -> None:
        """Give a command up; what it may still answer is ignored."""
        if call_id in self._open:
            self._open.discard(call_id)
            self._send(Frame("cancel", {"id": call_id}))

    def progressed(self, session: sdk.AppSession, frame: Frame) -> None:
        """Take in a `progress`; raises `ValueError` for a fraction that is none."""
        fraction = float(frame.header["fraction"])
        if fraction != UNKNOWN and not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction is {fraction!r}: it goes from 0 to 1, or is -1 where it is not known")
        if frame.header["id"] in self._open:
            session.progress(frame.header["id"], fraction, read_text(frame.header, "message"))

    def ended(self, session: sdk.AppSession, frame: Frame) -> None:
        """Take in a `result`; one that cannot be read fails the command, and is raised."""
        call_id = frame.header["id"]
        if call_id not in self._open:
            return
        self._open.discard(call_id)
        try:
            value = read_value(frame.header, "result")
        except MALFORMED as error:
            session.fail(call_id, f"the result cannot be read: {error}")
            raise
        session.result(call_id, value)

    def failed(self, session: sdk.AppSession, frame: Frame) -> bool:
        """Take in an `error`; say whether it was about one of the commands."""
        call_id = frame.header.get("id")
        if call_id not in self._open:
            return False
        self._open.discard(call_id)
        reason = read_text(frame.header, "message") or read_text(frame.header, "reason")
        session.fail(call_id, reason or "the application gave no reason")
        return True
