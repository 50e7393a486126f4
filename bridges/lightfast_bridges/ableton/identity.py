"""Which object is which when indices have changed.

AbletonOSC names everything by its index, so a track inserted above makes every other one another. What an object
looks like (its name, its color, its devices) tells it again:

1. What looks the same stays in the order it had: the longest common subsequence of the looks, the common beginning
   and the common end first.
2. What looks the same and was left over has been moved, the lowest index first.
3. What has the same name, of those left over and only where both sides have just one of it, has been changed.
4. Where as many are left over between two objects that are known, they are the same in this order: renamed.

All else is new, or gone. Objects that look alike cannot be told apart: they keep their order, and one that was
inserted among them, or deleted from them, is taken to be the last of them. The same two lists always give the
same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

Look = tuple[Hashable, ...]
"""What an object looks like, its name first."""
TEMPORARY = "moving"
"""Where an object waits while others take their places in a ring."""


def pair(old: Sequence[Look], new: Sequence[Look]) -> list[int | None]:
    """Return for each of *new* which of *old* it was; `None` for one that is new."""
    found: list[int | None] = [None] * len(new)
    for before, after in _common(old, new):
        found[after] = before
    _leftovers(old, new, found)
    _names(old, new, found)
    _gaps(len(old), found)
    return found


def _common(old: Sequence[Look], new: Sequence[Look]) -> list[tuple[int, int]]:
    """Return the pairs of the longest common subsequence."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    pairs = [(index, index) for index in range(first)]
    a, b = old[first : len(old) - last], new[first : len(new) - last]
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if a[i] == b[j] else max(lengths[i + 1][j], lengths[i][j + 1])
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((first + i, first + j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs + [(len(old) - step, len(new) - step) for step in range(last, 0, -1)]


def _free(count: int, found: Sequence[int | None]) -> list[int]:
    taken = set(found)
    return [index for index in range(count) if index not in taken]


def _leftovers(old: Sequence[Look], new: Sequence[Look], found: list[int | None]) -> None:
    """Pair what looks the same and is elsewhere."""
    waiting: dict[Look, list[int]] = {}
    for index in _free(len(old), found):
        waiting.setdefault(old[index], []).append(index)
    for index, known in enumerate(found):
        if known is None and waiting.get(new[index]):
            found[index] = waiting[new[index]].pop(0)


def _names(old: Sequence[Look], new: Sequence[Look], found: list[int | None]) -> None:
    """Pair what has the same name, where there is only one of it on both sides."""
    before = _free(len(old), found)
    after = [index for index, known in enumerate(found) if known is None]
    olds, news = Counter(old[index][0] for index in before), Counter(new[index][0] for index in after)
    by_name = {old[index][0]: index for index in before}
    for index in after:
        name = new[index][0]
        if news[name] == 1 and olds[name] == 1:
            found[index] = by_name[name]


def _gaps(count: int, found: list[int | None]) -> None:
    """Pair what lies between the same two neighbours, where as many are left over before and after."""
    free = set(_free(count, found))
    start = 0
    while start < len(found):
        if found[start] is not None:
            start += 1
            continue
        end = start
        while end < len(found) and found[end] is None:
            end += 1
        low = found[start - 1] if start else -1
        high = found[end] if end < len(found) else count
        if low is not None and high is not None and high - low - 1 == end - start:
            between = range(low + 1, high)
            if free.issuperset(between):
                found[start:end] = list(between)
        start = end


def removed(count: int, paired: Sequence[int | None]) -> list[int]:
    """Return which of *count* old objects are gone, the highest first."""
    return _free(count, paired)[::-1]


def moves(paired: Sequence[int | None]) -> list[tuple[int | str, int | str]]:
    """Return from where to where objects move, in an order in which each target is free.

    What is gone is taken to be gone already. Rings go by way of `TEMPORARY`.
    """
    waiting: dict[int | str, int] = {old: new for new, old in enumerate(paired) if old is not None and old != new}
    steps: list[tuple[int | str, int | str]] = []
    while waiting:
        ready = [source for source, place in waiting.items() if place not in waiting]
        if not ready:
            source = next(iter(waiting))
            steps.append((source, TEMPORARY))
            waiting[TEMPORARY] = waiting.pop(source)
            continue
        steps += [(source, waiting.pop(source)) for source in ready]
    return steps
