"""Simulated applications on the link protocol, in one process: `HOME tcp|zmq FIRST COUNT HZ`.

Prints `ready` when everything is imported; `join` lets them join, `play` begins to change their values, `rest` ends it,
`count` says how many changes were made.
"""

from __future__ import annotations

import select
import sys
import threading
import time

import zmq

from lightfast_link import discover
from lightfast_link.client import LinkClient

PARAMETERS = [
    {"pattern": "level", "kind": "double", "signal": True},
    {"pattern": "fader", "kind": "double"},
    {"pattern": "wish", "kind": "double"},
]


class Crowd:
    """The applications of this process."""

    def __init__(self, home: str, kind: str, first: int, count: int) -> None:
        self.wake = threading.Event()
        plane = zmq if kind == "zmq" else None
        self.clients = [
            LinkClient(
                discover.transport(home, plane),
                {"app": "crowd", "name": f"crowd{n}", "instance_id": f"crowd-{n}", "parameters": PARAMETERS},
                wake=self.wake.set,
            )
            for n in range(first, first + count)
        ]
        self.made = 0

    def join(self) -> None:
        for client in self.clients:
            client.start()

    def serve(self, seconds: float) -> None:
        """Answer what came, and wait at most *seconds* for more."""
        self.wake.wait(seconds)
        self.wake.clear()
        for client in self.clients:
            for event in client.poll():
                if event[0] in ("welcome", "resync"):
                    client.report([{"path": name, "value": 0.0} for name in ("level", "fader", "wish")])
                    client.synced()
                elif event[0] == "apply":
                    for wish in event[1]:
                        client.settled(wish.id, wish.value)

    def change(self) -> None:
        """Change two values of each."""
        self.made += 1
        value = float(self.made)
        for client in self.clients:
            client.report([{"path": "level", "value": value}, {"path": "fader", "value": value}])


def main(home: str, kind: str, first: int, count: int, rate: float) -> None:
    crowd = Crowd(home, kind, first, count)
    print("ready", flush=True)
    due = float("inf")
    while True:
        while select.select([sys.stdin], [], [], 0)[0]:
            words = sys.stdin.readline().split()
            if not words:
                return
            if words[0] == "join":
                crowd.join()
            elif words[0] == "play":
                due = time.perf_counter()
            elif words[0] == "rest":
                due = float("inf")
            print(crowd.made, flush=True)
        now = time.perf_counter()
        if now >= due:
            due = max(due + 1 / rate, now - 1.0)
            crowd.change()
        crowd.serve(min(max(due - time.perf_counter(), 0.0), 0.02))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
