"""What is known of a kind of application before any of it joins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from lightfast.engine.apps.diagnosis import of_bridge
from lightfast.sdk import Bridge, Command, Dialect, Finding, Parameter, Term, Timeline
from lightfast_link.path import encode_segment

PATIENCE_S = 10.0
"""The most seconds an application waits for its kind to become known."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a bridge knows of its kind, and the tables of its instances."""

    parameters: tuple[Parameter, ...] = ()
    commands: tuple[Command, ...] = ()
    timeline: Timeline | None = None
    bridge: Bridge | None = None
    tables: tuple[Mapping[str, Any], ...] = ({},)

    @classmethod
    def of(cls, bridge: Bridge, tables: Collection[Mapping[str, Any]]) -> Self:
        """Return the kind of *bridge*, which serves an instance for each of *tables*."""
        return cls(tuple(bridge.parameters()), tuple(bridge.commands()), bridge.timeline, bridge, tuple(tables))

    @property
    def dialect(self) -> Dialect | None:
        """Return how it says what others say, too; what its timeline says of that included."""
        known = self.bridge.dialect if self.bridge is not None else None
        if self.timeline is None:
            return known
        said = {term.concept for term in known.terms} if known is not None else set()
        more = tuple(term for term in _timed(self.timeline) if term.concept not in said)
        return replace(known, terms=known.terms + more) if known is not None else Dialect(more)

    async def diagnose(self, mounts: Collection[str], deadline: float) -> list[Finding]:
        """Return what the bridge finds on the way to the instances at *mounts*, or to all where it knows none of them.

        All are looked at together, each within *deadline* seconds.
        """
        if self.bridge is None:
            return []
        kind = self.bridge.kind
        named = [table for table in self.tables if "/" + encode_segment(str(table.get("name") or kind)) in mounts]
        looks = await asyncio.gather(*[of_bridge(self.bridge, table, deadline) for table in named or self.tables])
        return [finding for findings in looks for finding in findings]


def _timed(timeline: Timeline) -> Iterator[Term]:
    """Yield the concepts that *timeline* tells."""
    rate = "sample_rate" if timeline.unit == "samples" else "frame_rate"
    for concept, path, unit in (
        ("playing", timeline.playing, ""),
        ("position", timeline.position, timeline.unit),
        ("tempo", timeline.tempo, "time.bpm"),
        (rate, timeline.rate, "time.freq"),
    ):
        if path:
            yield Term(concept, (path,), unit)


NOTHING = Kind()
"""What is known of a kind that no bridge is loaded for."""


class Kinds:
    """The kinds that bridges know of, and who waits for one of them while plugins are still loading.

    The doors are open before all plugins are loaded: *settled* returns when they are, and is set by the composition.
    """

    def __init__(self) -> None:
        self.settled: Callable[[], Awaitable[None]] | None = None
        self._known: dict[str, Kind] = {}
        self._news = asyncio.Event()

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __getitem__(self, kind: str) -> Kind:
        """Return what is known of *kind*: nothing, where no bridge for it is loaded."""
        return self._known.get(kind, NOTHING)

    def get(self, kind: str) -> Kind | None:
        """Return what is known of *kind*, or None where no bridge for it is loaded."""
        return self._known.get(kind)

    def add(self, kind: str, known: Kind) -> None:
        """Make *kind* known, and let those go on who wait for it."""
        self._known[kind] = known
        news, self._news = self._news, asyncio.Event()
        news.set()

    def remove(self, kind: str) -> None:
        """Forget *kind*."""
        self._known.pop(kind, None)

    async def arrive(self, kind: str, seconds: float = PATIENCE_S) -> Kind:
        """Return what is known of *kind*; one that is not known is waited for until all plugins are loaded.

        The wait ends after *seconds* in any case.
        """
        if kind not in self._known and self.settled is not None:
            waits = {asyncio.ensure_future(self._added(kind)), asyncio.ensure_future(self.settled())}
            try:
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return self[kind]

    async def _added(self, kind: str) -> None:
        while kind not in self._known:
            await self._news.wait()
