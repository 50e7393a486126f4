"""Raw ZMQ sockets on the event loop.

The descriptor of a ZMQ socket tells of *changes*, not of state: after it woke us we read until
nothing is left, and after every send we look again, for sending may have eaten the news. What is
left after a bounded number of messages is taken up in the next turn of the loop.
"""

from __future__ import annotations

import asyncio
import select
import threading
from collections.abc import Callable

import zmq

BUDGET = 128
"""The most messages of one turn."""


class Readiness:
    """Calls *drain* when *sock* may be read; *drain* says whether it stopped before the socket was empty."""

    def __init__(self, sock: zmq.Socket[bytes], drain: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._drain = drain
        self._scheduled = False
        self._closed = False
        self._descriptor = int(sock.getsockopt(zmq.FD))
        self._thread: _Selector | None = None
        try:
            self._loop.add_reader(self._descriptor, self._wake)
        except NotImplementedError:  # the proactor loop of Windows
            self._thread = _Selector(self._descriptor, self._wake_from_thread)
        self.check()

    def check(self) -> None:
        """Look again; called after each send outside of *drain*."""
        if not self._scheduled and not self._closed and int(self._sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._scheduled = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        more = True
        try:
            more = self._drain()
        finally:
            # Also after an error: the edge is gone, so nobody would wake us for what is left.
            if more and not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._wake)
            self.check()
            if self._thread is not None:
                self._thread.resume()

    def _wake_from_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Stop watching; the socket itself stays open."""
        if self._closed:
            return
        self._closed = True
        if self._thread is None:
            self._loop.remove_reader(self._descriptor)
        else:
            self._thread.close()


class _Selector:
    """Waits for a descriptor in a thread, for loops that cannot; one wake-up per `resume`."""

    def __init__(self, descriptor: int, wake: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._wake = wake
        self._go = threading.Event()
        self._go.set()
        self._closed = False
        self._ending = threading.Lock()
        threading.Thread(target=self._run, name="lightfast-zmq-ready", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._go.wait()
            if self._closed:
                return
            try:
                found = select.select([self._descriptor], [], [], 0.5)[0]
            except (OSError, ValueError):  # the socket was closed meanwhile, and its descriptor with it
                found = []
            with self._ending:  # after `close` nobody is woken: the loop may be gone
                if found and not self._closed:
                    self._go.clear()
                    self._wake()

    def resume(self) -> None:
        """Wait again."""
        self._go.set()

    def close(self) -> None:
        """End the thread, within half a second; it wakes nobody from now on."""
        with self._ending:
            self._closed = True
        self._go.set()
