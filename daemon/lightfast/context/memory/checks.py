"""What a memory may be: bounds and forms, refused by the name of the field."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

import msgspec

from lightfast.context.memory.records import FOREVER, Kind, NewMemory, NewRelation, Question
from lightfast.core.errors import InvalidArgument
from lightfast_link.value import Value, check_value, to_json

MAX_TEXT = 1 << 20
"""Bytes of a text in UTF-8."""
MAX_NAME = 1000
"""Characters of a subject, an object, a source, a reason."""
MAX_KEY = 200
MAX_TAGS = 64
MAX_TAG = 100
MAX_METADATA = 64 << 10
"""Bytes of the metadata as JSON."""
MAX_QUERY = 10_000
MAX_SUBJECTS = 100
MAX_DEPTH = 4
MAX_FORGET = 1000
EARLIEST = -9_000_000_000_000_000_000
"""Valid times lie between the years 1684 and 2255, as all times of the store."""

_IDS = re.compile(r"(memory|relation)-[0-9a-z]{16}")


def check_memory(new: NewMemory, now: int) -> None:
    """Raise `InvalidArgument` for what cannot be remembered."""
    if new.kind is Kind.NONE:
        raise InvalidArgument("kind is missing: a memory is a note or a fact", field="kind")
    _text(new.text, "text", MAX_TEXT, in_bytes=True)
    if new.key:
        _text(new.key, "key", MAX_KEY)
        if _IDS.fullmatch(new.key):
            raise InvalidArgument(f"the key {new.key} looks like an identity: choose another name", field="key")
    check_tags(new.tags)
    _common(new, now)


def check_relation(new: NewRelation, now: int) -> None:
    """Raise `InvalidArgument` for what cannot be related."""
    _text(new.subject, "subject", MAX_NAME)
    _text(new.predicate, "predicate", MAX_NAME)
    _text(new.object, "object", MAX_NAME)
    _common(new, now)


def check_question(question: Question) -> None:
    """Raise `InvalidArgument` for what cannot be asked."""
    if question.query:
        _plain(question.query, "query", MAX_QUERY)
    check_tags(question.tags)
    if len(question.subjects) > MAX_SUBJECTS:
        raise InvalidArgument(f"there are more than {MAX_SUBJECTS} subjects", field="subjects")
    for subject in question.subjects:
        _text(subject, "subjects", MAX_NAME)
    if not 0 <= question.depth <= MAX_DEPTH:
        raise InvalidArgument(f"depth is {question.depth}: a walk goes 0 to {MAX_DEPTH} relations far", field="depth")
    if question.valid is not None:
        check_time(question.valid, "as_of_valid")
    if question.known is not None:
        check_time(question.known, "as_of_record")


def check_forget(memories: Sequence[str], relations: Sequence[str], valid_to: int | None, reason: str) -> None:
    """Raise `InvalidArgument` for what cannot be forgotten."""
    if not memories and not relations:
        raise InvalidArgument("name the memories or relations to forget", field="memories")
    if len(memories) + len(relations) > MAX_FORGET:
        raise InvalidArgument(f"more than {MAX_FORGET} at once: send several requests", field="memories")
    if valid_to is not None:
        check_time(valid_to, "valid_to")
    check_words(reason, "reason")


def check_words(text: str, field: str) -> None:
    """Raise `InvalidArgument` for a text, which may be empty, that is too long to keep."""
    if text:
        _plain(text, field, MAX_NAME)


def check_tags(tags: Sequence[str]) -> None:
    """Raise `InvalidArgument` for tags that are too many, too long, empty or double."""
    if len(tags) > MAX_TAGS:
        raise InvalidArgument(f"there are {len(tags)} tags, the most is {MAX_TAGS}", field="tags")
    for tag in tags:
        _text(tag, "tags", MAX_TAG)
    if len(set(tags)) < len(tags):
        raise InvalidArgument("a tag is given twice", field="tags")


def check_time(time: int, field: str) -> None:
    """Raise `InvalidArgument` for a time that cannot be kept."""
    if not EARLIEST <= time <= -EARLIEST:
        raise InvalidArgument(f"{field} lies outside the years 1684 to 2255", field=field)


def _common(new: NewMemory | NewRelation, now: int) -> None:
    for name, number in (("strength", new.strength), ("confidence", new.confidence)):
        if number is not None and not (math.isfinite(number) and 0.0 <= number <= 1.0):
            raise InvalidArgument(f"{name} is {number:g}: it goes from 0 to 1", field=name)
    check_words(new.source, "source")
    if new.valid_from is not None:
        check_time(new.valid_from, "valid_from")
    if new.valid_to != FOREVER:
        check_time(new.valid_to, "valid_to")
    begin = now if new.valid_from is None else new.valid_from
    if new.valid_to <= begin:
        why = "it begins now, because valid_from is not given" if new.valid_from is None else "it begins then or later"
        raise InvalidArgument(f"valid_to does not come after valid_from: {why}", field="valid_to")
    try:
        check_value(dict(new.metadata), "metadata")
    except ValueError as error:
        raise InvalidArgument(str(error), field="metadata", reason="VALUE_INVALID") from None
    if len(metadata_text(new.metadata).encode()) > MAX_METADATA:
        raise InvalidArgument(f"metadata takes more than {MAX_METADATA} bytes as JSON: use an asset", field="metadata")


def _text(text: str, field: str, most: int, *, in_bytes: bool = False) -> None:
    if not text or text.isspace():
        raise InvalidArgument(f"{field} is empty", field=field)
    _plain(text, field, most, in_bytes=in_bytes)


def _plain(text: str, field: str, most: int, *, in_bytes: bool = False) -> None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{field} holds a lone surrogate, which is not Unicode text", field=field) from None
    size = len(encoded) if in_bytes else len(text)
    if size > most:
        unit = "bytes: keep it as an asset, and what it says here" if in_bytes else "characters"
        raise InvalidArgument(f"{field} has {size:,} {unit}; the most is {most:,}", field=field)
    if "\0" in text:
        raise InvalidArgument(f"{field} holds a NUL", field=field)


def metadata_text(metadata: Mapping[str, Value]) -> str:
    """Return *metadata* as JSON, always in the same order."""
    plain = {name: to_json(value) for name, value in sorted(metadata.items())}
    return msgspec.json.encode(plain).decode() if plain else ""


def memory_identity(key: str, kind: Kind, text: str) -> bytes:
    """Return what makes a memory the same one again: its key, or else its kind and exact text."""
    return b"k" + key.encode() if key else b"t%d" % kind + _digest(text)


def relation_identity(subject: str, predicate: str, thing: str) -> bytes:
    """Return what makes a relation the same one again: its three names."""
    return b"r" + _digest(subject, predicate, thing)


def key_form(key: str) -> str:
    """Return what two keys have in common that differ only in case, in the form of their characters, or in separators.

    `Project.Tempo`, `project tempo` and `project_tempo` are one; a store full of such twins is what a memory rots by.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", key).casefold())
    return re.sub(r"[\W_]+", " ", folded).strip() or folded


def _digest(*texts: str) -> bytes:
    found = hashlib.blake2b(digest_size=16, person=b"lightfast memory")
    for text in texts:
        data = text.encode()
        found.update(len(data).to_bytes(4, "big") + data)
    return found.digest()
