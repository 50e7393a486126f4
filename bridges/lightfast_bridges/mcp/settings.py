"""The settings of one MCP server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lightfast.sdk import BridgeError
from lightfast.sdk.settings import Table, capabilities_at

_NAMES = (
    "name", "command", "arguments", "environment", "folder", "url", "headers", "trust_hints", "read", "gather_ms",
    "gather", "patience", "timeout", "cache",
)  # fmt: skip
_LONGEST = 86_400.0
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server is joined. Times are seconds.

    Either *command* with *arguments*, a program that speaks MCP over its standard input and output, in *folder* and
    with *environment* besides the usual; or *url*, of Streamable HTTP, with *headers*. *trust_hints*: what the server
    itself says its tools do is believed; else all but those of *read* count as destructive. Calls are gathered for
    *gather_s*, or until there are *gather* of them. *patience* is how long a server may take to start or to answer a
    ping, *timeout* how long a tool may take.
    """

    name: str = ""
    command: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    trust_hints: bool = False
    read: frozenset[str] = frozenset()
    gather_s: float = 0.1
    gather: int = 10
    patience: float = 10.0
    timeout: float = 60.0
    cache: Mapping[str, float] = field(default_factory=dict)
    """For how many seconds answers to reads are kept, by tool; `*` for all others. Nothing is kept unasked."""

    @property
    def where(self) -> str:
        """Return what it is, for a person."""
        return self.url or self.command

    @property
    def remote(self) -> bool:
        """Say whether it runs on another machine."""
        return bool(self.url) and bool(capabilities_at(self.url))


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a table; raise `BridgeError` that names a wrong one."""
    table = Table("mcp", config, _NAMES)
    found = Settings(
        name=table.text("name"),
        command=table.text("command"),
        arguments=_texts(table, config, "arguments"),
        environment=_pairs(config, "environment"),
        folder=table.text("folder"),
        url=table.text("url"),
        headers=_pairs(config, "headers"),
        trust_hints=table.flag("trust_hints"),
        read=frozenset(_texts(table, config, "read")),
        gather_s=table.number("gather_ms", 100.0, 0.0, 1000.0) / 1000,
        gather=table.count("gather", 10, 1, 100),
        patience=table.seconds("patience", 10.0),
        timeout=table.seconds("timeout", 60.0),
        cache=_lifetimes(config),
    )
    if found.command and found.url:
        raise BridgeError("mcp: command and url are two servers: give each its own [[plugins.mcp.instances]]")
    if (found.command or found.url) and not _NAME.fullmatch(found.name):
        raise BridgeError('mcp.name is missing: name the server, for example name = "files"; it becomes its mount')
    if found.url:
        _check_url(found.url)
    return found


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        named = "@" in parts.netloc
    except ValueError:
        good = named = False
    if named:  # it would stand in every message about this address
        raise BridgeError("mcp.url holds a name or a password: leave it out, and set mcp.headers")
    if not good:
        raise BridgeError(f"mcp.url is {url!r:.200}: write it like http://127.0.0.1:8000/mcp")


def _texts(table: Table, config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = config.get(name, ())
    if isinstance(found, str) or not all(isinstance(each, str) for each in found):
        raise table.wrong(name, 'write a list of texts, such as ["--root", "shots"]')
    return tuple(found)


def _lifetimes(config: Mapping[str, Any]) -> Mapping[str, float]:
    found = config.get("cache", {})
    good = isinstance(found, Mapping) and all(
        isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each <= _LONGEST
        for each in found.values()
    )
    if not good:
        raise BridgeError(f"mcp.cache is no table of seconds: write cache = {{ search = 30 }}, at most {_LONGEST:g}")
    return {name: float(each) for name, each in found.items()}


def _pairs(config: Mapping[str, Any], name: str) -> Mapping[str, str]:
    found = config.get(name, {})
    if not isinstance(found, Mapping) or not all(isinstance(each, str) for each in found.values()):
        raise BridgeError(f'mcp.{name} is no table of texts: write {name} = {{ NAME = "value" }}')
    return dict(found)
