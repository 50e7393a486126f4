"""What goes between the daemon and the process of an isolated plugin: framed msgpack maps.

A frame is its length in 4 bytes, big-endian, and the message. Messages to the child:

| `t`        | with                                                                    |
|------------|-------------------------------------------------------------------------|
| `load`     | `name`, `target` (a module or a file), `is_file`, `config`              |
| `generate` | `id`, `provider`, `request`; `sources` follow as `source` messages      |
| `source`   | `id`, `content`, `last` of the source, in pieces of at most 1 MiB       |
| `go`       | `id`: the request is complete                                           |
| `credit`   | `id`: one step was taken, one more may be sent                          |
| `cancel`   | `id`                                                                    |

and to the daemon:

| `t`      | with                                                                      |
|----------|---------------------------------------------------------------------------|
| `loaded` | `providers` (each with its models)                                        |
| `failed` | `reason`, `trace`, `missing`: it could not be loaded; the child then ends |
| `step`   | `id`, `step`; an artifact's content came before, in `piece` messages      |
| `piece`  | `id`, `content` of at most 1 MiB                                          |
| `done`   | `id`; after an error with `error`, `retryable`, `reason`                  |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from lightfast.sdk import Artifact, Model, Preview, Progress, Step, TextDelta, Usage
from lightfast_link.value import Value, from_json, to_json

PIECE = 1 << 20
"""How many bytes of content one message carries."""
MAX_FRAME = 16 << 20
"""The longest message; a longer one is a broken peer."""
CREDIT = 16
"""How many steps of one generation may be on their way."""

_STEPS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Progress, TextDelta, Preview, Artifact, Usage)}


class PipeError(Exception):
    """The peer sent what is no message."""


def frame(message: Mapping[str, Any]) -> bytes:
    """Return *message* as one frame."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME:
        raise PipeError(f"a message of {len(body)} bytes is too long, the most is {MAX_FRAME}")
    return len(body).to_bytes(4, "big") + body


def length(head: bytes) -> int:
    """Return the length that the four bytes of *head* announce; raise `PipeError` beyond the bound."""
    size = int.from_bytes(head, "big")
    if size > MAX_FRAME:
        raise PipeError(f"a message of {size} bytes was announced, the most is {MAX_FRAME}")
    return size


def message(body: bytes) -> dict[str, Any]:
    """Return the message in *body*; raise `PipeError` where it is none."""
    try:
        found = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise PipeError(f"a message cannot be read: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("t"), str):
        raise PipeError("a message is no map with a type")
    return found


def pieces(content: bytes) -> Iterator[bytes]:
    """Return *content* in pieces; at least one, possibly empty."""
    yield content[:PIECE]
    for start in range(PIECE, len(content), PIECE):
        yield content[start : start + PIECE]


def pack_step(step: Step) -> dict[str, Any]:
    """Return a step as a map; the content of an artifact is left out, it goes ahead in pieces."""
    fields = {name: getattr(step, name) for name in type(step).__dataclass_fields__}
    if isinstance(step, Artifact):
        del fields["content"]
        fields["settings"] = msgspec.json.encode(step.settings, enc_hook=str).decode()
    return {"kind": type(step).__name__, **fields}


def unpack_step(fields: dict[str, Any], content: bytes) -> Step:
    """Return the inverse of `pack_step`; raise `PipeError` for anything malformed."""
    kind = _STEPS.get(str(fields.pop("kind", "")))
    if kind is None:
        raise PipeError("a step is of no known kind")
    try:
        if kind is Artifact:
            fields["settings"] = msgspec.json.decode(fields["settings"])
            return Artifact(content=content, **fields)
        step: Step = kind(**fields)
    except (TypeError, KeyError, msgspec.DecodeError) as error:
        raise PipeError(f"a step is malformed: {error}") from None
    return step


def pack_settings(settings: Mapping[str, Value]) -> dict[str, Any]:
    """Return settings as they travel: the JSON form of each value."""
    return {name: to_json(value) for name, value in settings.items()}


def unpack_settings(settings: Mapping[str, Any]) -> dict[str, Value]:
    """Return the inverse of `pack_settings`."""
    return {name: from_json(value, name) for name, value in settings.items()}


def pack_model(model: Model) -> dict[str, Any]:
    """Return a model as a map."""
    return {**asdict(model), "settings": msgspec.json.encode(model.settings).decode()}


def unpack_model(fields: dict[str, Any]) -> Model:
    """Return the inverse of `pack_model`; raise `PipeError` for anything malformed."""
    try:
        settings = msgspec.json.decode(fields.pop("settings"))
        outputs, inputs = tuple(fields.pop("outputs")), tuple(fields.pop("inputs"))
        return Model(outputs=outputs, inputs=inputs, settings=settings, **fields)
    except (TypeError, KeyError, msgspec.DecodeError) as error:
        raise PipeError(f"a model is malformed: {error}") from None
