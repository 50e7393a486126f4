"""Checks of paths and values before anything runs, by what the world says of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.context.declarations import conform
from lightfast.context.entry import Declaration
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.engine.operations.built import is_open
from lightfast.sdk import EVERYTHING, Mistake, World
from lightfast_link.path import check_path, compile_pattern, is_under
from lightfast_link.value import Asset, Value, check_value

if TYPE_CHECKING:
    from lightfast.engine.operations.rooms import OperationRooms

_ASSET = re.compile(r"asset:([0-9a-f]{64})")
_RESERVED = "/lightfast"


def subtree(path: Any) -> tuple[str, ...]:
    """Return the patterns of *path* and all below it; everything while it is not known."""
    return EVERYTHING if is_open(path) or not isinstance(path, str) else (path, path.rstrip("/") + "//")


def single(path: Any) -> tuple[str, ...]:
    """Return the pattern of *path* alone; everything while it is not known."""
    return EVERYTHING if is_open(path) or not isinstance(path, str) else (path,)


def _malformed(check: Callable[[Any], object], text: Any, reason: str, field: str) -> list[Mistake]:
    try:
        check(text)
    except ValueError as error:
        return [Mistake(reason, str(error), field)]
    return []


def check_readable(path: Any, world: World, field: str) -> list[Mistake]:
    """Return what is wrong with a path that is read; that nothing is there now is a warning."""
    if is_open(path):
        return []
    if wrong := _malformed(check_path, path, "PATH_INVALID", field):
        return wrong
    if world.has(path):
        return []
    return [Mistake("PATH_EMPTY", f"there is nothing at {path} now.{_near(path, world)}", field, warning=True)]


def check_pattern(pattern: Any, field: str) -> list[Mistake]:
    """Return what is wrong with a pattern."""
    return [] if is_open(pattern) else _malformed(compile_pattern, pattern, "PATTERN_INVALID", field)


def check_writable(path: Any, world: World, field: str) -> list[Mistake]:
    """Return why *path* cannot be written: no path, read-only, or not known to the application it lies under."""
    if is_open(path):
        return []
    if wrong := _malformed(check_path, path, "PATH_INVALID", field):
        return wrong
    if is_under(path, _RESERVED):
        return [Mistake("READ_ONLY", f"{path} can only be read: it is what the daemon tells", field)]
    declared = world.declared(path)
    if declared is not None and declared.access == "r":
        return [Mistake("READ_ONLY", f"{path} can only be read: an application reports it", field)]
    mount = next((mount for mount in world.mounts() if path != mount and is_under(path, mount)), "")
    if mount and declared is None and not world.has(path):
        told = f"{path} is not known: the application at {mount} has no such path.{_near(path, world)}"
        return [Mistake("PATH_UNKNOWN", told, field)]
    return []


def check_given(path: Any, value: Any, world: World, field: str) -> list[Mistake]:
    """Return why *value* does not fit what is declared of *path*."""
    if value is None:
        return [Mistake("VALUE_INVALID", "there is no value null: use context.delete to take an entry away", field)]
    if is_open(path) or is_open(value):
        return []
    if isinstance(value, str) and _ASSET.fullmatch(value):
        return []  # what it is, is looked up when it is written
    declared = world.declared(path)
    try:
        fitted = fit(value, declared)
        if isinstance(declared, Declaration):
            conform(declared, path, fitted)
    except LightfastError as error:
        return [Mistake(error.reason, error.message, field)]
    return []


def fit(value: Any, declared: Any) -> Value:
    """Return what JSON gave as a value: numbers in a list are a vector where one is declared.

    Raises `InvalidArgument` (VALUE_INVALID).
    """
    if declared is not None and declared.kind == "vector" and isinstance(value, list | tuple):
        if not all(type(item) in (int, float) for item in value):
            raise InvalidArgument(f"{value!r:.60} is no vector: use a list of numbers", reason="VALUE_INVALID")
        return tuple(float(item) for item in value)
    if declared is not None and declared.kind == "double" and type(value) is int:
        return float(value)
    try:
        return check_value(value, "value")
    except ValueError as error:
        raise InvalidArgument(str(error), reason="VALUE_INVALID", field="arguments.value") from None


async def real(rooms: OperationRooms, value: Any) -> Any:
    """Return *value* with the addresses of assets (`asset:SHA256`) replaced by the assets, however deep.

    Raises `NotFound` for one that is not stored.
    """
    if isinstance(value, str):
        found = _ASSET.fullmatch(value)
        return value if found is None else await asset(rooms, found[1])
    if isinstance(value, Mapping):
        return {name: await real(rooms, item) for name, item in value.items()}
    if isinstance(value, list):
        return [await real(rooms, item) for item in value]
    return value


async def asset(rooms: OperationRooms, sha256: str) -> Asset:
    """Return a stored asset; raises `NotFound`."""
    record = await rooms.gateway.blobs.get(sha256)
    return Asset(record.uri, record.media_type, record.sha256, record.size)


def asset_id(value: Any) -> str:
    """Return the SHA-256 that *value* names: an asset, its map, or its address; raises `InvalidArgument`."""
    if isinstance(value, Asset):
        return value.sha256
    if isinstance(value, Mapping) and isinstance(value.get("sha256"), str):
        return str(value["sha256"])
    text = value.removeprefix("asset:") if isinstance(value, str) else ""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise InvalidArgument(f"{value!r:.80} is no asset: use asset:SHA256", reason="ASSET_INVALID")
    return text


def _near(path: str, world: World) -> str:
    suggest = getattr(world, "suggest", None)  # more than the port asks for
    found: str = suggest(path) if suggest is not None else ""
    return found


def each(given: Any) -> Sequence[Any]:
    """Return the items of a list argument; none where it is not given, or not known yet."""
    return given if isinstance(given, list | tuple) else ()
