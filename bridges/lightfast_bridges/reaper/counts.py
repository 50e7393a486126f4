"""How many tracks, sends, FX, parameters and markers REAPER is asked to tell of: what is there, and one place more.

Each place costs messages whether something is in it or not: for 200 tracks, eight FX and sixteen parameters that would
be 75,000 at the start, half a minute's worth. So places are doubled only while the last one is in use, and parameters
share a budget.
"""

from __future__ import annotations

from lightfast_bridges.reaper.leaves import BY_NAME
from lightfast_bridges.reaper.mirror import Mirror
from lightfast_bridges.reaper.pacing import Send
from lightfast_bridges.reaper.settings import Settings

MARKS = 8
"""Markers and regions that are asked for at first, and parameters of each FX."""
_ADDRESSES = {
    "sends": "/device/send/count",
    "fx": "/device/fx/count",
    "parameters": "/device/fxparam/count",
    "marker": "/device/marker/count",
    "region": "/device/region/count",
}
TRACKS = "/device/track/count"


class Counts:
    """The counts of one session."""

    def __init__(self, settings: Settings, mirror: Mirror, send: Send) -> None:
        self._settings, self._mirror, self._send = settings, mirror, send
        self._limits = {
            "sends": settings.sends,
            "fx": settings.fx,
            "parameters": settings.parameters,
            "marker": settings.marks,
            "region": settings.marks,
        }
        for kind in ("parameters", "marker", "region"):
            mirror.bounds[kind] = min(MARKS, self._limits[kind])
        self._sent: dict[str, int] = {}
        self._bank = 0
        self._parameters = 0

    def ask(self, count: int, *, parameters: bool = True) -> bool:
        """Have REAPER tell of *count* tracks and one more; False where it does already."""
        bank, bounds = count + 1, self._mirror.bounds
        fits = self._settings.parameter_slots // (bank * bounds["fx"])
        self._parameters = min(bounds["parameters"], fits) if parameters else 0
        self._mirror.widen(self._parameters)
        wanted = {**bounds, "parameters": self._parameters}
        if wanted == self._sent and bank == self._bank:
            return False
        for kind, number in wanted.items():
            if self._sent.get(kind) != number:
                self._send(_ADDRESSES[kind], number)
        self._sent, self._bank = wanted, bank
        self._send(TRACKS, bank)
        return True

    def grow(self) -> bool:
        """Make room where the last place is in use; False where there is room everywhere, or no more is wanted."""
        grown = False
        for kind in self._mirror.full_kinds():
            bound, limit = self._mirror.bounds[kind], self._limits[kind]
            if bound < limit and (kind != "parameters" or self._parameters == bound):  # else the budget is used up
                self._mirror.bounds[kind] = min(limit, bound * 2)
                grown = True
        return grown

    def refresh(self, scopes: set[str]) -> None:
        """Have REAPER tell what it has forgotten to have told, in these scopes."""
        for which in sorted(scopes & {"marker", "region"}):
            self._send(_ADDRESSES[which], self._mirror.bounds[which])
        if scopes - {"marker", "region", "transport"}:
            self._send(TRACKS, self._bank)

    def ask_missing(self, count: int) -> bool:
        """Ask for all of the tracks whose name was not told; False where there are none."""
        missing = [index for index in range(1, count + 1) if "name" not in self._mirror.slots.get(index, {})]
        for index in missing:
            for leaf in BY_NAME["track"].values():
                self._send(leaf.heard.replace("@", str(index)))
        if missing:
            self.refresh({"track"})
        return bool(missing)

    def report(self) -> None:
        """Report how much is followed; parameters beyond are forgotten."""
        self._mirror.trim(self._parameters)
        for kind in ("sends", "fx"):
            self._mirror.news(f"surface/{kind}", self._mirror.bounds[kind])
        self._mirror.news("surface/parameters", self._parameters)
