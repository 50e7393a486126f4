"""What models of Ollama are to the daemon. Which there are says the machine (`/api/tags`, `/api/show`), no list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Model

CAPABILITIES = ("stream", "schema", "system", "seed")
"""What all that complete text can. Whether an answer goes on from a beginning depends on the template of the model: it
is said by the makers for some and denied by users for others (ollama issues 5775, 6778), so `continue` is not offered.
"""
SETTINGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "description": "how freely it chooses its words"},
        "num_ctx": {
            "type": "integer", "minimum": 256, "maximum": 4_194_304,
            "description": "tokens of the window; more take more memory, and what does not fit is cut by Ollama",
        },
        "keep_alive": {"type": "string", "description": "how long it stays in memory afterwards, such as 5m, 0 or -1"},
        "stop": {"type": "array", "description": "texts at which the answer ends"},
    },
}  # fmt: skip
THINKS = {
    "think": {
        "type": ["boolean", "string"], "enum": [True, False, "low", "medium", "high"],
        "description": "whether, or how much, it thinks first; its thoughts are left out",
    },
}  # fmt: skip
_EMBEDS = ("embed", "bge-", "minilm", "gte-", "e5-")
_CLOUD = ("-cloud", ":cloud")


def guessed(name: str, *, local: bool, host: str = "") -> Model:
    """Return a model that was not asked about, by its name: its window is not known.

    *local*: the server is on this machine. *host* is where it has the work of this model done, if elsewhere: models of
    Ollama's cloud stand in the list of this machine like others, under any name.
    """
    embeds = any(part in name.lower() for part in _EMBEDS)
    can = ["embedding"] if embeds else ["completion", "vision", "thinking"]
    return _made(name, can, {}, local=local, host=host)


def described(
    name: str, capabilities: Sequence[str] | None, info: Mapping[str, Any] | None, *, local: bool, host: str = ""
) -> Model:
    """Return a model as `/api/show` tells: what it can, and in `model_info` its window."""
    if capabilities is None:  # versions before 0.6.4 do not say
        return guessed(name, local=local, host=host)
    return _made(name, capabilities, info or {}, local=local, host=host)


def _made(name: str, capabilities: Sequence[str], info: Mapping[str, Any], *, local: bool, host: str) -> Model:
    family = str(info.get("general.architecture", ""))
    told = info.get(f"{family}.context_length")
    window = int(told) if isinstance(told, int | float) else 0
    remote = local and (bool(host) or name.endswith(_CLOUD))
    free = local and not remote
    by = f"by {host or 'Ollama'} (not on this machine)" if remote else "by Ollama"
    if "embedding" in capabilities and "completion" not in capabilities:
        size = info.get(f"{family}.embedding_length")
        of = f"vectors of {size} numbers" if size else "vectors"
        return Model(
            name,
            outputs=("embedding",),
            description=f"{name}: {of}, {by}.",
            context_tokens=window,
            free=free,
            remote=remote,
        )
    inputs = ("text", "image") if "vision" in capabilities else ("text",)
    settings: Mapping[str, Any] = SETTINGS
    if "thinking" in capabilities:
        settings = {**SETTINGS, "properties": {**SETTINGS["properties"], **THINKS}}
    return Model(
        name,
        outputs=("text",),
        inputs=inputs,
        description=f"{name}, {by}.",
        settings=settings,
        capabilities=CAPABILITIES,
        context_tokens=window,
        free=free,
        remote=remote,
    )
