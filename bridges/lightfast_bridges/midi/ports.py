"""The ports of this machine, by mido and python-rtmidi.

What lists the ports is made once and kept: with JACK and ALSA it is a client of its own, and one that comes and goes
each second would be seen in every patchbay.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lightfast.sdk import BridgeError
from lightfast_bridges.midi.settings import APIS

CLIENT = "Lightfast"
BEAT = f"{CLIENT} beat"
BEAT_S = 2.0
"""Seconds that a message may take through JACK and back; it takes milliseconds."""
SEQUENCER = Path("/dev/snd/seq")


class Input(Protocol):
    """An open input."""

    name: str

    def close(self) -> None:
        """Close it."""


class Output(Protocol):
    """An open output."""

    name: str

    def send(self, message: bytes) -> None:
        """Send one message; may block, and raise `OSError`."""

    def close(self) -> None:
        """Close it."""


class Ports(Protocol):
    """Where ports are listed and opened; every method may block, and raise `OSError`."""

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of inputs and outputs."""

    def open_input(self, name: str, receive: Callable[[bytes, float], None], *, virtual: bool) -> Input:
        """Open an input, or make one; *receive* is called in another thread, with the monotonic time."""

    def open_output(self, name: str, *, virtual: bool) -> Output:
        """Open an output, or make one."""

    def close(self) -> None:
        """Let go of what lists the ports."""


class _Output:
    def __init__(self, port: Any, parse: Callable[[bytes], Any]) -> None:
        self.name = str(port.name)
        self._port = port
        self._parse = parse

    def send(self, message: bytes) -> None:
        self._port.send(self._parse(message))

    def close(self) -> None:
        self._port.close()


class Heartbeat:
    """Tells whether a JACK server runs: it lists the ports of a dead one for ever. A message goes in a circle."""

    def __init__(self, rtmidi: Any, api: int) -> None:
        self._out = rtmidi.MidiOut(rtapi=api, name=BEAT)
        self._out.open_virtual_port("beat")
        self._in = rtmidi.MidiIn(rtapi=api, name=f"{BEAT} back")
        self._in.set_callback(self._back)
        there = [number for number, name in enumerate(self._in.get_ports()) if name.startswith(BEAT)]
        if not there:
            raise OSError("JACK does not list the port that was made")
        self._in.open_port(there[0], "back")
        self._sent = 0.0
        self._heard = 0.0

    def check(self) -> None:
        """Raise `OSError` where the last message has not come back for too long."""
        now = time.monotonic()
        if self._heard >= self._sent:
            self._out.send_message([0xF6])
            self._sent = now
        elif now - self._sent > BEAT_S:
            raise OSError("the JACK server is gone, or hangs: start it again")

    def _back(self, _message: Any, _data: Any) -> None:
        self._heard = time.monotonic()


class MidoPorts:
    """Ports by a backend of mido's. *lister*, two objects with `get_ports`, lists them, or else the backend does."""

    def __init__(
        self, backend: Any, *, lister: tuple[Any, Any] | None = None, heartbeat: Heartbeat | None = None
    ) -> None:
        self._heartbeat = heartbeat
        self._backend = backend
        self._lister = lister

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of inputs and outputs."""
        if self._lister is None:
            return list(self._backend.get_input_names()), list(self._backend.get_output_names())
        if self._heartbeat is not None:
            self._heartbeat.check()
        try:
            inputs, outputs = self._lister[0].get_ports(), self._lister[1].get_ports()
            return [n for n in inputs if not n.startswith(BEAT)], [n for n in outputs if not n.startswith(BEAT)]
        except RuntimeError as error:
            raise OSError(f"the ports cannot be listed: {error}") from error

    def open_input(self, name: str, receive: Callable[[bytes, float], None], *, virtual: bool) -> Input:
        """Open an input, or make one."""
        opened: Input = self._backend.open_input(
            name, callback=lambda message: receive(bytes(message.bytes()), time.monotonic()), **_making(virtual=virtual)
        )
        return opened

    def open_output(self, name: str, *, virtual: bool) -> Output:
        """Open an output, or make one."""
        from mido import Message

        return _Output(self._backend.open_output(name, **_making(virtual=virtual)), Message.from_bytes)

    def close(self) -> None:
        """Let go of what lists the ports."""
        for client in self._lister or ():
            with contextlib.suppress(Exception):
                client.delete()


def driver_of(api: str) -> str:
    """Return the driver to use where the settings say *api*; raise `BridgeError` where it cannot be there."""
    if not sys.platform.startswith("linux") or api not in {"", "alsa"}:
        return api
    if not SEQUENCER.exists():
        raise BridgeError(
            f"this machine has no ALSA sequencer ({SEQUENCER} is missing): load it with modprobe snd-seq, "
            'or use JACK with plugins.midi.api = "jack"'
        )
    return "alsa"


def system_ports(api: str) -> Ports:
    """Return the ports of this machine by the driver *api*; raise `BridgeError` where it has none."""
    import mido
    import rtmidi

    api = driver_of(api)
    name = APIS[api]
    number = getattr(rtmidi, f"API_{name}") if name else rtmidi.API_UNSPECIFIED
    if name and number not in rtmidi.get_compiled_api():
        raise BridgeError(f"python-rtmidi was built here without {api}: choose another plugins.midi.api")
    try:
        lister = (
            rtmidi.MidiIn(rtapi=number, name=f"{CLIENT} look"),
            rtmidi.MidiOut(rtapi=number, name=f"{CLIENT} look"),
        )
        lister[0].get_ports()
        jack = lister[0].get_current_api() == rtmidi.API_UNIX_JACK
        heartbeat = Heartbeat(rtmidi, number) if jack else None
    except (OSError, RuntimeError) as error:
        raise BridgeError(f"the driver for MIDI does not start: {error}") from error
    backend = mido.Backend("mido.backends.rtmidi" + (f"/{name}" if name else ""), load=True, use_environ=False)
    return MidoPorts(backend, lister=lister, heartbeat=heartbeat)


def _making(*, virtual: bool) -> dict[str, Any]:
    """Return what mido is told of a port that is made; a name for the client makes one, so others must have none."""
    return {"virtual": True, "client_name": CLIENT} if virtual else {}
