"""The view for a model: lines of text, the most relevant first, that fill its window and never go over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lightfast.context.entry import Declaration, Entry, Status, Transaction
from lightfast.context.views.records import Item, Omission, Remembered
from lightfast.context.views.relevance import Purpose
from lightfast.context.views.text import written
from lightfast.core.tokens import TokenCounter

OVER = "over the budget"
_OF_CHANGE = 0.8
"""A change says less than the value that it left."""
_NEXT_TRIES = 200
"""So many lines in a row may be too long before what is left over stays empty."""


def of_entries(
    entries: Sequence[Entry], declared: Callable[[str], Declaration | None], purpose: Purpose
) -> list[tuple[Item, str]]:
    """Return an item and a line for each entry: its value, unit and description, and what its application says."""
    found: list[tuple[Item, str]] = []
    candidates: list[tuple[str, int]] = []
    for entry in entries:
        if entry.value is None:
            continue
        about = declared(entry.path)
        unit = about.unit if about is not None else ""
        text, changes = written(entry.value)
        line = f"{entry.path} = {text}{' ' + unit if unit else ''}{_state(entry)}"
        description = about.description if about is not None else ""
        if description:
            line += f"  # {description}"
        item = Item(entry.path, entry.path, entry.value, unit, changes=changes)
        found.append((item, line))
        candidates.append((f"{entry.path.replace('/', ' ')} {description} {text}", entry.event_time))
    for (item, _), score in zip(found, purpose.scores(candidates), strict=True):
        item.relevance = min(score, 1.0)
    return found


def _state(entry: Entry) -> str:
    """Return what differs from the value: a wish is not yet, or not, what the application holds."""
    if entry.status in {Status.NONE, Status.SETTLED}:
        return ""
    word = entry.status.value.lower()
    if entry.reported is None or entry.reported == entry.value:
        return f" ({word})"
    return f" ({word}, the application holds {written(entry.reported)[0]})"


def of_memories(memories: Sequence[Remembered], purpose: Purpose) -> list[tuple[Item, str]]:
    """Return an item and a line for each memory."""
    scores = purpose.scores([(memory.text, memory.since) for memory in memories])
    found = []
    for memory, score in zip(memories, scores, strict=True):
        sure = "" if memory.confidence >= 1.0 else f" (confidence {memory.confidence:.2g})"
        about = f" about {memory.about}" if memory.about else ""
        item = Item(memory.source, memory.source, memory.text, relevance=min(max(score, memory.score), 1.0))
        found.append((item, f"memory{about}: {memory.text}{sure}"))
    return found


def of_changes(transactions: Iterable[Transaction], now: int, purpose: Purpose) -> list[tuple[Item, str]]:
    """Return an item and a line for each of the last changes."""
    found: list[tuple[Item, str]] = []
    candidates: list[tuple[str, int]] = []
    for transaction in transactions:
        paths = [event.entry.path for event in transaction.events]
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        ago = max(now - transaction.record_time, 0) // 1_000_000_000
        label = f" ({transaction.label})" if transaction.label else ""
        line = f"change {transaction.revision}, {ago} s ago, by {transaction.origin}{label}: {shown}"
        found.append((Item(f"revision:{transaction.revision}", shown, transaction.revision), line))
        candidates.append((f"{shown.replace('/', ' ')} {transaction.label}", transaction.record_time))
    for (item, _), score in zip(found, purpose.scores(candidates), strict=True):
        item.relevance = min(score, 1.0) * _OF_CHANGE
    return found


def pack(
    lines: Sequence[tuple[Item, str]], budget: int, counter: TokenCounter
) -> tuple[list[Item], str, int, list[Omission]]:
    """Return the most relevant lines whose text takes at most *budget* tokens, that text, its tokens, and the rest.

    A line that is too long leaves its place to shorter ones of less relevance. The whole text is counted at the end,
    for tokens may span lines: as long as it is over, the least relevant line goes.
    """
    ordered = sorted(lines, key=lambda line: (-line[0].relevance, line[0].source))
    chosen: list[tuple[Item, str]] = []
    omissions: list[Omission] = []
    left = budget
    failed = 0
    for item, line in ordered:
        item.tokens = counter.count(line + "\n") if failed < _NEXT_TRIES else budget + 1
        if item.tokens <= left:
            chosen.append((item, line))
            left -= item.tokens
            failed = 0
        else:
            failed += 1
            omissions.append(Omission(item.source, OVER))
    while True:
        text = "".join(line + "\n" for _, line in chosen)
        tokens = counter.count(text)
        if tokens <= budget or not chosen:
            return [item for item, _ in chosen], text, tokens, omissions
        item, _ = chosen.pop()
        omissions.insert(0, Omission(item.source, OVER))
