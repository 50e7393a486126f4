"""What Gemini answers: parts, pictures and sounds, why it ended, and how its counts become ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightfast.sdk import Artifact, GenerationRequest, Preview, ProviderError, Step, Usage
from lightfast_providers._common.media import ending as file_ending
from lightfast_providers.gemini import sound
from lightfast_providers.gemini.failures import blocked, stopped, unreadable

MOST_PREVIEW = 256 * 1024
"""Bytes of a preview."""


def parts(answer: Any) -> Sequence[Any]:
    """Return the parts of the first candidate."""
    first = answer.candidates[0] if answer.candidates else None
    return (first.content.parts or ()) if first is not None and first.content is not None else ()


def reason(answer: Any) -> Any:
    """Return why it ended; `None`: it has not."""
    return answer.candidates[0].finish_reason if answer.candidates else None


def refused(answer: Any) -> ProviderError | None:
    """Return the error for a prompt that was blocked; `None`: it was not."""
    feedback = answer.prompt_feedback
    blocks = feedback is not None and feedback.block_reason is not None
    return blocked(feedback.block_reason) if blocks else None


def text(answer: Any) -> str:
    """Return what was said; not what was thought."""
    return "".join(part.text for part in parts(answer) if part.text and not part.thought)


def media(answer: Any, request: GenerationRequest) -> Iterator[Step]:
    """Yield the usage and what was made; raise `ProviderError` where that is nothing."""
    failed = refused(answer)
    made = [] if failed else [*_made(answer, request)]
    finished = [step for step in made if isinstance(step, Artifact)]
    seconds = sum(float(step.settings.get("seconds", 0.0)) for step in finished)
    images = len(finished) if request.output == "image" else 0
    if (used := usage(answer.usage_metadata, images=images, seconds=seconds)) is not None:
        yield used
    if failed is None and not finished:
        ended = reason(answer)
        failed = unreadable("no part") if ended is None else stopped(ended)
    if failed is not None:
        raise failed
    yield from made


def _made(answer: Any, request: GenerationRequest) -> Iterator[Step]:
    raw, raw_type = b"", ""
    for part in parts(answer):
        blob = part.inline_data
        if blob is None or not blob.data:
            continue
        kind = str(blob.mime_type or "application/octet-stream")
        if sound.is_raw(kind):
            raw, raw_type = raw + blob.data, kind
        elif not part.thought:
            plain = kind.partition(";")[0].strip()
            yield Artifact(plain, blob.data, f"{request.output}{file_ending(plain)}", {"model": request.model})
        elif len(blob.data) <= MOST_PREVIEW:
            yield Preview(kind, blob.data)
    if raw:
        content, seconds = sound.wav(raw, raw_type)
        rate, channels = sound.shape(raw_type)
        told = {"model": request.model, "seconds": seconds, "rate": rate, "channels": channels}
        yield Artifact("audio/wav", content, "audio.wav", told)


def usage(told: Any, *, images: int = 0, seconds: float = 0.0) -> Usage | None:
    """Return the counts of `usageMetadata`; `None` where there are none.

    What the service read from its cache is part of `promptTokenCount`; what it thought is counted apart from
    `candidatesTokenCount`, and what its tools put before it apart from the prompt: here they are included.
    """
    if told is None:
        return None
    inputs, outputs = _by_kind(told.prompt_tokens_details), _by_kind(told.candidates_tokens_details)
    thought = told.thoughts_token_count or 0
    return Usage(
        input_tokens=(told.prompt_token_count or 0) + (told.tool_use_prompt_token_count or 0),
        output_tokens=(told.candidates_token_count or 0) + thought,
        cached_tokens=told.cached_content_token_count or 0,
        reasoning_tokens=thought,
        audio_input_tokens=inputs.get("AUDIO", 0),
        image_input_tokens=inputs.get("IMAGE", 0),
        audio_output_tokens=outputs.get("AUDIO", 0),
        image_output_tokens=outputs.get("IMAGE", 0),
        images=images,
        seconds=seconds,
        requests=1,
    )


def _by_kind(details: Any) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for each in details or ():
        name = str(getattr(each.modality, "value", each.modality))
        found[name] = found.get(name, 0) + (each.token_count or 0)
    return found
