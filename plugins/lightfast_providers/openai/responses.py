"""Text by the Responses API (https://platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from lightfast.sdk import Finish, GenerationRequest, ProviderError, Step, TextDelta, Workbench
from lightfast_providers._common.limits import openai_limits
from lightfast_providers._common.offloop import prepared
from lightfast_providers._common.openai_text import data_url, responses_usage, sources, strict, turns
from lightfast_providers._common.openai_wire import Wire

PATH = "/responses"
_REASONS = {"max_output_tokens": "length", "content_filter": "filtered"}
_PASSED_OVER = frozenset(
    (
        *("response.created", "response.queued", "response.in_progress"),
        *("response.output_item.added", "response.output_item.done"),
        *("response.content_part.added", "response.content_part.done", "response.output_text.done"),
        *("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
        *("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"),
    )
)
"""Events that say nothing of use here, and much of it: the question again, or the whole text."""


def body_of(request: GenerationRequest) -> dict[str, Any]:
    """Return the request as the service takes it. Nothing is kept there, and no filler bytes are asked for."""
    settings = request.settings
    body: dict[str, Any] = {
        "model": request.model,
        "input": [*turns(request), {"role": "user", "content": _content(request)}],
        "store": False,
    }
    if request.system:
        body["instructions"] = request.system
    if request.max_output_tokens:
        body["max_output_tokens"] = request.max_output_tokens
    for name in ("temperature", "top_p"):
        if name in settings:
            body[name] = settings[name]
    if settings.get("effort"):
        body["reasoning"] = {"effort": settings["effort"]}
    text: dict[str, Any] = {}
    if request.schema is not None:
        text["format"] = {
            "type": "json_schema",
            "name": "answer",
            "schema": request.schema,
            "strict": strict(request.schema),
        }
    if settings.get("verbosity"):
        text["verbosity"] = settings["verbosity"]
    if text:
        body["text"] = text
    return body


def _content(request: GenerationRequest) -> Any:
    found: list[dict[str, Any]] = []
    for index, (kind, content) in enumerate(sources(request), 1):
        if kind.startswith("image/"):
            found.append({"type": "input_image", "image_url": data_url(kind, content), "detail": "auto"})
        elif kind == "application/pdf":
            name = f"source-{index}.pdf"
            found.append({"type": "input_file", "filename": name, "file_data": data_url(kind, content)})
        elif kind.startswith("text/"):
            found.append({"type": "input_text", "text": content.decode("utf-8", "replace")})
        else:
            raise ProviderError(
                f"{request.model} takes pictures, PDF and text, not {kind or 'a source without a media type'}",
                kind="invalid",
            )
    return [*found, {"type": "input_text", "text": request.prompt}] if found else request.prompt


async def write(wire: Wire, request: GenerationRequest, bench: Workbench) -> AsyncGenerator[Step, None]:
    """Yield the text as it comes, then usage and end."""
    body = {**await prepared(bench, body_of, request), "stream": True, "stream_options": {"include_obfuscation": False}}
    refused = False
    async with wire.stream(request.session, PATH, body, request.timeout, passed_over=_PASSED_OVER) as events:
        limits = openai_limits(events.response.headers)
        if limits is not None:
            yield limits
        async for event in events:
            kind = event.get("type") if isinstance(event, dict) else None
            if kind == "response.output_text.delta":
                yield TextDelta(event.get("delta") or "")
            elif kind in {"response.refusal.delta", "response.refusal.done"}:
                refused = True
            elif kind in {"response.completed", "response.incomplete", "response.failed"}:
                for step in end(wire, request, event.get("response") or {}, refused=refused):
                    yield step
                return
            elif kind == "error":
                raise wire.refused(request.session, event, events.response.headers)
            elif kind is None:
                raise wire.malformed("an event without a type")
    raise wire.unfinished()


def end(wire: Wire, request: GenerationRequest, response: dict[str, Any], *, refused: bool) -> list[Step]:
    """Return the last steps of a response that is whole, or raise what it failed with."""
    status = response.get("status")
    usage = responses_usage(response.get("usage"))
    if status == "failed":
        raise wire.refused(request.session, response.get("error") or {})
    if status == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return [usage, Finish(_REASONS.get(str(reason), "length"))]
    if status != "completed":
        raise wire.malformed(f"a response that is {status!r:.40}")
    return [usage, Finish("filtered" if refused else "stop")]


def text_of(response: dict[str, Any]) -> str:
    """Return all text of a response that came at once."""
    parts = [part for item in response.get("output") or () for part in item.get("content") or ()]
    return "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text")
