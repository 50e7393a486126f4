"""The parts of something large, as far as its words name them."""

from __future__ import annotations

import re

from lightfast.engine.desk.extract import title_of
from lightfast.engine.desk.judge import clauses

MOST_PARTS = 20
_WITH = re.compile(r"^(.*?)[,:]?\s+(?:with|including|consisting of|made of)\s+(.+)$", re.IGNORECASE | re.DOTALL)
_ITEM = re.compile(r"\s*(?:,|;|\band\b|&)\s*", re.IGNORECASE)
_ORDER = re.compile(
    r"^(?:please\s+)?(?:split|divide|break(?: down)?|take)\s+(?:this|it|the)?\s*(?:down|apart)?\s*"
    r"(?:into \w+(?: \w+)?)?\s*:?\s*",
    re.IGNORECASE,
)


def parts_of(text: str) -> list[str]:
    """Return the titles of the parts, in order; none where the words do not name at least two.

    They are the steps of a sequence (`record it, then mix it`), or the things of a list (`a show with light and
    sound`), each with what it belongs to.
    """
    plain = _ORDER.sub("", text.strip(), count=1)
    if match := _WITH.match(plain):
        whole = title_of(match[1])
        things = [each for each in _ITEM.split(match[2].strip(" .!")) if each]
        if len(things) >= 2:
            return [f"{whole}: {thing}" for thing in things[:MOST_PARTS]]
    steps = clauses(plain)
    if len(steps) >= 2:
        return [title_of(step) for step in steps[:MOST_PARTS]]
    return []
