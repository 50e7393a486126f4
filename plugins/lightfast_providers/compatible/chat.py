"""Text by `/chat/completions`, as servers of many makers speak it."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from lightfast.sdk import Finish, GenerationRequest, ProviderError, Step, TextDelta
from lightfast_providers._common.limits import openai_limits
from lightfast_providers._common.openai_text import chat_usage, data_url, sources, strict, turns
from lightfast_providers._common.openai_wire import Wire
from lightfast_providers.compatible.servers import Kind

PATH = "/chat/completions"
MOST_SEED = 2**31
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3"}
_REASONS = {"stop": "stop", "length": "length", "content_filter": "filtered", "eos": "stop", "end_turn": "stop"}
_SETTINGS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


def messages_of(request: GenerationRequest) -> list[dict[str, Any]]:
    """Return the conversation; a beginning to go on from is its last turn."""
    found: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    found += [*turns(request), {"role": "user", "content": _content(request)}]
    if request.prefix:
        found.append({"role": "assistant", "content": request.prefix})
    return found


def body_of(
    request: GenerationRequest, identity: str, kind: Kind, more: Mapping[str, Any], seed: bool
) -> dict[str, Any]:
    """Return the request as the server takes it, with the *seed* where it knows one; *more* are additions."""
    settings = request.settings
    body: dict[str, Any] = {
        "model": identity,
        "messages": messages_of(request),
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: settings[name] for name in _SETTINGS if name in settings},
        **more,
    }
    if settings.get("effort"):
        body["reasoning_effort"] = settings["effort"]
    if request.max_output_tokens:
        body["max_tokens"] = request.max_output_tokens
    if seed:
        body["seed"] = request.seed % MOST_SEED
    if request.schema is not None:
        form = {"name": "answer", "schema": request.schema, "strict": strict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if request.prefix:
        body.update(kind.prefill or {})
    return body


def _content(request: GenerationRequest) -> Any:
    found: list[dict[str, Any]] = []
    for kind, content in sources(request):
        if kind.startswith("image/"):
            found.append({"type": "image_url", "image_url": {"url": data_url(kind, content)}})
        elif kind in _AUDIO:
            sound = {"data": base64.b64encode(content).decode(), "format": _AUDIO[kind]}
            found.append({"type": "input_audio", "input_audio": sound})
        elif kind.startswith("text/"):
            found.append({"type": "text", "text": content.decode("utf-8", "replace")})
        else:
            raise ProviderError(
                f"{request.model} takes pictures, WAV, MP3 and text, not {kind or 'a source without a media type'}",
                kind="invalid",
            )
    return [*found, {"type": "text", "text": request.prompt}] if found else request.prompt


async def write(wire: Wire, request: GenerationRequest, body: Mapping[str, Any]) -> AsyncGenerator[Step, None]:
    """Yield the text as it comes, then usage and end."""
    told, reason, refused = None, "", False
    rest = _Rest(request.prefix)
    async with wire.stream(request.session, PATH, body, request.timeout) as chunks:
        limits = openai_limits(chunks.response.headers)
        if limits is not None:
            yield limits
        async for chunk in chunks:
            if not isinstance(chunk, dict):
                raise wire.malformed("a chunk that is no object")
            told = chunk.get("usage") or told
            choices = chunk.get("choices")
            if not choices:
                continue
            choice = choices[0]
            delta = choice.get("delta") or {}
            text = delta.get("content")
            if text and (new := rest.new(text)):
                yield TextDelta(new)
            refused = refused or bool(delta.get("refusal"))
            reason = choice.get("finish_reason") or reason
    if not reason:
        raise wire.unfinished()
    if reason == "error":
        raise ProviderError(f"{request.model} broke off without a reason", kind="unavailable")
    if held := rest.held():
        yield TextDelta(held)
    if told is not None:
        yield chat_usage(told)
    yield Finish("filtered" if refused else _REASONS.get(reason, "stop"))


class _Rest:
    """Takes the given beginning out of an answer that repeats it (llama.cpp does)."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._seen = prefix, ""

    def new(self, text: str) -> str:
        """Return what of *text* is new."""
        if not self._prefix:
            return text
        self._seen += text
        if self._seen.startswith(self._prefix):
            text, self._prefix = self._seen[len(self._prefix) :], ""
            return text
        if self._prefix.startswith(self._seen):
            return ""
        self._prefix = ""
        return self._seen

    def held(self) -> str:
        """Return what was held back, when the answer has ended within what looked like the beginning."""
        return self._seen if self._prefix else ""
