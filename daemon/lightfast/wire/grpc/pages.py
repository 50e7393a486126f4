"""Pages of lists that are held in memory: all pages of one reading show what the first one found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import OutOfRange
from lightfast.core.ids import new_id

T = TypeVar("T")

MAX_LISTS = 64
MAX_ITEMS = 500_000
"""Bounds of what is kept for later pages, in lists and in items of all of them; the oldest go first."""


class Page(NamedTuple):
    """Some *items* of a list, as of *revision*, and the token of the next page, which is empty on the last."""

    items: Sequence[Any]
    token: str
    revision: int


class Pages:
    """Keeps the lists that somebody still turns the pages of.

    Their history is not kept anywhere else, so a later page that looked at the present would show two
    times in one list.
    """

    def __init__(self) -> None:
        self._lists: OrderedDict[str, tuple[int, Sequence[Any]]] = OrderedDict()
        self._items = 0

    def first(
        self,
        items: Sequence[T],
        revision: int,
        asked: int,
        *,
        query: tuple[object, ...],
        default: int = 100,
        most: int = 1000,
    ) -> Page:
        """Return the first page of *items* as of *revision*, and keep the rest; later ones belong to *query*."""
        count = page_size(asked, default, most)
        if len(items) <= count:
            return Page(items, "", revision)
        name = new_id("list")
        self._lists[name] = (revision, items)
        self._items += len(items)
        while len(self._lists) > 1 and (len(self._lists) > MAX_LISTS or self._items > MAX_ITEMS):
            _, (_, gone) = self._lists.popitem(last=False)
            self._items -= len(gone)
        return self._page(name, 0, count, fingerprint(*query))

    def later(self, token: str, asked: int, *, query: tuple[object, ...], default: int = 100, most: int = 1000) -> Page:
        """Return a later page; a changed or foreign token is `InvalidArgument`, an old one `OutOfRange`."""
        count = page_size(asked, default, most)
        mark = fingerprint(*query)
        found = read_token(token, mark)
        name, start = found.after, found.number or 0
        if name not in self._lists or start < 0:
            raise OutOfRange(
                "page_token is too old: this list is no longer kept; ask for the first page again",
                reason="PAGE_TOKEN_EXPIRED",
                field="page_token",
            )
        self._lists.move_to_end(name)
        return self._page(name, start, count, mark)

    def _page(self, name: str, start: int, count: int, mark: int) -> Page:
        revision, items = self._lists[name]
        end = start + count
        token = write_token(Token(mark, revision, name, end)) if end < len(items) else ""
        return Page(items[start:end], token, revision)
