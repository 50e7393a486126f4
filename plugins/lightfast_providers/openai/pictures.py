"""Pictures by `/images/generations` and `/images/edits` (https://platform.openai.com/docs/api-reference/images)."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from lightfast.sdk import Artifact, GenerationRequest, Preview, ProviderError, Step, Usage, Workbench
from lightfast_providers._common.limits import openai_limits
from lightfast_providers._common.openai_text import count, sources
from lightfast_providers._common.openai_wire import Files, Wire

_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_PREVIEW_EDGE = 512
"""Pixels of the longer edge of a preview: partial pictures come in full size, some MB each."""


async def paint(wire: Wire, request: GenerationRequest, bench: Workbench) -> AsyncGenerator[Step, None]:
    """Yield previews where they were asked for, each picture, and the usage."""
    body = _body(request)
    files: Files = _files(request)
    path = "/images/edits" if files else "/images/generations"
    if not body.get("partial_images"):
        answer = await wire.ask(request.session, path, body, timeout=request.timeout, files=files)
        limits = openai_limits(answer.headers)
        if limits is not None:
            yield limits
        made = answer.payload.get("data") or []
        for number, item in enumerate(made, 1):
            content = await bench.run(_decoded, wire, item.get("b64_json"))
            yield _artifact(request, content, {**answer.payload, **item}, number)
        yield _usage(answer.payload.get("usage"), len(made))
        return
    async with wire.stream(request.session, path, {**body, "stream": True}, request.timeout, files) as events:
        limits = openai_limits(events.response.headers)
        if limits is not None:
            yield limits
        async for event in events:
            kind = str(event.get("type")) if isinstance(event, dict) else ""
            if kind.endswith(".partial_image"):
                small = await bench.run(_smaller, wire, event.get("b64_json"))
                if small:
                    yield Preview("image/jpeg", small)
            elif kind.endswith(".completed"):
                content = await bench.run(_decoded, wire, event.get("b64_json"))
                yield _artifact(request, content, event, 1)
                yield _usage(event.get("usage"), 1)
                return
            elif kind == "error" or "error" in event:
                raise wire.refused(request.session, event, events.response.headers)
    raise wire.unfinished()


def _body(request: GenerationRequest) -> dict[str, Any]:
    settings = request.settings
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
    for name in ("size", "quality", "background", "output_format", "moderation"):
        if settings.get(name) not in {None, "", "auto"}:
            body[name] = settings[name]
    many = settings.get("count")
    if isinstance(many, int) and many > 1:
        body["n"] = many  # a stream has one picture: there are no previews of several
    elif isinstance(previews := settings.get("previews"), int) and previews > 0:
        body["partial_images"] = previews
    return body


def _files(request: GenerationRequest) -> Files:
    found: list[tuple[str, tuple[str, bytes, str]]] = []
    for number, (kind, content) in enumerate(sources(request), 1):
        if kind not in _ENDINGS:
            raise ProviderError(
                f"{request.model} takes PNG, JPEG and WebP, not {kind or 'an unknown type'}", kind="invalid"
            )
        found.append(("image[]", (f"source-{number}.{_ENDINGS[kind]}", content, kind)))
    return found


def _artifact(request: GenerationRequest, content: bytes, found: Mapping[str, Any], number: int) -> Artifact:
    wanted = str(found.get("output_format") or request.settings.get("output_format") or "png")
    told = {name: found[name] for name in ("size", "quality", "background", "revised_prompt") if found.get(name)}
    name = "picture" if number == 1 else f"picture-{number}"
    ending = "jpg" if wanted == "jpeg" else wanted
    return Artifact(f"image/{wanted}", content, f"{name}.{ending}", told)


def _decoded(wire: Wire, text: object) -> bytes:
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        content = b""
    if not content:
        raise wire.malformed("a picture that is no base64")
    return content


def _smaller(wire: Wire, text: object) -> bytes:
    """Return a small JPEG of a picture; nothing where it cannot be read. Blocks."""
    from PIL import Image, UnidentifiedImageError

    content = _decoded(wire, text)
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.thumbnail((_PREVIEW_EDGE, _PREVIEW_EDGE))
            out = io.BytesIO()
            picture.convert("RGB").save(out, "JPEG", quality=80)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return b""
    return out.getvalue()


def _usage(usage: Any, images: int) -> Usage:
    """Return the usage: the picture's tokens are all of the answer, unless the service tells them apart."""
    output = count(usage, "output_tokens")
    apart = isinstance(usage, Mapping) and usage.get("output_tokens_details")
    return Usage(
        input_tokens=count(usage, "input_tokens"),
        output_tokens=output,
        cached_tokens=count(usage, "input_tokens_details", "cached_tokens"),
        image_input_tokens=count(usage, "input_tokens_details", "image_tokens"),
        image_output_tokens=count(usage, "output_tokens_details", "image_tokens") if apart else output,
        images=images,
        requests=1,
    )
