"""What is asked of Gemini, in the words of its API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightfast.sdk import GenerationRequest, ProviderError
from lightfast_providers.gemini.models import DEFAULT_VOICE

if TYPE_CHECKING:
    from google.genai.types import Content, GenerateContentConfig

SEEDS = 2**31
"""Seeds are taken modulo this: the service keeps 32 bits with a sign."""


def version(model: str) -> str:
    """Return the version of the API: `v1`, but for models in preview, which may be only in `v1beta`."""
    return "v1beta" if "preview" in model or "-exp" in model else "v1"


def contents(request: GenerationRequest, *, told: str = "") -> list[Content]:
    """Return the conversation, the prompt with its sources last; *told* is said by the user before all."""
    from google.genai.types import Content

    turns: list[Any] = [{"role": "user", "parts": [{"text": told}]}] if told else []
    turns += [
        {"role": "model" if each.role == "assistant" else "user", "parts": [{"text": each.text}]}
        for each in request.messages
        if each.role != "system" and each.text
    ]
    turns.append({"role": "user", "parts": [*_sources(request), {"text": request.prompt}]})
    return [Content.model_validate(each) for each in turns]


def system(request: GenerationRequest) -> str:
    """Return all that was said by nobody of the conversation."""
    return "\n\n".join(
        text for text in (request.system, *(each.text for each in request.messages if each.role == "system")) if text
    )


def _sources(request: GenerationRequest) -> Iterator[dict[str, Any]]:
    types = (*request.source_types, *[""] * (len(request.sources) - len(request.source_types)))
    for content, kind in zip(request.sources, types, strict=True):
        plain = kind.partition(";")[0].strip().lower()
        if not plain:
            raise ProviderError("Gemini takes no source without a media type", kind="invalid")
        yield {"inline_data": {"mime_type": plain, "data": content}}


def config(request: GenerationRequest, *, http: bool = True) -> GenerateContentConfig:
    """Return what is asked beside the contents; with *http* also where and how long to wait."""
    from google.genai.types import GenerateContentConfig

    settings = request.settings
    found: dict[str, Any] = {}
    if told := system(request):
        found["system_instruction"] = told
    if request.output == "audio":
        voice = {"prebuilt_voice_config": {"voice_name": str(settings.get("voice") or DEFAULT_VOICE)}}
        speech: dict[str, Any] = {"voice_config": voice}
        if settings.get("language"):
            speech["language_code"] = str(settings["language"])
        found |= {"response_modalities": ["AUDIO"], "speech_config": speech}
    elif request.output == "image":
        picture = {name: settings.get(name) for name in ("image_size", "aspect_ratio")}
        found |= {"response_modalities": ["IMAGE"], "seed": request.seed % SEEDS}
        found["image_config"] = {name: str(value) for name, value in picture.items() if value}
    else:
        found |= _text(request)
    if http:
        found["http_options"] = options(request.model, request.timeout)
        # One attempt is one request: a second one for more of the answer would be counted nowhere.
        found["automatic_continuation"] = False
    return GenerateContentConfig.model_validate(found)


def _text(request: GenerationRequest) -> dict[str, Any]:
    settings = request.settings
    found: dict[str, Any] = {"seed": request.seed % SEEDS}
    if request.max_output_tokens:
        found["max_output_tokens"] = request.max_output_tokens
    if request.schema is not None:
        found |= {"response_mime_type": "application/json", "response_json_schema": dict(request.schema)}
    if "temperature" in settings:
        found["temperature"] = settings["temperature"]
    if settings.get("thinking"):
        found["thinking_config"] = {"thinking_level": str(settings["thinking"]).upper()}
    if settings.get("stop"):
        found["stop_sequences"] = [str(each) for each in settings["stop"]]  # type: ignore[union-attr]
    return found


def options(model: str, timeout: float, api: str = "") -> dict[str, Any]:
    """Return `HttpOptions` of one request; its timeout is in milliseconds and for each wait."""
    return {"timeout": max(50, round(timeout * 1000)), "api_version": api or version(model)}
