"""Claude's models and limits, as of 2026-11-20.

Names and context windows are those of genai-prices 0.2.3 (2026-11-10), which has their prices, too, and of the SDK
2.11; longest answers and stages are those of the service's pages about its models (platform.claude.com, read
2026-11). Other models of the account are found by `discover`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lightfast.sdk import Model

AS_OF = "2026-11-20"
EFFORTS = ("low", "medium", "high", "xhigh", "max")
PREFIX = "claude-"
CAPABILITIES = ("stream", "schema", "system", "batch", "count_tokens")
"""What all of them can; there is no seed."""


@dataclass(frozen=True, slots=True)
class Known:
    """One model; *continues*: it goes on from a beginning (models since 4.6 refuse that); *efforts* it takes."""

    name: str
    description: str
    context: int
    longest: int
    efforts: tuple[str, ...] = EFFORTS
    continues: bool = False
    tags: tuple[str, ...] = ()
    retires: str = ""
    deprecated: str = ""


MODELS = (
    Known("claude-fable-5-2", "Claude Fable 5.2: for the hardest open-ended work.", 1_000_000, 128_000),
    Known("claude-opus-5-5", "Claude Opus 5.5: for demanding work.", 1_000_000, 128_000, tags=("best",)),
    Known("claude-sonnet-5-5", "Claude Sonnet 5.5: fast and able.", 1_000_000, 128_000),
    Known("claude-haiku-5-5", "Claude Haiku 5.5: the fastest.", 1_000_000, 128_000, tags=("fast", "cheap")),
    Known("claude-fable-5-1", "Claude Fable 5.1, the Fable before.", 1_000_000, 128_000),
    Known("claude-opus-5", "Claude Opus 5, a legacy model.", 1_000_000, 128_000),
    Known("claude-haiku-4-5", "Claude Haiku 4.5: goes on from a beginning.", 200_000, 64_000, (), continues=True),
    Known("claude-opus-4-5", "Claude Opus 4.5.", 200_000, 64_000, EFFORTS[:3], continues=True),
    Known("claude-sonnet-4-5", "Claude Sonnet 4.5.", 200_000, 64_000, (), continues=True, retires="2026-11-30"),
)

TIERS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "start": (("requests", 60.0, 1000.0), ("input_tokens", 60.0, 500_000.0), ("output_tokens", 60.0, 100_000.0)),
    "scale": (("requests", 60.0, 4000.0), ("input_tokens", 60.0, 4_000_000.0), ("output_tokens", 60.0, 800_000.0)),
}
"""Those of Claude Fable 5 (read 2026-10-17); others have their own, and the headers of each answer say what counts. Of
the tier `build` no numbers were found. A month's spend is at most 500 US dollars (start), 1000 (build) or 200 000
(scale); what is beyond is refused as a terminal limit."""


def settings(efforts: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON Schema of a model's settings. The service takes no temperature since version 2026-10-21."""
    properties: dict[str, Any] = {
        "cache_ttl": {
            "type": "string", "enum": ["off", "5m", "1h"], "default": "off",
            "description": "how long the service keeps the system prompt (or all of the request) to read it cheaper",
        },
        "stop": {"type": "array", "description": "texts at which the answer ends"},
    }  # fmt: skip
    if efforts:
        properties["effort"] = {"type": "string", "enum": list(efforts), "description": "how much it thinks and says"}
    return {"type": "object", "properties": properties}


def model_of(known: Known) -> Model:
    """Return the model of the daemon."""
    return Model(
        known.name,
        outputs=("text",),
        inputs=("text", "image"),
        description=known.description,
        settings=settings(known.efforts),
        capabilities=(*CAPABILITIES, "continue") if known.continues else CAPABILITIES,
        context_tokens=known.context,
        max_output_tokens=known.longest,
        tags=known.tags,
        deprecation_date=known.deprecated,
        retirement_date=known.retires,
    )


LISTED = tuple(model_of(known) for known in MODELS)
_BY_NAME = {model.name: model for model in LISTED}


def named(name: str) -> Model | None:
    """Return a model by its name, also with a date behind it; `None` where it is none of Claude's."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if not name.startswith(PREFIX):
        return None
    base, _, date = name.rpartition("-")
    if base in _BY_NAME and len(date) == 8 and date.isdigit():
        return replace(_BY_NAME[base], name=name, price_name=base, tags=())
    return Model(
        name,
        outputs=("text",),
        inputs=("text", "image"),
        description=f"{name}, which this version does not know yet.",
        settings=settings(EFFORTS),
        capabilities=CAPABILITIES,
    )


def discovered(info: Any) -> Model | None:
    """Return a model as the service lists it (`ModelInfo` of the SDK); `None` for one that is retired."""
    if info.lifecycle == "retired":
        return None
    base = named(info.id)
    if base is None:
        return None
    able = info.capabilities
    capabilities = tuple(
        name
        for name in base.capabilities
        if not (able is not None and _lacks(able, {"schema": "structured_outputs", "batch": "batch"}.get(name, "")))
    )
    no_images = able is not None and _lacks(able, "image_input")
    known = info.id in _BY_NAME
    return replace(
        base,
        inputs=("text",) if no_images else base.inputs,
        capabilities=capabilities,
        settings=base.settings if (efforts := _efforts(able)) is None else settings(efforts),
        description=base.description if known else f"{info.display_name}.",
        context_tokens=info.max_input_tokens or base.context_tokens,
        max_output_tokens=info.max_tokens or base.max_output_tokens,
        deprecation_date=f"{info.deprecated_at:%Y-%m-%d}" if info.deprecated_at else base.deprecation_date,
        retirement_date=f"{info.retires_at:%Y-%m-%d}" if info.retires_at else base.retirement_date,
    )


def _efforts(able: Any) -> tuple[str, ...] | None:
    told = getattr(able, "effort", None)
    if told is None:
        return None
    if not told.supported:
        return ()
    return tuple(name for name in EFFORTS if (one := getattr(told, name, None)) is not None and one.supported)


def _lacks(able: Any, name: str) -> bool:
    found = getattr(able, name, None) if name else None
    return found is not None and not found.supported
