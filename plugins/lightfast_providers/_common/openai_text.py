"""What texts have in common in OpenAI's two protocols."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from lightfast.sdk import GenerationRequest, Usage


def turns(request: GenerationRequest) -> list[dict[str, str]]:
    """Return the conversation before the prompt, as `role` and `content`."""
    return [{"role": message.role, "content": message.text} for message in request.messages]


def data_url(media_type: str, content: bytes) -> str:
    """Return *content* as a `data:` URL."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def sources(request: GenerationRequest) -> list[tuple[str, bytes]]:
    """Return each source with its media type."""
    types = (*request.source_types, *[""] * len(request.sources))
    return list(zip(types, request.sources, strict=False))


def strict(schema: Any) -> bool:
    """Say whether a JSON Schema is one that OpenAI's strict mode takes.

    Every object says `additionalProperties: false` and requires all its properties
    (https://platform.openai.com/docs/guides/structured-outputs); others are sent without `strict`.
    """
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if schema.get("type") == "object" or isinstance(properties, Mapping):
            named = set(properties) if isinstance(properties, Mapping) else set()
            if schema.get("additionalProperties") is not False or named != set(schema.get("required", ())):
                return False
        return all(strict(each) for each in schema.values())
    return all(strict(each) for each in schema) if isinstance(schema, (list, tuple)) else True


def count(found: Any, *path: str) -> int:
    """Return the number at *path* of nested objects; 0 where there is none."""
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return int(found) if isinstance(found, (int, float)) and found > 0 else 0


def responses_usage(usage: Any) -> Usage:
    """Return the usage of the Responses API; cached and reasoning tokens are parts of the others there, too."""
    return Usage(
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        cached_tokens=count(usage, "input_tokens_details", "cached_tokens"),
        cache_write_tokens=count(usage, "input_tokens_details", "cache_write_tokens"),
        reasoning_tokens=count(usage, "output_tokens_details", "reasoning_tokens"),
        requests=1,
    )


def chat_usage(usage: Any) -> Usage:
    """Return the usage of chat completions; `cost` is what OpenRouter adds, in US dollars."""
    cost = usage.get("cost") if isinstance(usage, Mapping) else None
    return Usage(
        input_tokens=count(usage, "prompt_tokens"),
        output_tokens=count(usage, "completion_tokens"),
        cost_usd=float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None,
        cached_tokens=count(usage, "prompt_tokens_details", "cached_tokens"),
        cache_write_tokens=count(usage, "prompt_tokens_details", "cache_write_tokens"),
        reasoning_tokens=count(usage, "completion_tokens_details", "reasoning_tokens"),
        audio_input_tokens=count(usage, "prompt_tokens_details", "audio_tokens"),
        audio_output_tokens=count(usage, "completion_tokens_details", "audio_tokens"),
        image_input_tokens=count(usage, "prompt_tokens_details", "image_tokens"),
        requests=1,
    )
