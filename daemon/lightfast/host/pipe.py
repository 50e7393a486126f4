"""What goes between the daemon and the process of an isolated plugin: framed msgpack maps.

A frame is its length in 4 bytes, big-endian, and the message. Messages to the child:

| `t`        | with                                                                    |
|------------|-------------------------------------------------------------------------|
| `load`     | `name`, `target` (a module or a file), `is_file`, `config`              |
| `generate` | `id`, `provider`, `request`; `sources` follow as `source` messages      |
| `source`   | `id`, `content`, `last` of the source, in pieces of at most 1 MiB;      |
|            | or `spooled`: its place in the spool                                    |
| `go`       | `id`: the request is complete                                           |
| `credit`   | `id`: one step was taken, one more may be sent                          |
| `cancel`   | `id`                                                                    |
| `call`     | `id`, `provider`, `method` of `METHODS`, `args`                         |

and to the daemon:

| `t`      | with                                                                      |
|----------|---------------------------------------------------------------------------|
| `loaded` | `providers` (each with its models)                                        |
| `failed` | `reason`, `trace`, `missing`: it could not be loaded; the child then ends |
| `step`   | `id`, `step`; an artifact's content came before, in `piece` messages,     |
|          | or `spooled` is its place in the spool                                    |
| `piece`  | `id`, `content` of at most 1 MiB                                          |
| `result` | `id`, `value`: what a `call` has returned                                 |
| `done`   | `id`; after an error with `error`, and the other fields of `pack_error`   |

A key travels in the request, as the one field of a session that is secret; it is in no other message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import msgspec

from lightfast.core.redaction import hide
from lightfast.core.secret import Secret
from lightfast.sdk import (
    Artifact,
    Condition,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerationRequest,
    Job,
    Limits,
    Message,
    Model,
    Preview,
    Progress,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
)
from lightfast_link.value import Value, from_json, to_json

T = TypeVar("T")

PIECE = 1 << 20
"""How many bytes of content one message carries."""
MAX_FRAME = 16 << 20
"""The longest message; a longer one is a broken peer."""
CREDIT = 16
"""How many steps of one generation may be on their way."""

METHODS = ("probe", "cancel", "embed", "count_tokens", "discover")
"""What else can be called of a provider in the child."""
MOST_CALL = 256
"""So many calls of one child may be under way."""

_STEPS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Progress, TextDelta, Preview, Artifact, Usage, Limits, Job, Finish)
}


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
    kind = type(step).__name__
    if kind not in _STEPS:
        raise TypeError(f"it yielded {step!r:.80}, which is no step: see lightfast.sdk.Step")
    if isinstance(step, TextDelta):
        return {"kind": kind, "text": step.text}
    fields = {name: getattr(step, name) for name in type(step).__dataclass_fields__}
    if isinstance(step, Artifact):
        del fields["content"]
        fields["settings"] = _json(step.settings)
    return {"kind": kind, **fields}


def unpack_step(fields: dict[str, Any], content: bytes) -> Step:
    """Return the inverse of `pack_step`; raise `PipeError` for anything malformed."""
    kind = _STEPS.get(str(fields.pop("kind", "")))
    if kind is None:
        raise PipeError("a step is of no known kind")
    if kind is TextDelta and type(text := fields.get("text")) is str:
        return TextDelta(text)
    if kind is Artifact:
        fields["settings"] = _from_json(fields.get("settings"))
        fields["content"] = content
    step: Step = _made(fields, kind, "a step")
    return step


def pack_request(request: GenerationRequest) -> dict[str, Any]:
    """Return a request as a map, without its sources; the key is in it."""
    fields = {name: getattr(request, name) for name in GenerationRequest.__dataclass_fields__}
    del fields["sources"]
    fields["settings"] = pack_settings(request.settings)
    fields["schema"] = None if request.schema is None else _json(request.schema)
    fields["session"] = pack_session(request.session)
    return fields


def unpack_request(fields: dict[str, Any], sources: tuple[bytes, ...] = ()) -> GenerationRequest:
    """Return the inverse of `pack_request`; raise `PipeError` for anything malformed."""
    try:
        made = {
            **fields,
            "settings": unpack_settings(fields["settings"]),
            "schema": None if fields["schema"] is None else _from_json(fields["schema"]),
            "session": unpack_session(fields["session"]),
            "messages": tuple(_made(each, Message, "a message") for each in fields["messages"]),
            "source_types": tuple(fields["source_types"]),
            "sources": sources,
        }
        return GenerationRequest(**made)
    except (TypeError, KeyError, ValueError) as error:
        raise PipeError(f"a request is malformed: {error}") from None


def pack_session(session: Session) -> dict[str, Any]:
    """Return a session as a map."""
    return {
        "account": session.account,
        "key": session.key.reveal(),
        "base_url": session.base_url,
        "options": _json(session.options),
    }


def unpack_session(fields: dict[str, Any]) -> Session:
    """Return the inverse of `pack_session`; raise `PipeError` for anything malformed."""
    try:
        key, options = Secret(str(fields["key"])), _from_json(fields["options"])
        return Session(str(fields["account"]), key, str(fields["base_url"]), options)
    except KeyError as error:
        raise PipeError(f"a session is malformed: {error}") from None


def pack_embedding(request: EmbeddingRequest) -> dict[str, Any]:
    """Return a request for vectors as a map; the key is in it."""
    fields = {name: getattr(request, name) for name in EmbeddingRequest.__dataclass_fields__}
    return {**fields, "session": pack_session(request.session)}


def unpack_embedding(fields: dict[str, Any]) -> EmbeddingRequest:
    """Return the inverse of `pack_embedding`; raise `PipeError` for anything malformed."""
    try:
        texts, session = tuple(fields["texts"]), unpack_session(fields["session"])
        return EmbeddingRequest(**{**fields, "texts": texts, "session": session})
    except (TypeError, KeyError) as error:
        raise PipeError(f"a request for vectors is malformed: {error}") from None


def unpack_result(method: str, value: Any) -> Any:
    """Return what a call of *method* has returned; raise `PipeError` for anything malformed."""
    if method == "embed":
        return _made(value, Embeddings, "vectors")
    if method == "probe":
        return _made(value, Condition, "a condition")
    if method == "count_tokens":
        return _made(value, int, "a count of tokens")
    if method == "discover" and value is not None:
        return tuple(unpack_model(fields) for fields in value)
    return None


def pack_error(error: ProviderError) -> dict[str, Any]:
    """Return an error as the fields of a message; secrets that are known here are hidden."""
    return {
        "error": hide(str(error)),
        "retryable": error.retryable,
        "reason": error.reason,
        "kind": error.kind,
        "terminal": error.terminal,
        "retry_after": error.retry_after,
        "limits": asdict(error.limits) if isinstance(error.limits, Limits) else None,
    }


def unpack_error(fields: dict[str, Any]) -> ProviderError:
    """Return the inverse of `pack_error`; raise `PipeError` for anything malformed."""
    limits = fields.get("limits")
    return ProviderError(
        str(fields.get("error", "")),
        retryable=bool(fields.get("retryable")),
        reason=str(fields.get("reason", "")),
        kind=str(fields.get("kind", "failed")),
        terminal=bool(fields.get("terminal")),
        retry_after=_made(fields.get("retry_after", -1.0), float, "a wait"),
        limits=None if limits is None else _made(limits, Limits, "limits"),
    )


def pack_settings(settings: Mapping[str, Value]) -> dict[str, Any]:
    """Return settings as they travel: the JSON form of each value."""
    return {name: to_json(value) for name, value in settings.items()}


def unpack_settings(settings: Mapping[str, Any]) -> dict[str, Value]:
    """Return the inverse of `pack_settings`."""
    return {name: from_json(value, name) for name, value in settings.items()}


def pack_model(model: Model) -> dict[str, Any]:
    """Return a model as a map; its batches are left out, they are not offered from a child."""
    able = tuple(name for name in model.capabilities if name != "batch")
    return {**asdict(model), "settings": _json(model.settings), "capabilities": able}


def unpack_model(fields: dict[str, Any]) -> Model:
    """Return the inverse of `pack_model`; raise `PipeError` for anything malformed."""
    return _made({**fields, "settings": _from_json(fields.get("settings"))}, Model, "a model")


def _made(fields: Any, kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise PipeError(f"{what} is malformed: {error}") from None


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _from_json(text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (TypeError, msgspec.DecodeError) as error:
        raise PipeError(f"a JSON text is malformed: {error}") from None
