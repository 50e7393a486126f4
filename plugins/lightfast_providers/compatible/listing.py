"""Models as servers list them at `/models`: with their windows, prices and abilities where a server tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Model, Price
from lightfast_providers._common.openai_text import count
from lightfast_providers.compatible.servers import Kind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_PRICES = {
    "prompt": "input_token",
    "completion": "output_token",
    "input_cache_read": "cached_token",
    "input_cache_write": "cache_write_token",
    "internal_reasoning": "reasoning_token",
    "request": "request",
}
"""OpenRouter's prices, in US dollars for one (https://openrouter.ai/docs/api-reference/list-available-models)."""
SETTINGS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "temperature": {"type": "number", "minimum": 0.0, "maximum": 2.0},
        "top_p": {"type": "number", "minimum": 0.0, "maximum": 1.0},
        "frequency_penalty": {"type": "number", "minimum": -2.0, "maximum": 2.0},
        "presence_penalty": {"type": "number", "minimum": -2.0, "maximum": 2.0},
        "effort": {"type": "string", "enum": ["none", "minimal", "low", "medium", "high"]},
    },
}


def name_of(identity: str) -> str:
    """Return the name for a model that its server knows by *identity*: llama.cpp may give the path of a file."""
    if _NAME.fullmatch(identity):
        return identity
    last = identity.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    clean = re.sub(r"[^A-Za-z0-9._:/@+-]", "-", last).lstrip("._:/@+-")[:200]
    return clean or "model"


def listed(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of an answer of `/models` that have an identity."""
    return [item for item in payload.get("data") or () if isinstance(item, Mapping) and item.get("id")]


def models_of(
    items: Sequence[Mapping[str, Any]], kind: Kind, *, free: bool, looked_up: str = ""
) -> dict[str, tuple[str, Model]]:
    """Return, by name, the identity and the model of each entry."""
    found: dict[str, tuple[str, Model]] = {}
    for item in items:
        identity = str(item["id"])
        name = name_of(identity)
        while name in found:
            name += "+"
        found[name] = (identity, model_of(name, item, kind, free=free, looked_up=looked_up))
    return found


def model_of(name: str, item: Mapping[str, Any], kind: Kind, *, free: bool = False, looked_up: str = "") -> Model:
    """Return one model; of an entry that tells nothing, one that takes and makes text."""
    architecture = item.get("architecture")
    told: Mapping[str, Any] = architecture if isinstance(architecture, Mapping) else {}
    makes = {str(each) for each in told.get("output_modalities") or ()}
    embeds = bool(makes & {"embedding", "embeddings"}) or "embed" in name.lower()
    takes = {str(each) for each in told.get("input_modalities") or ()} & {"image", "audio"}
    prices = _prices(item.get("pricing"), looked_up)
    if embeds:
        outputs: tuple[str, ...] = ("embedding",)
    else:
        # llama.cpp makes vectors with any model when it was started for it, and does not tell.
        outputs = ("text", "embedding") if kind.root_tools else ("text",)
    able = ["stream", "schema", "system"] if "text" in outputs else []
    able += ["continue"] if able and kind.prefill is not None else []
    able += ["seed"] if able and (kind.seed or free) else []
    able += ["count_tokens"] if able and kind.root_tools else []
    described = " ".join(str(item.get("name") or "").split())[:200]
    return Model(
        name,
        outputs=outputs,
        inputs=("text", *sorted(takes)),
        description=described or f"As served by {kind.name if kind.name != 'unknown' else 'the server'}.",
        settings=SETTINGS if "text" in outputs else {},
        capabilities=tuple(able),
        context_tokens=_window(item),
        max_output_tokens=count(item, "top_provider", "max_completion_tokens"),
        prices=prices,
        free=free or (bool(prices) and not any(price.usd for price in prices)),
    )


def _window(item: Mapping[str, Any]) -> int:
    """Return the window in tokens: what the server was started with, else what the model was made for."""
    for path in (("meta", "n_ctx"), ("meta", "n_ctx_train"), ("max_model_len",), ("context_length",)):
        if found := count(item, *path):
            return found
    return count(item, "max_context_length") or count(item, "context_window")


def _prices(told: Any, looked_up: str) -> tuple[Price, ...]:
    if not isinstance(told, Mapping):
        return ()
    found = []
    for name, unit in _PRICES.items():
        try:
            usd = float(told.get(name, "nan"))
        except (TypeError, ValueError):
            continue
        if 0.0 <= usd < 1.0:  # -1 means that it depends
            found.append(Price(unit, usd, "told by the server", looked_up))
    units = {price.unit for price in found}
    return tuple(found) if {"input_token", "output_token"} <= units else ()
