"""What is asked of Claude, in the words of its API, and how its counts become ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from lightfast.sdk import GenerationRequest, Message, ProviderError, Usage

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
UNKNOWN_LONGEST = 32_000
"""The longest answer that is asked of a model nobody knows: the service wants a number."""


def parameters(request: GenerationRequest, longest: int) -> dict[str, Any]:
    """Return the arguments of `messages.create` but `stream`; *longest* is the model's longest answer, 0: unknown."""
    found = counted(request)
    asked = request.max_output_tokens or longest or UNKNOWN_LONGEST
    found["max_tokens"] = min(asked, longest or asked)
    settings = request.settings
    if settings.get("stop"):
        found["stop_sequences"] = [str(each) for each in settings["stop"]]  # type: ignore[union-attr]
    if settings.get("effort"):
        found.setdefault("output_config", {})["effort"] = str(settings["effort"])
    lasting = str(settings.get("cache_ttl", "off"))
    if lasting != "off":
        mark = {"type": "ephemeral", "ttl": lasting}
        if "system" in found:
            found["system"] = [{"type": "text", "text": found["system"], "cache_control": mark}]
        else:
            found["cache_control"] = mark
    return found


def counted(request: GenerationRequest) -> dict[str, Any]:
    """Return the part of the arguments that makes up the input: what `count_tokens` takes."""
    system = [request.system, *(each.text for each in request.messages if each.role == "system")]
    messages = list(_turns(request))
    found: dict[str, Any] = {"model": request.model, "messages": messages}
    beginning = request.prefix.rstrip()  # one that ends with white space is refused
    if beginning:
        messages.append({"role": "assistant", "content": beginning})
    if request.schema is not None:
        if beginning:
            # A beginning and a schema exclude each other: the words have to do.
            wanted = json.dumps(dict(request.schema), ensure_ascii=False)
            system.append(f"Answer only with JSON that fits this JSON Schema:\n{wanted}")
        else:
            found["output_config"] = {"format": {"type": "json_schema", "schema": _schema(request)}}
    told = "\n\n".join(text for text in system if text)
    if told:
        found["system"] = told
    return found


def _schema(request: GenerationRequest) -> dict[str, Any]:
    import anthropic

    # What the service does not know, such as `minimum`, goes into descriptions; the gateway checks all of it.
    return anthropic.transform_schema(json.loads(json.dumps(dict(request.schema or {}))))


def _turns(request: GenerationRequest) -> Iterable[dict[str, Any]]:
    said = [each for each in request.messages if each.role != "system" and each.text]
    if said and said[0].role != "user":
        said.insert(0, Message("user", "(the conversation begins here)"))  # the first turn must be the user's
    for each in said:
        yield {"role": each.role, "content": each.text}
    sources = [_source(content, kind) for content, kind in zip(request.sources, _types(request), strict=True)]
    if sources:
        yield {"role": "user", "content": [*sources, {"type": "text", "text": request.prompt}]}
    else:
        yield {"role": "user", "content": request.prompt}


def _types(request: GenerationRequest) -> Iterable[str]:
    told = request.source_types
    return (*told, *[""] * (len(request.sources) - len(told)))


def _source(content: bytes, kind: str) -> dict[str, Any]:
    kind = kind.partition(";")[0].strip().lower()
    if kind in IMAGES or kind == PDF:
        data = {"type": "base64", "media_type": kind, "data": base64.b64encode(content).decode()}
        return {"type": "document" if kind == PDF else "image", "source": data}
    if kind.startswith("text/"):
        text = {"type": "text", "media_type": "text/plain", "data": content.decode("utf-8", "replace")}
        return {"type": "document", "source": text}
    allowed = ", ".join((*IMAGES, PDF, "text"))
    raise ProviderError(f"Claude reads no {kind or 'source without a media type'}: give it {allowed}", kind="invalid")


class Counts:
    """The usage of one answer. What comes later counts instead of what came before: the counts are running totals."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def take(self, usage: Any) -> None:
        """Take in `Usage` or `MessageDeltaUsage` of the SDK."""
        if usage is None:
            return
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"):
            if (count := getattr(usage, name, None)) is not None:
                self._found[name] = count
        details = getattr(usage, "output_tokens_details", None)
        if details is not None and details.thinking_tokens is not None:
            self._found["thinking_tokens"] = details.thinking_tokens

    def usage(self) -> Usage | None:
        """Return all of it; `None` where nothing was told.

        The service counts what it reads from its cache and writes into it apart from `input_tokens`; here they are
        included. Thinking is part of `output_tokens` there, too.
        """
        if not self._found:
            return None
        read = self._found.get("cache_read_input_tokens", 0)
        written = self._found.get("cache_creation_input_tokens", 0)
        return Usage(
            input_tokens=self._found.get("input_tokens", 0) + read + written,
            output_tokens=self._found.get("output_tokens", 0),
            cached_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=self._found.get("thinking_tokens", 0),
            requests=1,
        )


class Seam:
    """Takes back the white space at the end of a beginning, which the service was not given, where it says it anew."""

    def __init__(self, prefix: str) -> None:
        self._left = prefix[len(prefix.rstrip()) :] if prefix.strip() else ""

    def join(self, text: str) -> str:
        """Return what is new of *text*."""
        while text and self._left:
            if text[0] != self._left[0]:
                self._left = ""
                break
            text, self._left = text[1:], self._left[1:]
        return text
