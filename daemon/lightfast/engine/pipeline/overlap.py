"""Whether two patterns can match the same path.

The answer errs on one side only: where it is not worth finding out (two segments that both have wildcards in their
middle), they overlap.
"""

from __future__ import annotations

import functools
import re

from lightfast_link.path import Pattern, compile_pattern, is_under

_DEEP = ""
"""What stands for `//` among the segments: any number of them."""
_WILD = re.compile(r"[?*\[\]{}]")
_WIDE = 24
"""Patterns with more segments than this are compared by their prefixes."""


def overlap(left: Pattern, right: Pattern) -> bool:
    """Say whether there may be a path that both match."""
    if left.exact:
        return right.matches(left.text)
    if right.exact:
        return left.matches(right.text)
    if not is_under(left.prefix, right.prefix) and not is_under(right.prefix, left.prefix):
        return False
    return _overlap(left.text, right.text)


@functools.lru_cache(maxsize=4096)
def _overlap(left: str, right: str) -> bool:
    if "{" in left + right and (re.search(r"\{[^}]*/", left) or re.search(r"\{[^}]*/", right)):
        return True
    one, two = _segments(left), _segments(right)
    if len(one) > _WIDE or len(two) > _WIDE:
        return True
    return _meet(one, two)


def _segments(text: str) -> tuple[str, ...]:
    """Return the segments of a pattern; `_DEEP` for each `//`."""
    if text == "/":
        return ()
    found = text[1:].split("/")  # an empty part is the second slash of `//`
    if found[0] == _DEEP and len(found) > 1 and found[1] == _DEEP:  # `//` alone splits into two empty parts
        found.pop(0)
    return tuple(found)


def _meet(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """Say whether there is a list of segments that both describe."""
    reach = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        left, right = todo.pop()
        if left == len(one) and right == len(two):
            return True
        following: list[tuple[int, int]] = []
        deep_left = left < len(one) and one[left] == _DEEP
        deep_right = right < len(two) and two[right] == _DEEP
        if deep_left:
            following.append((left + 1, right))
            if right < len(two) and not deep_right:
                following.append((left, right + 1))
        if deep_right:
            following.append((left, right + 1))
            if left < len(one) and not deep_left:
                following.append((left + 1, right))
        if not deep_left and not deep_right and left < len(one) and right < len(two) and _alike(one[left], two[right]):
            following.append((left + 1, right + 1))
        for each in following:
            if each not in reach:
                reach.add(each)
                todo.append(each)
    return False


def _alike(left: str, right: str) -> bool:
    """Say whether there may be a segment that both match."""
    one, two = _WILD.search(left), _WILD.search(right)
    if one is None and two is None:
        return left == right
    if one is None:
        return compile_pattern("/" + right).matches("/" + left)
    if two is None:
        return compile_pattern("/" + left).matches("/" + right)
    head, other = left[: one.start()], right[: two.start()]
    if not head.startswith(other) and not other.startswith(head):
        return False
    tail, end = re.split(r"[?*\]}]", left)[-1], re.split(r"[?*\]}]", right)[-1]
    return tail.endswith(end) or end.endswith(tail)
