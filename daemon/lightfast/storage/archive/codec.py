"""What is inside a frame: the archive's own metadata, and the codings of its content.

`enc` lists the codings, outermost first; the last says what the content is:

    utf8 · wtf8 · raw       text; text with lone surrogates (as `surrogatepass` writes it); bytes
    box                     uint32 length, the user's metadata as JSON, the content: both are sealed together
    zstd                    one Zstandard frame
    zstd:<name>             the same, with the dictionary of this name, which is a frame of the same segment
    delta:<id>              the same, with the content of an earlier frame (all codings undone) before it as a prefix
    sealed                  the owner's secret is needed; what opening needs besides lies in `_sealed`

Version 01 has no `enc`: its content is the text.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from lightfast.core.compression import zstd
from lightfast.core.errors import Denied, InvalidArgument, LightfastError
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.frame import RawFrame
from lightfast.storage.archive.records import Frame, NewFrame, Sealer

LEVEL = 6
MIN_ZSTD = 64
"""Shorter contents are not worth a try."""
MAX_DEPTH = 32
MAX_CONTENT = 1 << 30
MAX_METADATA = 16 << 20
MAX_KIND = 64
DEFAULT_KIND = "note"
DICTIONARY_KIND = "_dictionary"

_U32 = struct.Struct(">I")
_ENCODER = msgspec.json.Encoder()


class Damaged(Exception):
    """The content of a whole frame cannot be had; the reason says why."""

    def __init__(self, reason: str, *, locked: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.locked = locked


class Source(Protocol):
    """Where a frame lies, for what it needs from its neighbours."""

    def dictionary(self, name: str) -> Any:
        """Return a dictionary, made ready; raises `Damaged` if it is lost."""
        ...

    def plain(self, frame_id: str) -> bytes:
        """Return the content of another frame with all codings undone but the innermost; raises `Damaged`."""
        ...


def check(new: NewFrame) -> None:
    """Raise `InvalidArgument` for a frame that cannot be appended, or would not come back as it was."""
    if len(new.content) > MAX_CONTENT // (4 if isinstance(new.content, str) else 1):
        raise InvalidArgument(
            f"a content of {len(new.content):,} characters or bytes is too long: keep it as an asset", field="content"
        )
    kind = new.kind
    if kind != DEFAULT_KIND:
        _check_kind(kind)
    if not layout.MIN_TIME <= new.time_ms <= layout.MAX_TIME:
        raise InvalidArgument(f"time {new.time_ms} is no 64-bit number of milliseconds", field="time")
    if new.metadata:
        _check_metadata(new.metadata)


def _check_kind(kind: str) -> None:
    if not kind or len(kind) > MAX_KIND or kind[0] == "_" or not kind.isprintable():
        raise InvalidArgument(
            f"kind {kind[:MAX_KIND]!r}: use 1 to {MAX_KIND} printable characters, the first no underscore", field="kind"
        )


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    for name in metadata:
        if name[:1] == "_" or name == "enc":
            raise InvalidArgument(
                f"metadata {name!r}: names that begin with an underscore, and enc, are the archive's own",
                field="metadata",
            )
    _check_json(metadata, 0)


def _check_json(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"metadata is nested deeper than {MAX_DEPTH} levels: flatten it", field="metadata")
    if kind is float:
        if not math.isfinite(value):
            raise InvalidArgument(f"metadata holds {value}, for which JSON has no word", field="metadata")
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if type(name) is not str:
                raise InvalidArgument(f"metadata has the name {name!r}, which is no text", field="metadata")
            _check_json(one, depth + 1)
    elif kind is list or kind is tuple:
        for one in value:
            _check_json(one, depth + 1)
    else:
        raise InvalidArgument(f"metadata holds a {kind.__name__}: use what JSON can hold", field="metadata")


def dump(metadata: Mapping[str, Any]) -> bytes:
    """Return *metadata* as JSON; lone surrogates become escapes, so that it is UTF-8 in any case."""
    try:
        return _ENCODER.encode(metadata)
    except (UnicodeEncodeError, TypeError, OverflowError, ValueError):
        return json.dumps(metadata, ensure_ascii=True, separators=(",", ":"), default=dict).encode()


def load(data: layout.Buffer) -> dict[str, Any]:
    """Return metadata; raises `Damaged` if it is no JSON object."""
    try:
        found = msgspec.json.decode(data) if len(data) else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            found = json.loads(bytes(data))
        except ValueError as error:
            raise Damaged(f"the metadata is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Damaged("the metadata is no JSON object")
    return found


def load_own(raw: RawFrame) -> dict[str, Any]:
    """Return the metadata of a frame of this archive; raises `BrokenFrame` for one whose id is none of ours."""
    if not layout.is_id(raw.frame_id):
        raise layout.BrokenFrame("the id is none of this archive's: 16 lower-case hex digits")
    return load(raw.metadata)


def fresh(new: NewFrame, frame_id: str, time_ms: int, own: dict[str, Any], sealer: Sealer | None) -> tuple[bytes, int]:
    """Return a new frame as it is first written, not compressed, sealed if it is private, and its content's bytes.

    *own* are fields of the archive (`_number` and so on). Raises `Denied` (ARCHIVE_LOCKED) for a private frame
    while there is no secret.
    """
    if new.kind != DEFAULT_KIND:
        own["_kind"] = new.kind
    if not new.delta:
        own["_delta"] = False
    if new.request:
        own["_request"] = new.request
    content = new.content
    version, coding, data = layout.TEXT_VERSION, "utf8", b""
    if isinstance(content, str):
        try:
            data = content.encode()
        except UnicodeEncodeError:
            version, coding, data = layout.CODED_VERSION, "wtf8", content.encode("utf-8", "surrogatepass")
    else:
        version, coding, data = layout.CODED_VERSION, "raw", bytes(content)
    if new.private:
        return _sealed(new, frame_id, time_ms, own, coding, data, sealer)
    if version == layout.CODED_VERSION:
        own["enc"] = [coding]
    metadata = dump({**new.metadata, **own}) if new.metadata else _ENCODER.encode(own)
    if len(metadata) > MAX_METADATA:
        raise InvalidArgument(f"metadata of {len(metadata):,} bytes is too long: put it into the content")
    return layout.encode(version, frame_id.encode(), time_ms, data, metadata), len(data)


def _sealed(
    new: NewFrame, frame_id: str, time_ms: int, own: dict[str, Any], coding: str, data: bytes, sealer: Sealer | None
) -> tuple[bytes, int]:
    if sealer is None:
        raise Denied(
            "private frames need a secret: open them with 'lightfast archive unlock', or append it as an open frame",
            reason="ARCHIVE_LOCKED",
        )
    inner = dump(new.metadata)
    plain = _U32.pack(len(inner)) + inner + data
    codings = ["sealed", "box", coding]
    if len(plain) >= MIN_ZSTD:
        packed = zstd().compress(plain, LEVEL)
        if len(packed) < len(plain):
            plain, codings = packed, ["sealed", "zstd", "box", coding]
    sealed, fields = sealer.seal(plain, frame_id.encode(), new.metadata)
    own |= {"enc": codings, "_sealed": dict(fields), "_size": len(data)}
    return layout.encode(layout.CODED_VERSION, frame_id.encode(), time_ms, sealed, dump(own)), len(data)


def codings_of(raw: RawFrame, metadata: Mapping[str, Any]) -> list[str]:
    """Return the codings of a frame, outermost first."""
    if raw.version == layout.TEXT_VERSION:
        return ["utf8"]
    found = metadata.get("enc")
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise Damaged("the frame does not say how its content is coded")
    return found


def size_of(raw: RawFrame, metadata: Mapping[str, Any]) -> int:
    """Return the size of the content as it came, in bytes, without decoding it."""
    codings = codings_of(raw, metadata)
    if codings[0].partition(":")[0] in {"zstd", "delta"}:
        module = zstd()
        try:
            found = module.get_frame_info(raw.content).decompressed_size
        except module.ZstdError as error:
            raise Damaged(f"the content is no Zstandard frame: {error}") from None
        return int(found or 0)
    return int(metadata.get("_size", len(raw.content)))


def undo(raw: RawFrame, metadata: Mapping[str, Any], source: Source, sealer: Sealer | None) -> tuple[bytes, list[str]]:
    """Return the content with all codings undone but `box` and the last one, and what is left of the codings."""
    codings = codings_of(raw, metadata)
    data = bytes(raw.content)
    for at, coding in enumerate(codings):
        name, _, argument = coding.partition(":")
        if name in {"utf8", "wtf8", "raw", "box"}:
            return data, codings[at:]
        if name == "sealed":
            if sealer is None:
                raise Damaged("the frame is sealed, and there is no secret to open it with", locked=True)
            try:
                data = sealer.open(data, raw.frame_id.encode(), metadata.get("_sealed") or {})
            except LightfastError as error:
                raise Damaged(error.message, locked=isinstance(error, Denied)) from None
        elif name == "zstd":
            data = _expand(data, source.dictionary(argument) if argument else None)
        elif name == "delta":
            data = _expand(data, prefix(source.plain(argument)))
        else:
            raise Damaged(f"the coding {coding!r} is not known to this version")
    raise Damaged(f"the codings {codings} do not end in a kind of content")


def _expand(data: bytes, dictionary: Any) -> bytes:
    module = zstd()
    try:
        return bytes(module.decompress(data, zstd_dict=dictionary))
    except (module.ZstdError, ValueError, EOFError) as error:
        raise Damaged(f"the content cannot be decompressed: {error}") from None


def prefix(base: bytes) -> Any:
    """Return *base* as what stands before a content, for zstd."""
    return zstd().ZstdDict(base or b"\0", is_raw=True).as_prefix


def ready_dictionary(data: bytes) -> Any:
    """Return a dictionary for zstd from its bytes."""
    return zstd().ZstdDict(data)


def decode(raw: RawFrame, number: int, source: Source, sealer: Sealer | None = None) -> Frame:
    """Return the frame as it was appended; raises `Damaged`."""
    own = load(raw.metadata)
    data, codings = undo(raw, own, source, sealer)
    metadata = {name: value for name, value in own.items() if name[:1] != "_" and name != "enc"}
    if codings[0] == "box":
        inner, data = unbox(data)
        metadata = load(inner)
    return Frame(
        raw.frame_id,
        number,
        to_content(data, codings[-1]),
        own.get("_kind", DEFAULT_KIND),
        raw.time_ms,
        metadata,
        private="_sealed" in own,
    )


def unbox(data: bytes) -> tuple[bytes, bytes]:
    """Return metadata and content of a box."""
    if len(data) < _U32.size:
        raise Damaged("the box of a private frame is too short")
    length = _U32.unpack_from(data)[0]
    return data[4 : 4 + length], data[4 + length :]


def to_content(data: bytes, coding: str) -> str | bytes:
    """Return the content from its bytes."""
    if coding == "raw":
        return data
    try:
        return data.decode("utf-8", "surrogatepass" if coding == "wtf8" else "strict")
    except UnicodeDecodeError as error:
        raise Damaged(f"the text is no UTF-8: {error.reason} at byte {error.start}") from None


Decode = Callable[[RawFrame, int], Frame]
