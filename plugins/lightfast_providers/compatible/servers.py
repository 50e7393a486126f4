"""Which servers the settings name, and what is known of each kind of server."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lightfast.sdk import PluginError

_KEYS = frozenset(("base_url", "body", "needs_key", "models"))
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
OWN = "compatible"
"""The provider whose address stands in `[providers.compatible]`."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server: *body* is added to every request for text, *models* are offered where it cannot be asked."""

    name: str
    base_url: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    needs_key: bool = False
    models: tuple[str, ...] = ()


def servers_of(config: Mapping[str, Any]) -> list[Server]:
    """Return the servers of `[plugins.compatible]`; raises `PluginError` naming the setting that is wrong."""
    named = config.get("servers", {})
    if not isinstance(named, Mapping):
        raise PluginError('[plugins.compatible] servers is no table: write servers = { llama = "http://…/v1" }')
    found = [_server(OWN, {name: value for name, value in config.items() if name in _KEYS}, optional=True)]
    for name, table in named.items():
        if not _NAME.fullmatch(str(name)) or name == OWN:
            raise PluginError(
                f"[plugins.compatible.servers] {name!r:.80} is no name for a provider: use lower-case letters, digits, "
                f"'-' and '_', at most 64, and not '{OWN}'"
            )
        found.append(_server(str(name), {"base_url": table} if isinstance(table, str) else table))
    return found


def _server(name: str, table: Any, *, optional: bool = False) -> Server:
    where = "[plugins.compatible]" if optional else f"[plugins.compatible.servers] {name}"
    if not isinstance(table, Mapping):
        raise PluginError(f"{where} is {table!r:.80}: write an address, or a table with base_url")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise PluginError(f"{where} has no setting {unknown[0]!r}: use {', '.join(sorted(_KEYS))}")
    base_url, body, models = table.get("base_url", ""), table.get("body", {}), table.get("models", ())
    if not (optional and not base_url) and not _is_address(base_url):
        raise PluginError(f"{where} has the base_url {base_url!r:.80}: write one like http://127.0.0.1:8080/v1")
    if not isinstance(body, Mapping):
        raise PluginError(f"{where} has a body that is no table")
    if isinstance(models, str) or not all(isinstance(model, str) for model in models):
        raise PluginError(f"{where} has models that are no list of names")
    return Server(name, str(base_url).rstrip("/"), dict(body), table.get("needs_key") is True, tuple(models))


def _is_address(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def host_of(base_url: str) -> str:
    """Return host and port of an address, without a name or a password that it may hold."""
    return urlsplit(base_url).netloc.rpartition("@")[2]


@functools.lru_cache(maxsize=64)  # asked with every request
def is_loopback(base_url: str) -> bool:
    """Say whether an address is on this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of server can do beyond the protocol: *prefill* is what makes it go on from a given beginning."""

    name: str
    prefill: Mapping[str, Any] | None = None
    seed: bool = False
    root_tools: bool = False
    """Whether `/apply-template` and `/tokenize` are beside `/v1`."""
    lists_all: bool = False
    """Whether it has no model but those it lists."""


UNKNOWN = Kind("unknown")
LLAMA = Kind("llama.cpp", prefill={}, seed=True, root_tools=True, lists_all=True)
"""It goes on from a last turn of the assistant by itself, and repeats that turn in its answer."""
VLLM = Kind("vLLM", prefill={"continue_final_message": True, "add_generation_prompt": False}, seed=True, lists_all=True)
OPENROUTER = Kind("OpenRouter")


def kind_of(listed: Sequence[Mapping[str, Any]]) -> Kind:
    """Return the kind of a server by what its list of models looks like."""
    for item in listed:
        owner = str(item.get("owned_by", ""))
        if owner == "llamacpp":
            return LLAMA
        if owner == "vllm":
            return VLLM
        if isinstance(item.get("pricing"), Mapping) and "context_length" in item:
            return OPENROUTER
    return UNKNOWN
