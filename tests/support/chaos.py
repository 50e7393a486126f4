"""A man in the middle, on UDP and on TCP: what an application says comes late, garbled, in floods, or not at all.

A relay listens on a port of its own and passes everything on to where the other end really is. *app_calls* says which
end that is: an application that connects to the daemon (Pd, Blender, TouchDesigner), or a daemon that connects to the
application (Ardour, scsynth, OBS). The fault in `mode` is done to what the application says, never to what the daemon
does, so that every wish arrives.

    never     nothing of what it says arrives
    late      it arrives `delay` seconds later
    garbage   as many bytes arrive, but not those (over TCP that ends the connection, sooner or later)
    flood     (UDP) each datagram arrives `factor` times
    mutate    (UDP) it arrives, and so do `factor` copies with a few bytes changed, cut or added

A relay is a thread; it opens its sockets where it is made, so inside a network where it is made inside.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from collections import Counter
from typing import Self

from lightfast.core.osc import Decoder, OscError
from lightfast_link.frame import FrameError, Splitter

HOST = "127.0.0.1"
MAX_PEERS = 256
MODES = ("pass", "never", "late", "garbage", "flood", "mutate")


class Relay:
    """What both kinds share: the thread, the fault, and what is held back."""

    def __init__(self, port: int, *, app_calls: bool, seed: int = 1) -> None:
        self.target = (HOST, port)
        self.app_calls = app_calls
        self.mode = "pass"
        self.delay = 4.5
        self.factor = 50
        self.told: Counter[str] = Counter()
        """What the daemon sent, by OSC address or type of frame."""
        self.said = 0
        """How many datagrams or pieces the application sent."""
        self.port = 0
        self._chance = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._held: list[tuple[float, int, socket.socket, bytes, tuple[str, int] | None]] = []
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"relay to {port}", daemon=True)

    def start(self) -> Self:
        """Begin to relay."""
        self._open()
        self._thread.start()
        return self

    def close(self) -> None:
        """End, and let go of all sockets."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(60)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        raise NotImplementedError

    def _take(self, key: selectors.SelectorKey) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.05 if not self._held else 0.005):
                self._take(key)
            while self._held and self._held[0][0] <= time.monotonic():
                _, _, sock, data, address = heapq.heappop(self._held)
                self._put(sock, data, address)

    def _spoil(self, sock: socket.socket, data: bytes, address: tuple[str, int] | None = None) -> None:
        """Pass on what the application said, as `mode` wants it."""
        self.said += 1
        mode = self.mode
        if mode == "never":
            return
        if mode == "late" or (mode == "pass" and self._waits(sock)):  # never overtaken by what comes later
            due = time.monotonic() + (self.delay if mode == "late" else 0.0)
            if mode == "pass":
                due = max(held[0] for held in self._held if held[2] is sock)
            heapq.heappush(self._held, (due, next(self._numbers), sock, data, address))
            return
        if mode == "garbage":
            data = self._chance.randbytes(len(data))
        for _ in range(self.factor if mode == "flood" else 1):
            self._put(sock, data, address)
        for _ in range(self.factor if mode == "mutate" else 0):
            self._put(sock, mutated(self._chance, data), address)

    def _waits(self, sock: socket.socket) -> bool:
        return any(held[2] is sock for held in self._held)

    def _put(self, sock: socket.socket, data: bytes, address: tuple[str, int] | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            if address is None:
                sock.settimeout(5.0)
                sock.sendall(data)
                sock.setblocking(False)
            else:
                sock.sendto(data, address)


class UdpRelay(Relay):
    """Between two UDP ends; each caller gets a socket of its own towards the target, as it had without us."""

    def __init__(self, port: int, *, app_calls: bool = False, seed: int = 1, listen: int = 0) -> None:
        super().__init__(port, app_calls=app_calls, seed=seed)
        self._listen = listen
        self._decoder = Decoder()
        self._front: socket.socket | None = None
        self._callers: dict[tuple[str, int], socket.socket] = {}

    def _open(self) -> None:
        self._front = _udp(self._listen)
        self.port = self._front.getsockname()[1]
        self._selector.register(self._front, selectors.EVENT_READ, None)

    def _take(self, key: selectors.SelectorKey) -> None:
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        assert self._front is not None
        for _ in range(100):
            try:
                data, caller = sock.recvfrom(65_536)
            except BlockingIOError:
                return
            except OSError:
                continue  # the other end is away
            if sock is self._front:
                back = self._back(caller)
                self._pass(data, back, self.target, by_app=self.app_calls)
            else:
                self._pass(data, self._front, key.data, by_app=not self.app_calls)

    def inject(self, data: bytes) -> None:
        """Send something to the daemon in the application's name, from where it expects the application."""
        assert self._front is not None
        for caller, back in list(self._callers.items()):
            if self.app_calls:
                self._put(back, data, self.target)
            else:
                self._put(self._front, data, caller)

    def _pass(self, data: bytes, sock: socket.socket, address: tuple[str, int], *, by_app: bool) -> None:
        if by_app:
            self._spoil(sock, data, address)
            return
        with contextlib.suppress(OscError):
            self.told.update(message.address for message in self._decoder.decode(data))
        self._put(sock, data, address)

    def _back(self, caller: tuple[str, int]) -> socket.socket:
        found = self._callers.get(caller)
        if found is None:
            if len(self._callers) >= MAX_PEERS:
                oldest = next(iter(self._callers))
                gone = self._callers.pop(oldest)
                self._selector.unregister(gone)
                gone.close()
            found = self._callers[caller] = _udp(0)
            self._selector.register(found, selectors.EVENT_READ, caller)
        return found


class TcpRelay(Relay):
    """Between two TCP ends. What the daemon sends is read as frames of the link where *frames* says so."""

    def __init__(self, port: int, *, app_calls: bool, frames: bool = False, seed: int = 1) -> None:
        super().__init__(port, app_calls=app_calls, seed=seed)
        self._frames = frames
        self._others: dict[socket.socket, socket.socket] = {}
        self._splitters: dict[socket.socket, Splitter] = {}
        self._front: socket.socket | None = None

    def _open(self) -> None:
        self._front = socket.create_server((HOST, 0))
        self._front.setblocking(False)
        self.port = self._front.getsockname()[1]
        self._selector.register(self._front, selectors.EVENT_READ, "front")

    def cut(self) -> None:
        """End all connections."""
        for sock in list(self._others):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _take(self, key: selectors.SelectorKey) -> None:
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        if sock is self._front:
            self._accept()
            return
        if sock not in self._others:
            return  # its other half ended in this very round
        try:
            data = sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(sock)
        elif (key.data == "caller") == self.app_calls:
            self._spoil(self._others[sock], data)
        else:
            self._count(sock, data)
            self._put(self._others[sock], data, None)

    def _accept(self) -> None:
        assert self._front is not None
        try:
            caller, _ = self._front.accept()
        except OSError:
            return
        try:
            called = socket.create_connection(self.target, 2.0)
        except OSError:
            caller.close()
            return
        for one, other, what in ((caller, called, "caller"), (called, caller, "called")):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
            self._others[one] = other
            self._splitters[one] = Splitter()
            self._selector.register(one, selectors.EVENT_READ, what)

    def _end(self, sock: socket.socket) -> None:
        for one in (sock, self._others[sock]):
            self._selector.unregister(one)
            del self._others[one], self._splitters[one]
            one.close()

    def _count(self, sock: socket.socket, data: bytes) -> None:
        if not self._frames:
            self.told["piece"] += 1
            return
        with contextlib.suppress(FrameError):
            for parts in self._splitters[sock].feed(data):
                self.told[bytes(parts[0]).decode("ascii", "replace")] += 1


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Return *data* with a few bytes changed, cut or added."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            case _:
                changed[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xc0\0\0", b"\x80\0\0\0"))
    return bytes(changed[:65_000])


def _udp(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind((HOST, port))
    made.setblocking(False)
    return made
