"""Which parameters a message speaks of: exact addresses by look-up, patterns once per address."""

from __future__ import annotations

from collections.abc import Sequence

from lightfast.sdk.oscmap import Layout, MapParameter, OscMap
from lightfast.sdk.oscmap.model import VALUE
from lightfast_link.path import Pattern, compile_pattern

MAX_REMEMBERED = 8192
"""How many addresses are remembered; the one after that clears them all."""

Found = tuple[tuple[tuple[MapParameter, Layout], ...], tuple[MapParameter, ...]]
"""What an address may carry, and which parameters are to be asked for again after it."""


def matches(patterns: Sequence[str], address: str) -> bool:
    """Say whether *address* is one of *patterns*; of none, every address is."""
    return not patterns or any(_match(_compiled(text), text, address) for text in patterns)


def _compiled(text: str) -> Pattern | None:
    return compile_pattern(text) if text.startswith("/") else None


def _match(pattern: Pattern | None, text: str, address: str) -> bool:
    return text == address if pattern is None else pattern.matches(address)


class Index:
    """The addresses of one map."""

    def __init__(self, found: OscMap) -> None:
        self._exact: dict[str, list[tuple[MapParameter, Layout]]] = {}
        self._wild: list[tuple[Pattern, MapParameter, Layout]] = []
        self._refresh: list[tuple[str, Pattern | None, MapParameter]] = []
        self._known: dict[str, Found] = {}
        self._plain: dict[str, str] = {}
        for parameter in found.parameters:
            for layout in parameter.feedback:
                pattern = _compiled(layout.address)
                if pattern is None or pattern.exact:
                    self._exact.setdefault(layout.address, []).append((parameter, layout))
                else:
                    self._wild.append((pattern, parameter, layout))
            self._refresh += [(text, _compiled(text), parameter) for text in parameter.refresh]

    def plain(self, address: str) -> str:
        """Return the path of the one parameter whose value *address* always is, and nothing else; else nothing.

        Of several such messages that come together only the last one counts.
        """
        path = self._plain.get(address)
        return self._look(address) if path is None else path

    def _look(self, address: str) -> str:
        carried, refreshed = self.find(address)
        whole = len(carried) == 1 and not refreshed and carried[0][1].json is None
        path = carried[0][0].path if whole and carried[0][1].arguments == (VALUE,) else ""
        if len(self._plain) >= MAX_REMEMBERED:
            self._plain.clear()
        self._plain[address] = path
        return path

    def find(self, address: str) -> Found:
        """Return what *address* speaks of."""
        known = self._known.get(address)
        if known is None:
            carried = [
                *self._exact.get(address, ()),
                *((parameter, layout) for pattern, parameter, layout in self._wild if pattern.matches(address)),
            ]
            asked = [parameter for text, pattern, parameter in self._refresh if _match(pattern, text, address)]
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            known = self._known[address] = (tuple(carried), tuple(asked))
        return known
