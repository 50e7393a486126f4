"""Migration: every earlier layout becomes the newest one, and what is not packed yet is packed.

The source's first layout was a file `frames/<id>.json` for each frame: `{"content", "timestamp", "memory_type",
"metadata"}`. Its second is frames of version 01 back to back, without numbers. Both are taken in, checked, and only
then deleted; what cannot be read stays where it is, and is named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.core.errors import InvalidArgument
from lightfast.storage.archive import codec, pack, transfer
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive import stock as limits
from lightfast.storage.archive.leftovers import INCOMING
from lightfast.storage.archive.progress import Progress, quietly, told
from lightfast.storage.archive.records import OWN_KINDS, Damage, NewFrame
from lightfast.storage.archive.segment import Segment

if TYPE_CHECKING:
    from lightfast.storage.archive.stock import Stock

JSON_FOLDER = "frames"
BATCH = 256
Steps = Generator[Progress, None, None]


def migrate(stock: Stock, *, dry: bool) -> Steps:
    """Bring the archive to the newest layout; *dry* only counts. A job of the writer thread."""
    if not dry:
        stock.check_writable()
    old = sorted((stock.root / JSON_FOLDER).glob("*.json"))
    incoming = sorted((stock.root / INCOMING).glob("*.frames"))
    groups = _to_pack(stock)
    tail = stock.view.tail_count
    total = len(old) + sum(one.info.frames for group in groups for one in group) + tail
    yield Progress(total_frames=total, changed=0)
    if dry:
        yield Progress(total_frames=total, changed=total, done=True)
        return
    done = changed = 0
    for begin in range(0, len(old), BATCH):
        batch = old[begin : begin + BATCH]
        taken, damage = yield from _json_files(stock, batch)
        done += len(batch)
        changed += taken
        yield Progress(frames=done, total_frames=total, changed=changed, damage=tuple(damage))
    for path in incoming:
        taken, damage = yield from _frames_file(stock, path)
        done += taken
        changed += taken
        yield Progress(frames=done, total_frames=max(total, done), changed=changed, damage=tuple(damage))
    if stock.view.tail_count:
        stock.seal()
    for group in _to_pack(stock):
        begun, was = done, changed
        count = 0

        def tell(step: int, begun: int = begun, was: int = was) -> Progress:
            nonlocal count
            count += step
            return Progress(frames=begun + count, total_frames=max(total, begun + count), changed=was + count)

        result = yield from told(pack.rewrite(stock, group), tell)
        done, changed = done + sum(segment.info.frames for segment in group), changed + count
        if result.damage:
            yield Progress(frames=done, total_frames=max(total, done), changed=changed, damage=tuple(result.damage))
    yield Progress(frames=done, total_frames=max(total, done), changed=changed, done=True)


def _to_pack(stock: Stock) -> list[list[Segment]]:
    """Return what is to be written anew: unpacked segments, each with small neighbours of its month."""
    groups: list[list[Segment]] = []
    months: dict[str, list[Segment]] = {}
    for segment in stock.view.segments:
        months.setdefault(segment.info.shard, []).append(segment)
    for segments in months.values():
        group: list[Segment] = []
        frames = length = 0
        for segment in segments:
            info = segment.info
            raw = sum(kind[1] for kind in info.kinds.values())
            if group and (frames + info.frames > limits.MAX_TAIL_FRAMES or length + raw > limits.MAX_TAIL_LENGTH):
                groups.append(group)
                group, frames, length = [], 0, 0
            group.append(segment)
            frames += info.frames
            length += raw
        groups.append(group)
    return [group for group in groups if len(group) > 1 or not group[0].info.packed]


# ---- the source's layouts


def _json_files(stock: Stock, paths: Sequence[Path]) -> Generator[Progress, None, tuple[int, list[Damage]]]:
    frames: list[layout.RawFrame] = []
    readable: list[Path] = []
    damage: list[Damage] = []
    for path in paths:
        name = f"{JSON_FOLDER}/{path.name}"
        try:
            data = path.read_bytes()
            frames.append(layout.parse(from_json(path.stem, data)))
            readable.append(path)
        except (ValueError, OSError, InvalidArgument) as error:
            damage.append(Damage(name, 0, path.stat().st_size, f"no frame of the source: {error}", "", "it was left"))
    taken, _, refused = yield from quietly(transfer.adopt(stock, frames))
    damage += [
        Damage(f"{JSON_FOLDER}/{one.frame_id}.json", 0, 0, one.reason, one.frame_id, "it was left") for one in refused
    ]
    left = {one.frame_id for one in refused}
    for path, raw in zip(readable, frames, strict=True):
        if raw.frame_id not in left and stock.reader().get(raw.frame_id) is not None:
            path.unlink()
    return len(taken), damage


def from_json(frame_id: str, data: bytes) -> bytes:
    """Return a frame of version 01 (02 for text with lone surrogates) from a JSON file of the source.

    Raises `ValueError` or `InvalidArgument` for what is no such file. A time without a zone is taken as UTC; a number
    over 10¹¹ is in milliseconds, a smaller one in seconds.
    """
    found = json.loads(data)
    if not isinstance(found, dict) or not isinstance(found.get("content"), str):
        raise ValueError("there is no content")  # noqa: TRY004  # it is the value that is wrong
    frame_id = str(found.get("id") or found.get("frame_id") or frame_id)
    if not layout.is_id(frame_id):
        raise ValueError(f"the id {frame_id[:64]!r} is not 16 hex digits")
    metadata = found.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is no object")  # noqa: TRY004  # the same
    metadata = {name if name[:1] != "_" and name != "enc" else f"source{name}": one for name, one in metadata.items()}
    kind = str(found.get("memory_type") or codec.DEFAULT_KIND)
    if kind in OWN_KINDS:
        metadata["memory_type"], kind = kind, codec.DEFAULT_KIND
    new = NewFrame(found["content"], kind, time_of(found.get("timestamp")), metadata)
    codec.check(new)
    return codec.fresh(new, frame_id, new.time_ms, {}, None)[0]


def time_of(value: Any) -> int:
    """Return a time of the source in ms since 1970."""
    if isinstance(value, bool) or value is None:
        raise ValueError("there is no timestamp")  # the same
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"the timestamp {value} is no time")
        return round(value) if abs(value) > 1e11 else round(value * 1000)
    moment = datetime.fromisoformat(value)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _frames_file(stock: Stock, path: Path) -> Generator[Progress, None, tuple[int, list[Damage]]]:
    importer = transfer.Importer()
    count, damage = 0, []
    with path.open("rb") as file:
        while True:
            piece = file.read(1 << 20)
            frames = importer.feed(piece) if piece else importer.finish()
            taken, _, refused = yield from quietly(transfer.adopt(stock, frames))
            count += len(taken)
            damage += refused
            if not piece:
                break
    damage += importer.damage
    name = f"{INCOMING}/{path.name}"
    damage = [Damage(name, one.offset, one.length, one.reason, one.frame_id, "it was left") for one in damage]
    if not damage:
        path.unlink()
    return count, damage
