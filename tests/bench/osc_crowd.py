"""Simulated OSC devices in one process, each with a socket of its own: `HZ REPLY_PORT...`, one port for each device.

Prints `ready PORT...`. A device echoes what is set; `play`, `rest` and `count` as in `crowd`.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from lightfast.core.osc import decode
from lightfast.core.osc_build import encode


def main(rate: float, replies: list[int]) -> None:
    devices: list[socket.socket] = []
    for port in replies:
        device = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        device.bind(("127.0.0.1", 0))
        device.connect(("127.0.0.1", port))
        device.setblocking(False)
        devices.append(device)
    print("ready", *(device.getsockname()[1] for device in devices), flush=True)
    due, made = float("inf"), 0
    while True:
        wait = min(max(due - time.perf_counter(), 0.0), 0.05)
        ready = select.select([sys.stdin, *devices], [], [], wait)[0]
        if sys.stdin in ready:
            words = sys.stdin.readline().split()
            if not words:
                return
            if words[0] in ("play", "rest"):
                due = time.perf_counter() if words[0] == "play" else float("inf")
            print(made, flush=True)
        for device in devices:
            if device not in ready:
                continue
            try:
                data = device.recv(4096)
            except (BlockingIOError, ConnectionRefusedError):
                continue
            if decode(data)[0].address == "/wish":
                device.send(data)
        if time.perf_counter() >= due:
            due, made = due + 1 / rate, made + 1
            for device in devices:
                for name in ("level", "fader"):
                    try:
                        device.send(encode(f"/{name}", float(made)))
                    except ConnectionRefusedError:
                        continue  # nobody listens yet, or any more


if __name__ == "__main__":
    main(float(sys.argv[1]), [int(port) for port in sys.argv[2:]])
