"""What may come next: from what was said after the same things before, by whom, and how the last one ended.

A command counts by its signature: its letters and what it speaks of, without the details. With `h` the last one or two
signatures of a client (one that failed counts as another), `c` the counts, and `T(h)` how many different signatures
followed `h`, the probability is that of Witten and Bell, interpolated down to equal chances over the `V` known ones:

    P(w | h) = (c(h w) + T(h) P(w | shorter h)) / (c(h) + T(h))     P(w | nothing) = (c(w) + 1) / (c + V)

(I. Witten, T. Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4), 1991.) The score is

    0.8 P + 0.2 R + 0.15 (a word of it is what goes on now)

where `R` is the share of the client's own latest commands that it was, each weighing 0.9 of the one after it. What was
said just now is suggested again only where it did follow on itself before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import nsmallest
from itertools import islice

from lightfast.engine.desk.coded import (
    Command,
    ContextLoad,
    MemoryStore,
    TaskCreate,
    TaskSplit,
    WorkflowStart,
)
from lightfast.engine.desk.judge import words_of
from lightfast.engine.desk.records import Suggestion

ORDER = 2
MOST_SIGNATURES = 5_000
MOST_CLIENTS = 1_000
MOST_HISTORIES = 20_000
RECENT = 20
DECAY = 0.9
_FAILED = "!"


def signature(command: Command) -> str:
    """Return what a command is without its details."""
    match command:
        case TaskCreate():
            return f"tc:{command.title.lower()}"
        case TaskSplit():
            return f"ts:{command.reason.lower() or command.task}"
        case WorkflowStart():
            return f"wf:{command.workflow}"
        case ContextLoad():
            return f"cl:{command.context}"
        case MemoryStore():
            return f"ms:{command.key}"


class Suggester:
    """Learns from every command as it is said; in memory, and bounded: what was not used longest goes."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._counts: dict[tuple[str, ...], dict[str, int]] = {}
        self._clients: dict[str, deque[str]] = {}
        self._total = 0
        self.learnt = 0

    def clear(self) -> None:
        """Forget all that was learnt."""
        self._lines.clear()
        self._counts.clear()
        self._clients.clear()
        self._total = 0

    def learn(self, client: str, said: str, line: str) -> None:
        """Take in that *client* said the command of signature *said*, in full *line*."""
        past = self._clients.pop(client, None)
        if past is None:
            past = deque(maxlen=RECENT)
        self._clients[client] = past
        if len(self._clients) > MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]
        for length in range(ORDER + 1):
            if length > len(past):
                break
            self._count(_tail(past, length), said)
        self._total += 1
        past.append(said)
        self._lines.pop(said, None)
        self._lines[said] = line
        if len(self._lines) > MOST_SIGNATURES:
            gone = next(iter(self._lines))
            del self._lines[gone]
            self._total -= self._counts.get((), {}).pop(gone, 0)
        self.learnt += 1

    def failed(self, client: str, said: str) -> None:
        """Take in that the last command of *client* of this signature failed."""
        past = self._clients.get(client)
        if past is None:
            return
        for at in range(len(past) - 1, -1, -1):
            if past[at] == said:
                past[at] = said + _FAILED
                return

    def suggest(
        self, client: str, limit: int, going_on: Iterable[str] = (), usable: Callable[[str], bool] = bool
    ) -> list[Suggestion]:
        """Return what may come next, the likeliest first; *usable* says whether a line can be said now."""
        past = self._clients.get(client) or deque()
        last = past[-1].removesuffix(_FAILED) if past else ""
        recent = self._recent(past)
        weight = sum(recent.values()) or 1.0
        present = set().union(*(words_of(each) for each in going_on)) if going_on else set()
        scored: list[tuple[float, str, str]] = []
        after = self._counts.get(_tail(past, 1), {}) if past else {}
        for said in self._candidates(past):
            if said == last and not after.get(said):
                continue
            chance = self._chance(said, past)
            score = 0.8 * chance + 0.2 * recent.get(said, 0.0) / weight
            reason = _reason(after.get(said, 0), last, recent.get(said, 0.0))
            if present and words_of(said.partition(":")[2]) & present:
                score += 0.15
                reason = "it belongs to what goes on now"
            scored.append((score, said, reason))
        scored.sort(key=lambda each: (-each[0], each[1]))
        usable_ones = (each for each in scored if usable(self._lines[each[1]]))
        return [
            Suggestion(self._lines[said], round(min(1.0, score), 4), reason)
            for score, said, reason in islice(usable_ones, limit)
        ]

    def _candidates(self, past: deque[str]) -> Iterable[str]:
        """Return all that followed the same before, and the most frequent ones."""
        found: dict[str, None] = {}
        for length in range(ORDER, 0, -1):
            if length <= len(past):
                found.update(dict.fromkeys(self._counts.get(_tail(past, length), {})))
        most = nsmallest(RECENT, self._counts.get((), {}).items(), key=lambda each: (-each[1], each[0]))
        found.update(dict.fromkeys(said for said, _ in most))
        found.update(dict.fromkeys(said.removesuffix(_FAILED) for said in past))
        return [said for said in found if said in self._lines]

    def _chance(self, said: str, past: deque[str]) -> float:
        everything = self._counts.get((), {})
        chance = (everything.get(said, 0) + 1) / (self._total + len(self._lines))
        for length in range(1, ORDER + 1):
            if length > len(past):
                break
            counts = self._counts.get(_tail(past, length))
            if counts:
                kinds = len(counts)
                chance = (counts.get(said, 0) + kinds * chance) / (sum(counts.values()) + kinds)
        return chance

    def _recent(self, past: deque[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        weight = 1.0
        for said in reversed(past):
            name = said.removesuffix(_FAILED)
            found[name] = found.get(name, 0.0) + weight
            weight *= DECAY
        return found

    def _count(self, history: tuple[str, ...], said: str) -> None:
        counts = self._counts.pop(history, None)
        if counts is None:
            counts = {}
        self._counts[history] = counts
        counts[said] = counts.get(said, 0) + 1
        if len(self._counts) > MOST_HISTORIES:
            for oldest in self._counts:
                if oldest:  # what counts all of them stays
                    del self._counts[oldest]
                    break


def _tail(past: deque[str], length: int) -> tuple[str, ...]:
    return tuple(islice(past, len(past) - length, None))


def _reason(followed: int, last: str, recent: float) -> str:
    if followed:
        times = "once" if followed == 1 else f"{followed} times"
        return f"it came after {last} {times}"
    return "you said it lately" if recent else "it is said often"
