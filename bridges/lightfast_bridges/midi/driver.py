"""The process that holds the ports: the only place where python-rtmidi is loaded.

Its driver for JACK waits for ever, and lets no other thread of Python run meanwhile, when the server dies or hangs. So
it has a process of its own, which can be ended. It talks JSON, one object a line. It takes `{"id", "do", ...}` and
answers `{"id", "result"}` or `{"id", "error"}`, takes `{"send": port, "data": hex}`, which it does not answer unless it
fails, and says `{"port", "at", "data"}` for what it hears; `at` is the monotonic time. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from lightfast.sdk import BridgeError
from lightfast_bridges.midi.ports import Input, Output, Ports, system_ports


class Driver:
    """Does what it is told."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._open: dict[int, Input | Output] = {}
        self._lock = threading.Lock()

    def say(self, message: dict[str, Any]) -> None:
        """Write one line, from any thread."""
        with self._lock:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def obey(self, order: dict[str, Any]) -> None:
        """Carry one order out."""
        port = order.get("send")
        if port is not None:
            try:
                self._open[port].send(bytes.fromhex(order["data"]))  # type: ignore[union-attr]  # it was opened to send
            except Exception as error:  # noqa: BLE001  # each driver has errors of its own
                self.say({"broken": port, "error": str(error)})
            return
        try:
            self.say({"id": order["id"], "result": self._do(order)})
        except Exception as error:  # noqa: BLE001  # the same
            self.say({"id": order["id"], "error": str(error) or type(error).__name__})

    def _do(self, order: dict[str, Any]) -> Any:
        what, port = order["do"], order["id"]
        if what == "names":
            return self._ports.names()
        if what == "close":
            opened = self._open.pop(order["port"], None)
            if opened is not None:
                opened.close()
            return None
        if what == "input":

            def hear(data: bytes, at: float) -> None:
                self.say({"port": port, "at": at, "data": data.hex()})

            self._open[port] = self._ports.open_input(order["name"], hear, virtual=order["virtual"])
        else:
            self._open[port] = self._ports.open_output(order["name"], virtual=order["virtual"])
        return self._open[port].name


def main() -> None:
    """Run until the input ends."""
    try:
        driver = Driver(system_ports(sys.argv[1] if len(sys.argv) > 1 else ""))
    except BridgeError as error:
        sys.stdout.write(json.dumps({"failed": str(error)}) + "\n")
        return
    driver.say({"ready": time.monotonic()})
    for line in sys.stdin:
        driver.obey(json.loads(line))
    os._exit(0)  # the driver's own threads may hang


if __name__ == "__main__":
    main()
