"""The ports of this machine, held by a process of their own: see `driver`."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from typing import Any, NoReturn

from lightfast.sdk import BridgeError
from lightfast_bridges.midi.ports import driver_of

READY_S = 15.0
"""Seconds that the process has to begin; a busy machine loads its libraries slowly."""
ANSWER_S = 4.0
"""Seconds that the driver has for anything. One that takes longer hangs, and its process is ended."""
CLOSE_S = 1.5
"""Seconds that it has to close a port: all the bridges together have five when the daemon stops."""
END_S = 1.0
Hear = Callable[[bytes, float], None]


class RemotePorts:
    """Implements `ports.Ports`. All methods but `close` raise `OSError` when the process is gone or hangs."""

    def __init__(self, api: str = "") -> None:
        """Start the process, with the driver *api*; raise `BridgeError` where that does not start."""
        api = driver_of(api)  # seen from here, so that nothing is started for nothing
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._hear: dict[int, Hear] = {}
        self._broken: dict[int, str] = {}
        self._gone = ""
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._ready: Future[Any] = Future()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lightfast_bridges.midi.driver", api],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._input = self._process.stdin.fileno() if self._process.stdin is not None else -1
        self._reader = threading.Thread(target=self._read, name="midi-in", daemon=True)
        self._reader.start()
        try:
            self._ready.result(READY_S)
        except (OSError, LateError) as error:
            self.close()
            raise BridgeError(str(error) or "the process that holds the MIDI ports did not begin") from None

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of inputs and outputs."""
        inputs, outputs = self._ask(do="names")
        return inputs, outputs

    def open_input(self, name: str, receive: Hear, *, virtual: bool) -> RemotePort:
        """Open an input, or make one."""
        number = next(self._numbers)
        self._hear[number] = receive
        return RemotePort(self, number, self._ask(number, do="input", name=name, virtual=virtual))

    def open_output(self, name: str, *, virtual: bool) -> RemotePort:
        """Open an output, or make one."""
        number = next(self._numbers)
        return RemotePort(self, number, self._ask(number, do="output", name=name, virtual=virtual))

    def close(self) -> None:
        """End the process, by force where it hangs; may be called twice."""
        self._fail("the MIDI driver was closed")
        process = self._process
        if not self._writing.acquire(timeout=END_S):  # somebody's line does not get through
            process.kill()
            self._writing.acquire(timeout=END_S)
        self._writing.release()
        try:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)
        self._reader.join(END_S)
        if process.stdout is not None and not self._reader.is_alive():
            process.stdout.close()

    def send(self, number: int, message: bytes) -> None:
        """Send through port *number*; waits while the driver does not take it."""
        if number in self._broken:
            raise OSError(self._broken[number])
        self._write({"send": number, "data": message.hex()})

    def shut(self, number: int) -> None:
        """Close port *number*."""
        self._hear.pop(number, None)
        if not self._gone:
            self._ask(within=CLOSE_S, do="close", port=number)

    def _ask(self, number: int = 0, within: float = ANSWER_S, **order: Any) -> Any:
        number = number or next(self._numbers)
        answer: Future[Any] = Future()
        with self._lock:
            self._waiting[number] = answer
        try:
            self._write({"id": number, **order}, within)
            return answer.result(within)
        except LateError:
            self._hang(within)
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def _write(self, order: dict[str, Any], within: float = ANSWER_S) -> None:
        """Write one line; where another thread's does not get through for so long, the driver hangs."""
        if self._gone:
            raise OSError(self._gone)
        if not self._writing.acquire(timeout=within):
            self._hang(within)
        try:
            data = memoryview(json.dumps(order).encode() + b"\n")
            while data:
                data = data[os.write(self._input, data) :]
        except OSError as error:
            raise OSError(f"the process that holds the MIDI ports is gone: {error}") from error
        finally:
            self._writing.release()

    def _hang(self, within: float) -> NoReturn:
        self._fail(f"the MIDI driver hangs: it did not answer within {within:g} s, and was ended")
        self._process.kill()
        raise OSError(self._gone)

    def _read(self) -> None:
        try:
            for line in self._process.stdout or ():
                self._take(json.loads(line))
        except ValueError:  # the half of a line of one that was killed
            self._process.kill()
        self._fail("the process that holds the MIDI ports ended")

    def _take(self, said: dict[str, Any]) -> None:
        if "port" in said:
            hear = self._hear.get(said["port"])
            if hear is not None:
                hear(bytes.fromhex(said["data"]), said["at"])
        elif "broken" in said:
            self._broken[said["broken"]] = said["error"]
        elif "ready" in said:
            self._ready.set_result(None)
        elif "failed" in said:
            self._fail(said["failed"])
        else:
            with self._lock:
                answer = self._waiting.pop(said["id"], None)
            if answer is not None and "error" in said:
                answer.set_exception(OSError(said["error"]))
            elif answer is not None:
                answer.set_result(said["result"])

    def _fail(self, reason: str) -> None:
        """Take note that there will be no more answers."""
        with self._lock:
            if not self._gone:
                self._gone = reason
            waiting, self._waiting = list(self._waiting.values()), {}
        if not self._ready.done():
            waiting.append(self._ready)
        for answer in waiting:
            answer.set_exception(OSError(self._gone))


class RemotePort:
    """One open port."""

    def __init__(self, ports: RemotePorts, number: int, name: str) -> None:
        self.name = name
        self._ports = ports
        self._number = number

    def send(self, message: bytes) -> None:
        """Send one message."""
        self._ports.send(self._number, message)

    def close(self) -> None:
        """Close it."""
        self._ports.shut(self._number)
