"""A network of its own for applications that multicast or bind all interfaces.

Only loopback is in it, so nothing that is started inside reaches another machine, and every port is free.
Files and Unix sockets are shared with the outside: a test talks to a daemon inside over its Unix socket, with no
further ado. Everything that uses IP (the application, the daemon, a second OSC client) is started or opened inside:

    with network() as net:
        process = net.popen([...])          # a program inside
        with net.inside():                  # what this thread opens or starts here lies inside
            daemon.start()
            control = socket.socket(...)    # and stays inside after the block
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_MULTICAST = 0x1, 0x8, 0x40, 0x1000


class Network:
    """One network namespace. It lives as long as it is open or something runs or is open inside."""

    def __init__(self) -> None:
        """Make it, with loopback up; raise `PermissionError` where that is not allowed."""
        self._handle = -1
        outside = _here()
        try:
            _check(_libc().unshare(CLONE_NEWNET), "unshare")
            try:
                self._handle = _here()
                _raise_loopback()
            finally:
                _check(_libc().setns(outside, CLONE_NEWNET), "setns")
        except BaseException:
            self.close()
            raise
        finally:
            os.close(outside)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread inside for the length of the block: its sockets, its children, its new threads."""
        outside = _here()
        try:
            _check(_libc().setns(self._handle, CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _check(_libc().setns(outside, CLONE_NEWNET), "setns")
        finally:
            os.close(outside)

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside; the process is the program itself."""
        with self.inside():
            return subprocess.Popen(command, **options)

    def run(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program inside to its end."""
        with self.inside():
            return subprocess.run(command, check=False, **options)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs *command* inside, for those who start it by another way."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._handle}", *command]

    def udp(self, port: int = 0) -> socket.socket:
        """Open a UDP socket inside, on loopback."""
        with self.inside():
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.bind(("127.0.0.1", port))
            return opened

    def close(self) -> None:
        """Let go of it; may be called twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


@contextmanager
def network() -> Iterator[Network]:
    """Make a network of its own, or skip the test with what it takes."""
    if sys.platform != "linux":
        pytest.skip("a network of its own takes Linux")
    try:
        made = Network()
    except PermissionError:
        pytest.skip("a network of its own takes root (or CAP_SYS_ADMIN): run the tests as root")
    try:
        yield made
    finally:
        made.close()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(code: int, what: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        kind = PermissionError if number in {errno.EPERM, errno.EACCES} else OSError
        raise kind(number, f"{what}: {os.strerror(number)}")


def _here() -> int:
    """Return a handle on the network that the calling thread is in."""
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_MULTICAST
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
