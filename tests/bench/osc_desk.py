"""Three OSC devices in one process: a desk that turns all its parameters, and two that are moved by links.

`PORT STATES SIGNALS`: the desk sends to PORT. Prints `ready MID OUT`, the ports of the others; answers `run SECONDS HZ`.
Links are taken to make `x / 2` of a value for the first and `x + 1` of that for the second.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable

from lightfast.core.osc import Decoder
from lightfast.core.osc_build import encode

BUNDLE = b"#bundle\0" + (1).to_bytes(8, "big")
TOGETHER = 50
"""Messages in one bundle, as a program sends that turns many values in a frame."""
PATIENCE = 30.0
STEP = 1000.0


class Receiver:
    """One device that is moved: when each value came, after it was sent by the desk."""

    def __init__(self, back: Callable[[float], float]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.back = back
        self.decode = Decoder().decode
        self.values: dict[str, float] = {}
        self.delays: dict[str, list[float]] = {}

    def begin(self) -> None:
        self.values = {}
        self.delays = {"state": [], "signal": []}

    def take(self, sent: list[float]) -> None:
        """Take at most a thousand datagrams."""
        for _ in range(1000):
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return
            now = time.perf_counter()
            for address, _, arguments in self.decode(data):
                _, kind, number = address.split("/")
                value = self.back(arguments[0])
                self.values[f"{kind}/{number}"] = value
                frame = int(value - STEP * int(number))
                if 0 <= frame < len(sent):
                    self.delays[kind].append(now - sent[frame])


def spread(delays: list[float]) -> dict[str, float]:
    """Return the quantiles in seconds."""
    found = sorted(delays) or [float("nan")]
    return {
        "count": len(delays),
        "p50": found[len(found) // 2],
        "p99": found[min(len(found) - 1, len(found) * 99 // 100)],
        "most": found[-1],
    }


class Desk:
    """The desk, and what it moves."""

    def __init__(self, port: int, states: int, signals: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        names = [("state", number) for number in range(1, states + 1)]
        names += [("signal", number) for number in range(1, signals + 1)]
        self.names = names
        self.heads = [encode(f"/{kind}/{number}", 0.0)[:-4] for kind, number in names]
        self.receivers = {"mid": Receiver(lambda x: x * 2), "out": Receiver(lambda x: (x - 1) * 2)}

    def frame(self, number: int) -> None:
        """Send every parameter."""
        parts = []
        for head, (_, index) in zip(self.heads, self.names, strict=True):
            message = head + struct.pack(">f", index * STEP + number)
            parts.append(len(message).to_bytes(4, "big") + message)
        for first in range(0, len(parts), TOGETHER):
            self.socket.send(BUNDLE + b"".join(parts[first : first + TOGETHER]))

    def wrong(self, frames: int) -> list[str]:
        """Return what does not hold its last value."""
        wanted = {f"{kind}/{index}": index * STEP + frames - 1 for kind, index in self.names}
        return [
            f"{which}/{name}"
            for which, receiver in self.receivers.items()
            for name, value in wanted.items()
            if receiver.values.get(name) != value
        ]

    def run(self, seconds: float, rate: float) -> dict[str, object]:
        """Turn everything for *seconds*; return how it arrived."""
        frames = int(seconds * rate)
        sent: list[float] = []
        for receiver in self.receivers.values():
            receiver.begin()
        poller = select.poll()
        for receiver in self.receivers.values():
            poller.register(receiver.socket, select.POLLIN)
        began = time.perf_counter()
        looked = 0.0
        wrong: list[str] = []
        while True:
            now = time.perf_counter()
            if len(sent) < frames and now >= began + len(sent) / rate:
                sent.append(now)
                self.frame(len(sent) - 1)
            left = began + len(sent) / rate - now if len(sent) < frames else 0.05
            poller.poll(max(0, int(left * 1000)))
            for receiver in self.receivers.values():
                receiver.take(sent)
            if len(sent) == frames and now - looked > 0.05:
                looked = now
                if not (wrong := self.wrong(frames)) or now - sent[-1] > PATIENCE:
                    break
        found: dict[str, object] = {
            which: {kind: spread(delays) for kind, delays in receiver.delays.items()}
            for which, receiver in self.receivers.items()
        }
        return found | {"wrong": wrong, "frames": frames, "took": sent[-1] - began, "drained": now - sent[-1]}


def main(port: int, states: int, signals: int) -> None:
    desk = Desk(port, states, signals)
    print("ready", *(receiver.socket.getsockname()[1] for receiver in desk.receivers.values()), flush=True)
    for line in sys.stdin:
        _, seconds, rate = line.split()
        print(json.dumps(desk.run(float(seconds), float(rate))), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
