"""The caches of the desk: each has a size, a lifetime and counts its hits; what shows the context has a stamp, too.

| cache     | holds                              | most | lifetime                                        |
|-----------|------------------------------------|------|-------------------------------------------------|
| commands  | recent commands of one client      | 100  | until others take their place                   |
| status    | the present status, as lines       | 200  | 30 s, or until an event changes it              |
| responses | what the same words mean           | 256  | until the workflows change                      |
| summaries | what `cl` has loaded               | 64   | 5 min, and only for the revision it was made at |
| relations | how a task stands to others        | 256  | until an event tells of the task                |

A stamp is what the source of a value looks like at the moment it is read: the revision of the context, the number of
the newest event. A value is given out only where the stamp it was kept under still is the one of now, so whoever has
had a write acknowledged never reads what was there before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightfast.core.kept import Kept, figures

__all__ = ["Kept", "Recent"]

COMMANDS = 100
CLIENTS = 256
STATUS_S = 30.0
SUMMARY_S = 300.0
SUMMARIES = 64
RESPONSES = 256
RELATIONS = 256


class Recent:
    """The latest commands of each client, without doubles, the newest first; clients that are quiet longest go."""

    def __init__(self, most: int = COMMANDS, clients: int = CLIENTS) -> None:
        self.most, self.clients = most, clients
        self.hits = self.misses = 0
        self._said: dict[str, dict[str, None]] = {}

    def add(self, client: str, line: str) -> None:
        """Take in a command; one that was said before moves to the front."""
        said = self._said.pop(client, None)
        if said is None:
            said = {}
            if len(self._said) >= self.clients:
                del self._said[next(iter(self._said))]
        self._said[client] = said
        if line in said:
            self.hits += 1
            del said[line]
        else:
            self.misses += 1
        said[line] = None
        if len(said) > self.most:
            del said[next(iter(said))]

    def newest(self, client: str) -> Iterator[str]:
        """Yield the commands of a client, the newest first."""
        return reversed(self._said.get(client, {}))

    def knows(self, client: str) -> bool:
        """Say whether anything of the client is kept."""
        return client in self._said

    def figures(self) -> dict[str, Any]:
        """Return size and hits: how often a command was one of the recent ones."""
        return figures(sum(len(said) for said in self._said.values()), self.most, 0.0, self.hits, self.misses)

    def clear(self) -> None:
        """Forget all; what was counted stays."""
        self._said.clear()
