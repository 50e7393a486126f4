"""Checks of the tables `[providers.NAME]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from lightfast.core.config import Problem, texts

_SINGULAR = ("key", "api_key", "apikey")


class Table(Protocol):
    """The part of a table that is looked at here."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Its further keys."""
        ...


def base_urls(value: Any) -> tuple[str, ...]:
    """Check a list of addresses of a service; `ValueError` does not repeat what may hold a password."""
    given = tuple(texts([value] if isinstance(value, str) else value))
    for one in given:
        parts = _split(one)
        if parts is None:
            raise ValueError('addresses such as "http://127.0.0.1:8080/v1"')
        if parts.username or parts.password:
            raise ValueError("an address without a user and a password: keys belong into `keys`")
    return given


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if good else None


def provider_mistakes(tables: Mapping[str, Table]) -> list[Problem]:
    """Return what is wrong with tables that are right key by key."""
    return [
        Problem(f"providers.{name}.{key}", f'keys are a list: write keys = ["env:NAME"] below [providers.{name}]')
        for name, table in tables.items()
        for key in _SINGULAR
        if key in table.options
    ]
