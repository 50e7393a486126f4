"""Numbers that plugins keep of their work, shown with those of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

Read = Callable[[], Mapping[str, float]]
"""Returns numbers by name, such as `{"sent": 3}`: counts since the start, or sizes now. It must not wait."""
MOST = 1_000

_sources: dict[tuple[str, str], Read] = {}


def show(kind: str, name: str, read: Read) -> Callable[[], None]:
    """Show the numbers of one thing of a *kind* (`mcp`) by its *name*; return what shows them no more.

    Another one of the same kind and name takes its place; of more than `MOST` none are shown.
    """
    key = (kind, name)
    if key in _sources or len(_sources) < MOST:
        _sources[key] = read

    def hide() -> None:
        if _sources.get(key) is read:
            del _sources[key]

    return hide


def shown() -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yield kind, name and numbers."""
    for (kind, name), read in tuple(_sources.items()):
        yield kind, name, read()
