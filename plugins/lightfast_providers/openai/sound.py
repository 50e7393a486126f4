"""Speech by `/audio/speech` and its transcription (https://platform.openai.com/docs/api-reference/audio)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Any

from lightfast.sdk import Artifact, Finish, GenerationRequest, Progress, ProviderError, Step, TextDelta, Usage
from lightfast_providers._common.limits import openai_limits
from lightfast_providers._common.openai_text import count, sources
from lightfast_providers._common.openai_wire import Wire

_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_ENDINGS = {
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
    "video/mp4": "mp4",
    "video/webm": "webm",
}


async def speak(wire: Wire, request: GenerationRequest) -> AsyncGenerator[Step, None]:
    """Yield progress, the sound and the usage.

    Events are asked for where the model has them (`gpt-4o-…`): only they tell the tokens. Else characters are counted.
    """
    body = _speech(request)
    wanted = str(body["response_format"])
    if not _has_events(request.model):
        content, headers = await wire.fetch(request.session, "/audio/speech", body, timeout=request.timeout)
        kind = headers.get("content-type", "").partition(";")[0]
        if not kind.startswith("audio/") and kind != "application/octet-stream":
            raise wire.malformed(f"it sent {kind or 'nothing'} instead of sound")
        limits = openai_limits(headers)
        if limits is not None:
            yield limits
        yield Artifact(_TYPES[wanted], content, f"speech.{wanted}", _told(request))
        yield Usage(characters=len(request.prompt), requests=1)
        return
    parts: list[bytes] = []
    async with wire.stream(
        request.session, "/audio/speech", {**body, "stream_format": "sse"}, request.timeout
    ) as events:
        limits = openai_limits(events.response.headers)
        if limits is not None:
            yield limits
        async for event in events:
            name = event.get("type") if isinstance(event, dict) else ""
            if name == "speech.audio.delta":
                parts.append(_decoded(wire, event.get("audio")))
                yield Progress(-1.0, f"{sum(map(len, parts)) // 1024} KB of speech")
            elif name == "speech.audio.done":
                usage = event.get("usage")
                output = count(usage, "output_tokens")
                yield Artifact(_TYPES[wanted], b"".join(parts), f"speech.{wanted}", _told(request))
                yield Usage(
                    input_tokens=count(usage, "input_tokens"),
                    output_tokens=output,
                    audio_output_tokens=output,
                    characters=len(request.prompt),
                    requests=1,
                )
                return
            elif name == "error":
                raise wire.refused(request.session, event, events.response.headers)
    raise wire.unfinished()


async def transcribe(wire: Wire, request: GenerationRequest) -> AsyncGenerator[Step, None]:
    """Yield the words of the first source; the prompt tells of what is spoken and how it is spelled."""
    found = sources(request)
    if len(found) != 1:
        raise ProviderError(f"{request.model} writes down one recording at a time, not {len(found)}", kind="invalid")
    kind, content = found[0]
    if kind not in _ENDINGS:
        known = ", ".join(sorted(set(_ENDINGS.values())))
        raise ProviderError(f"{request.model} takes {known}, not {kind or 'an unknown type'}", kind="invalid")
    body: dict[str, Any] = {"model": request.model, "response_format": "json"}
    if request.prompt:
        body["prompt"] = request.prompt
    for name in ("language", "temperature"):
        if request.settings.get(name) not in {None, ""}:
            body[name] = request.settings[name]
    file = ("file", (f"recording.{_ENDINGS[kind]}", content, kind))
    answer = await wire.ask(request.session, "/audio/transcriptions", body, timeout=request.timeout, files=[file])
    limits = openai_limits(answer.headers)
    if limits is not None:
        yield limits
    text = answer.payload.get("text")
    if not isinstance(text, str):
        raise wire.malformed("a transcription without text")
    if text:
        yield TextDelta(text)
    yield _heard(answer.payload.get("usage"))
    yield Finish("stop")


def _speech(request: GenerationRequest) -> dict[str, Any]:
    settings = request.settings
    body: dict[str, Any] = {
        "model": request.model,
        "input": request.prompt,
        "voice": str(settings.get("voice") or "alloy"),
        "response_format": str(settings.get("format") or "mp3"),
    }
    if settings.get("speed") not in {None, 1}:
        body["speed"] = settings["speed"]
    instructions = " ".join(part for part in (request.system, str(settings.get("instructions") or "")) if part)
    if instructions and _has_events(request.model):
        body["instructions"] = instructions
    return body


def _has_events(model: str) -> bool:
    return not model.startswith("tts-1")


def _told(request: GenerationRequest) -> dict[str, Any]:
    return {name: request.settings[name] for name in ("voice", "speed") if name in request.settings}


def _decoded(wire: Wire, text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        raise wire.malformed("sound that is no base64") from None


def _heard(usage: Any) -> Usage:
    return Usage(
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        audio_input_tokens=count(usage, "input_token_details", "audio_tokens"),
        seconds=float(usage["seconds"]) if isinstance(usage, dict) and "seconds" in usage else 0.0,
        requests=1,
    )
