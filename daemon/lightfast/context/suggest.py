"""Finds what a mistyped path may have meant, within a bounded effort."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from lightfast.context.tree import Tree

_MOST_NAMES = 500
_MOST_PATTERNS = 200


def suggest(path: str, tree: Tree, patterns: Iterable[str]) -> str:
    """Return ` Did you mean …?` with an entry or a pattern close to *path*, or the empty text."""
    close = _nearest(path, tree) or next(
        iter(difflib.get_close_matches(path, list(islice(patterns, _MOST_PATTERNS)), n=1, cutoff=0.7)), ""
    )
    return f" Did you mean {close}?" if close else ""


def _nearest(path: str, tree: Tree) -> str:
    """Go down from the root, at each level to the name most like the one given; return the entry there, if any."""
    found = ""
    for name in path.split("/")[1:]:
        children = tree.names(found or "/", _MOST_NAMES)
        if name in children:
            found = f"{found}/{name}"
            continue
        close = difflib.get_close_matches(name, children, n=1, cutoff=0.6)
        if not close:
            return ""
        found = f"{found}/{close[0]}"
    return found if found in tree.entries else ""
