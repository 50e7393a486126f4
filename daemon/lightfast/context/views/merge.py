"""The merger: of statements that contradict each other, the latest holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lightfast.context.entry import Entry
from lightfast.context.views.records import Omission, Remembered
from lightfast.context.views.terms import Fact


def merged(facts: Iterable[Fact]) -> tuple[list[Fact], list[Omission]]:
    """Return one fact for each object and concept, the one that happened last, and what gave way to it.

    Two facts that happened at the same time are told apart by their mounts, so that the answer is always the same.
    """
    latest: dict[tuple[str, str], Fact] = {}
    given_way: list[tuple[Fact, Fact]] = []
    for fact in facts:
        key = (fact.concept, fact.key)
        other = latest.get(key)
        if other is None:
            latest[key] = fact
        elif (fact.event_time, other.mount) > (other.event_time, fact.mount):
            latest[key] = fact
            given_way.append((other, fact))
        else:
            given_way.append((fact, other))
    omissions = [
        Omission(
            old.paths[0], f"{_who(old)} says another {old.concept} than {_who(new)}, which is newer", _last(latest, old)
        )
        for old, new in given_way
    ]
    return list(latest.values()), omissions


def _last(latest: Mapping[tuple[str, str], Fact], old: Fact) -> str:
    return latest[old.concept, old.key].paths[0]


def _who(fact: Fact) -> str:
    return fact.mount.removeprefix("/")


def settled(memories: Iterable[Remembered], entries: Mapping[str, Entry]) -> tuple[list[Remembered], list[Omission]]:
    """Return the memories that hold: of those about the same thing the latest, and none an entry has overtaken."""
    latest: dict[str, Remembered] = {}
    kept: list[Remembered] = []
    omissions: list[Omission] = []
    for memory in memories:
        entry = entries.get(memory.about)
        if entry is not None and entry.event_time > memory.since:
            omissions.append(Omission(memory.source, f"{memory.about} was written since", memory.about))
        elif not memory.about:
            kept.append(memory)
        else:
            other = latest.setdefault(memory.about, memory)
            if other is not memory:
                new, old = (memory, other) if memory.since > other.since else (other, memory)
                latest[memory.about] = new
                omissions.append(Omission(old.source, f"a newer memory of {memory.about} holds", new.source))
    return kept + list(latest.values()), omissions
