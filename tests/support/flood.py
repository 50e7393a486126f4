"""An application that changes many values at once, again and again; a program of its own: HOME CHANGES WAVES."""

from __future__ import annotations

import sys
import time

from lightfast_link import discover
from lightfast_link.client import LinkClient

LIFE_S = 600.0


def flood(home: str, changes: int, waves: int) -> None:
    """Join as an application and change every value *waves* times in one go."""
    hello = {"app": "flood", "instance_id": "f", "parameters": [{"pattern": "v/*", "kind": "int"}]}
    client = LinkClient(discover.transport(home), hello).start()
    told = False
    deadline = time.monotonic() + LIFE_S  # it is killed before; what waits to be sent ends with it
    while time.monotonic() < deadline:
        client.wait(0.1)
        for event in client.poll():
            if event[0] in ("welcome", "resync"):
                client.report([{"path": "v/ready", "value": 1}])
                client.synced()
            elif event[0] == "apply":
                for wish in event[1]:
                    client.settled(wish.id, wish.value)
                if not told:
                    told = True
                    for wave in range(1, waves + 1):
                        for first in range(0, changes, 500):
                            client.report([{"path": f"v/{n}", "value": wave} for n in range(first, first + 500)])


if __name__ == "__main__":
    flood(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
