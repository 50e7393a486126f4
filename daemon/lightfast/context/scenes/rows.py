"""The rows of scenes: what is read runs in a reader thread, what is written goes into one unit of work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from lightfast.context.scenes.follow import Moved
from lightfast.context.scenes.records import Scene
from lightfast.storage.database import Unit

_TABLES = ("scenes", "scene_blocks", "scene_assets")


def versions(connection: Any) -> list[Scene]:
    """Return every version of every scene, ordered by name and version."""
    query = "SELECT body FROM scenes ORDER BY name, version"
    return [msgspec.json.decode(body, type=Scene) for (body,) in connection.execute(query)]


def blocks(connection: Any, name: str, version: int) -> list[bytes]:
    """Return the blocks of one version, in their order."""
    query = "SELECT body FROM scene_blocks WHERE name = ? AND version = ? ORDER BY block"
    return [bytes(body) for (body,) in connection.execute(query, (name, version))]


def moves(connection: Any, after: int) -> list[Moved]:
    """Return what was moved after the revision *after*, in its order."""
    query = (
        "SELECT json_group_array(json_array(revision, source, target, object)) FROM"
        " (SELECT revision, source, target, object FROM scene_moves WHERE revision > ? ORDER BY row)"
    )
    for (text,) in connection.execute(query, (after,)):
        return [Moved(*row) for row in msgspec.json.decode(text)]
    return []


def assets(connection: Any) -> list[str]:
    """Return the SHA-256 of every asset that a scene holds."""
    return [sha256 for (sha256,) in connection.execute("SELECT DISTINCT sha256 FROM scene_assets")]


def save(unit: Unit, scene: Scene, packed: Sequence[bytes], sha256s: Iterable[str]) -> None:
    """Write one version, over one of the same number."""
    drop(unit, scene.name, scene.version)
    body = msgspec.json.encode(scene).decode()
    unit.execute("INSERT INTO scenes(name, version, body) VALUES(?, ?, ?)", (scene.name, scene.version, body))
    unit.insert(
        "INSERT INTO scene_blocks(name, version, block, body) VALUES(?, ?, ?, ?)",
        [(scene.name, scene.version, number, block) for number, block in enumerate(packed)],
    )
    unit.insert(
        "INSERT INTO scene_assets(name, version, sha256) VALUES(?, ?, ?)",
        [(scene.name, scene.version, sha256) for sha256 in sorted(set(sha256s))],
    )


def drop(unit: Unit, name: str, version: int) -> None:
    """Delete one version."""
    for table in _TABLES:
        unit.execute(f"DELETE FROM {table} WHERE name = ? AND version = ?", (name, version))  # noqa: S608  (constants)
