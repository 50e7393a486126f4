"""Noise for the doors of the link: LIGHTFAST_FUZZ_SECONDS says how long, LIGHTFAST_FUZZ_SEED repeats a run."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Any

SECONDS = float(os.environ.get("LIGHTFAST_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("LIGHTFAST_FUZZ_SEED", str(random.randrange(1 << 32))))
TYPES = [
    "hello",
    "state",
    "applied",
    "rejected",
    "progress",
    "result",
    "error",
    "bye",
    "ping",
    "pong",
    "auth_start",
    "auth_proof",
    "auth_ok",
    "welcome",
    "apply",
    "asset_begin",
    "asset_chunk",
    "asset_end",
    "asset_get",
    "asset_ack",
    "asset_failed",
    "nonsense",
]
NAMES = [
    "id",
    "sequence",
    "changes",
    "wishes",
    "path",
    "value",
    "event_time",
    "object_id",
    "moved_from",
    "fraction",
    "message",
    "reason",
    "versions",
    "stream",
    "app",
    "instance_id",
    "parameters",
    "commands",
    "offset",
    "sha256",
    "name",
    "media_type",
    "nonce",
    "proof",
    "synced",
    "pid",
    "generation",
]


def anything(source: random.Random, depth: int = 0) -> Any:
    """Return any JSON, now and then something nearly right."""
    kind = source.randrange(12 if depth < 4 else 8)
    if kind == 0:
        return source.choice([None, True, False])
    if kind == 1:
        return source.choice([0, 1, -1, 1 << 31, 1 << 63, 1 << 64, 10**30, 1e308, 0.5])
    if kind == 2:
        return source.choice(["", "a", "a/b", "/a", "..", "\x00", "\ud7ff", "ä" * 5, "x" * 2000, "nan", "00" * 32])
    if kind < 8:
        return source.randrange(20)
    if kind < 10:
        return [anything(source, depth + 1) for _ in range(source.randrange(4))]
    names = source.sample([*NAMES, "$v", "$m", "$b", "$f", "$a"], source.randrange(4))
    return {name: anything(source, depth + 1) for name in names}


def message(source: random.Random) -> list[bytes]:
    """Return parts: noise, or a frame with noise in it."""
    kind = source.randrange(6)
    if kind == 0:
        return [source.randbytes(source.randrange(50)) for _ in range(source.randrange(1, 12))]
    name = source.choice(TYPES).encode()
    if kind == 1:
        return [name, source.randbytes(source.randrange(200))]
    header = {field: anything(source) for field in source.sample(NAMES, source.randrange(6))}
    if kind == 2 and name == b"state":
        header = {"sequence": source.randrange(100), "changes": [anything(source) for _ in range(3)]}
    text = json.dumps(header).encode()
    if kind == 3:
        text = text[: source.randrange(len(text))]
    blobs = [source.randbytes(source.randrange(100)) for _ in range(source.randrange(3))]
    return [name, text, *blobs]


def trouble() -> list[dict[str, Any]]:
    """Return a list that fills with what callbacks of the loop raise."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    return found
