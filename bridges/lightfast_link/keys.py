"""Commands that are done once: results are kept by the key of the command, and a repeated one is answered with them.

A key is kept as long as this process lives, over lost connections and restarted daemons. Of what was done the newest
`MAX_RESULTS` are kept, and of the bytes of their results `MAX_SIZE`; a failure is not kept, so it can be tried again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Dict, Optional, Tuple

KEYED = "keyed"
"""The capability that says all this in `hello`."""
MAX_KEY = 512
"""The longest key, in characters."""
MAX_RESULTS = 1_000
MAX_SIZE = 8 * 1024 * 1024

Header = Dict[str, Any]


class Keys:
    """Used under the lock of `LinkClient`. Numbers are the client's own, one for each command."""

    def __init__(self) -> None:
        self._kept: "OrderedDict[str, Tuple[Header, int]]" = OrderedDict()
        self._size = 0
        self._numbers: Dict[str, int] = {}
        self._keys: Dict[int, str] = {}

    def found(self, key: str) -> Optional[Header]:
        """Return the header of the result that *key* had, `None` where there is none."""
        held = self._kept.get(key)
        return None if held is None else held[0]

    def under_way(self, key: str) -> int:
        """Return the number of the command with *key* that is under way, 0 where none is."""
        return self._numbers.get(key, 0)

    def begin(self, number: int, key: str) -> None:
        """Note that a command begins."""
        self._numbers[key] = number
        self._keys[number] = key

    def end(self, number: int, result: Optional[Header]) -> None:
        """Note that a command is over; its *result* is kept, and nothing of a failure (`None`)."""
        key = self._keys.pop(number, "")
        if not key:
            return
        del self._numbers[key]
        if result is None:
            return
        size = len(key) + len(json.dumps(result))
        self._kept[key] = (result, size)
        self._size += size
        while len(self._kept) > MAX_RESULTS or (self._size > MAX_SIZE and len(self._kept) > 1):
            _, (_, gone) = self._kept.popitem(last=False)
            self._size -= gone
