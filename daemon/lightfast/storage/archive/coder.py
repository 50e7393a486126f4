"""Chooses how each frame of a segment is stored: plain, compressed, or as the difference to another.

A coding is used only where it pays, its own metadata counted in. Dictionaries belong to one segment and one kind:
they are trained on what they compress, so that a segment can be read without any other file, and nothing of a
frame that is purged stays behind in the dictionary of another segment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.compression import zstd
from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.similar import Base, Recent

LEVEL = 3
"""With a dictionary: higher levels take longer and gain nothing on short contents."""
MIN_SAMPLES = 200
MIN_SAMPLES_SIZE = 32 << 10
MAX_SAMPLES = 2000
MAX_SAMPLE = 8 << 10
MAX_DICTIONARY = 16 << 10
GAIN = 0.9
"""A coding must leave at most this of the size."""
STEP = 32
"""Frames between two steps of the job."""


@dataclass(slots=True)
class Item:
    """A frame to be stored: its content with the outer codings undone, or (*verbatim*) as it is."""

    number: int
    frame_id: str
    time_ms: int
    kind: str
    own: dict[str, Any]
    data: bytes
    codings: list[str]
    private: bool = False
    verbatim: bool = False
    size: int = 0


@dataclass(slots=True)
class Dictionary:
    """A dictionary of one kind of frame, with what compresses by it."""

    name: str
    data: bytes
    compress: Callable[[bytes], bytes]


@dataclass(slots=True)
class Coder:
    """Makes the frames of one segment; *delta* and *dictionaries* can be left out, to see what they gain."""

    delta: bool = True
    with_dictionaries: bool = True
    dictionaries: dict[str, Dictionary] = field(default_factory=dict)
    _recent: Recent = field(default_factory=Recent)

    def learn(self, items: Sequence[Item]) -> Iterator[None]:
        """Train the dictionaries, where there is enough to learn from and they pay."""
        kinds: dict[str, list[bytes]] = {}
        if self.with_dictionaries:
            for item in items:
                if not item.verbatim and codec.MIN_ZSTD <= len(item.data) <= MAX_SAMPLE:
                    kinds.setdefault(item.kind, []).append(item.data)
        for kind, samples in kinds.items():
            if len(samples) >= MIN_SAMPLES and sum(map(len, samples)) >= MIN_SAMPLES_SIZE:
                step = max(len(samples) // MAX_SAMPLES, 1)
                found = train(str(len(self.dictionaries) + 1), samples[::step], len(samples))
                if found is not None:
                    self.dictionaries[kind] = found
            yield

    def encode(self, item: Item) -> bytes:
        """Return the bytes of a frame."""
        own = item.own
        own.pop("enc", None)
        own.pop("_size", None)
        own["_number"] = item.number
        if item.verbatim:
            own["enc"] = item.codings
            own["_size"] = item.size
            return layout.encode(layout.CODED_VERSION, item.frame_id.encode(), item.time_ms, item.data, codec.dump(own))
        content, codings, depth = self._smallest(item)
        if self.delta:
            self._recent.add(item.kind, Base(item.frame_id, item.data, depth))
        version = layout.TEXT_VERSION
        if codings != ["utf8"]:
            own["enc"] = codings
            version = layout.CODED_VERSION
        return layout.encode(version, item.frame_id.encode(), item.time_ms, content, codec.dump(own))

    def _smallest(self, item: Item) -> tuple[bytes, list[str], int]:
        """Return the content in the coding that takes least, the codings, and how deep the chain of deltas is."""
        data, plain = item.data, item.codings
        limit = int(len(data) * GAIN)
        best: tuple[int, bytes, list[str], int] = (limit, data, plain, 0)
        if len(data) >= codec.MIN_ZSTD:
            dictionary = self.dictionaries.get(item.kind)
            name = f"zstd:{dictionary.name}" if dictionary else "zstd"
            packed = dictionary.compress(data) if dictionary else bytes(zstd().compress(data, codec.LEVEL))
            cost = len(packed) + _overhead(name)
            if cost < best[0]:
                best = (cost, packed, [name, *plain], 0)
        if self.delta and item.own.get("_delta", True):
            found = self._recent.best(item.kind, data)
            if found is not None:
                base, patch = found
                name = f"delta:{base.frame_id}"
                cost = len(patch) + _overhead(name)
                if cost < best[0]:
                    best = (cost, patch, [name, *plain], base.depth + 1)
        return best[1], best[2], best[3]


def _overhead(name: str) -> int:
    """Return how many bytes of metadata a coding takes: `,"enc":["…","utf8"]`."""
    return len(name) + 18


def train(name: str, samples: Sequence[bytes], count: int) -> Dictionary | None:
    """Return a dictionary made of *samples*, which stand for *count* contents, if it saves twice what it takes."""
    module = zstd()
    size = min(MAX_DICTIONARY, max(sum(map(len, samples)) // 20, 1024))
    try:
        trained = module.train_dict(samples, size)
    except (module.ZstdError, ValueError):  # the samples have too little in common, or are too few
        return None
    compressor = module.ZstdCompressor(LEVEL, zstd_dict=module.ZstdDict(trained.dict_content).as_digested_dict)
    mode = compressor.FLUSH_FRAME

    def compress(data: bytes) -> bytes:
        return bytes(compressor.compress(data, mode))

    tried = samples[:: max(len(samples) // 100, 1)]
    saved = sum(len(module.compress(one, LEVEL)) - len(compress(one)) for one in tried) / len(tried) * count
    content = bytes(trained.dict_content)
    return Dictionary(name, content, compress) if saved > 4 * len(content) else None


def dictionary_frame(dictionary: Dictionary, time_ms: int) -> bytes:
    """Return a dictionary as a frame; it has no number, and its id is of its content alone."""
    frame_id = hashlib.sha256(dictionary.data).hexdigest()[:16]
    own = {"_kind": codec.DICTIONARY_KIND, "_name": dictionary.name, "enc": ["raw"]}
    return layout.encode(layout.CODED_VERSION, frame_id.encode(), time_ms, dictionary.data, codec.dump(own))
