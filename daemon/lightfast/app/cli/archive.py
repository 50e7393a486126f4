"""archive stats, verify, repair, migrate, export, import: care of the archive."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import archive_clusters, archive_search, times, vault
from lightfast.app.cli.archive_rooms import Room, room
from lightfast.app.cli.progress import Bar
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, arguments_told, fail, say, table

archive = typer.Typer(no_args_is_help=True, help="The archive: what it holds, its health, its private frames.")
archive.registered_commands += archive_search.app.registered_commands
archive.registered_commands += archive_clusters.app.registered_commands
archive.registered_commands += vault.app.registered_commands

Folder = Annotated[Path | None, typer.Option("--folder", help="Work on the archive in this folder, without a daemon.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
PIECE = 1 << 20


@archive.command()
def stats(folder: Folder = None) -> None:
    """Show what the archive holds, by month and by kind."""
    with room(CURRENT, folder) as place:
        message = place.stats()
    CURRENT.show(message, _stats)


def _stats(message: dict[str, Any]) -> None:
    say(
        f"{_number(message, 'frames')} frames in {_number(message, 'chunks')} chunks"
        f" ({_number(message, 'waiting')} in none yet), {_size(message.get('bytes'))} of"
        f" {_size(message.get('quota_bytes'))}; {_number(message, 'private_frames')} private,"
        f" {_number(message, 'tombstones')} purged"
    )
    table(
        ("MONTH", "FRAMES", "SIZE"),
        ((one["name"], _number(one, "frames"), _size(one.get("bytes"))) for one in message.get("shards", [])),
        "The archive is empty.",
    )
    kinds = [
        (one["name"], _number(one, "frames"), _size(one.get("raw_bytes")), _size(one.get("bytes")), _ratio(one))
        for one in message.get("kinds", [])
    ]
    if kinds:
        table(("KIND", "FRAMES", "AS IT CAME", "STORED", ""), kinds, "")
    for line in message.get("lost", []):
        say(f"lost, as a repair told: {line}")
    for name in message.get("incoming", []):
        fail(f"not known to the archive: {name}; 'lightfast archive migrate' takes it in")
    for line in message.get("damage", []):
        fail(f"damaged: {line}")


@archive.command()
def verify(
    months: Annotated[list[str] | None, typer.Argument(metavar="[YYYY/MM]...", help="Only these months.")] = None,
    folder: Folder = None,
) -> None:
    """Check every frame; 1 where damage is found."""
    with room(CURRENT, folder) as place:
        found = _work(place, "VerifyArchive", {"shards": months or []}, "checked", sizes=True)
    if not CURRENT.as_json:
        say(f"{_number(found, 'frames')} frames checked, {found['damaged'] or 'no'} damaged places")
    if found["damaged"]:
        raise typer.Exit(EXIT_FAILED)


@archive.command()
def repair(dry: Dry = False, folder: Folder = None) -> None:
    """Set aside what is damaged, and rebuild what can be; 1 where frames are lost."""
    with room(CURRENT, folder) as place:
        found = _work(place, "RepairArchive", {"validate_only": dry}, "looked at", sizes=True)
    if not CURRENT.as_json:
        would = "would be " if dry else ""
        say(f"{_number(found, 'kept')} frames {would}kept, {_number(found, 'lost')} lost")
    if int(found.get("lost", 0)):
        raise typer.Exit(EXIT_FAILED)


@archive.command()
def migrate(dry: Dry = False, folder: Folder = None) -> None:
    """Bring everything to the newest layout, in the form that takes least room."""
    with room(CURRENT, folder) as place:
        found = _work(place, "MigrateArchive", {"validate_only": dry}, "migrated", sizes=False)
    if not CURRENT.as_json:
        say(f"{_number(found, 'migrated')} frames {'would be ' if dry else ''}written anew")
    if found["damaged"]:
        raise typer.Exit(EXIT_FAILED)


def _work(place: Room, method: str, fields: dict[str, Any], what: str, *, sizes: bool) -> dict[str, Any]:
    """Follow long work; return its last message, with the number of damaged places."""
    last: dict[str, Any] = {}
    damaged = 0
    done, total = ("done_bytes", "total_bytes") if sizes else ("done_frames", "total_frames")
    with Bar(what, CURRENT, sizes=sizes) as bar:
        for message in place.steps(method, fields):
            bar.at(int(message.get(done, 0)), int(message.get(total, 0)))
            if CURRENT.as_json:
                CURRENT.show(message, lambda _: None)
            for one in message.get("damage", []):
                damaged += 1
                if not CURRENT.as_json:
                    fail(_damage(one))
            last = message
    return {**last, "damaged": damaged}


def _damage(one: dict[str, Any]) -> str:
    frame = f" (frame {one['frame_id']})" if one.get("frame_id") else ""
    remedy = f"; {one['remedy']}" if one.get("remedy") else ""
    return f"{one['file']} at {one.get('offset', 0)}{frame}: {one['reason']}{remedy}"


@archive.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write; - is standard output.")],
    kind: Annotated[list[str] | None, typer.Option(help="Only frames of this kind; may be repeated.")] = None,
    after: Annotated[str, typer.Option(help="Only frames after this time.")] = "",
    before: Annotated[str, typer.Option(help="Only frames before this time.")] = "",
    folder: Folder = None,
) -> None:
    """Write frames to a file, in the archive's own format; private ones stay sealed."""
    limits = _ms(after), _ms(before)
    frames = 0
    with room(CURRENT, folder) as place, Bar("exported", CURRENT) as bar:
        pieces = place.export(kind or [], *limits)
        first = next(pieces, (b"", 0, 0))  # before the file is made: the daemon may say no
        if str(file) == "-":
            for data, frames, total in _with(first, pieces):
                sys.stdout.buffer.write(data)
                bar.at(frames, total)
            sys.stdout.flush()
            return
        part = file.with_name(file.name + ".part")
        try:
            with part.open("wb") as output:
                for data, frames, total in _with(first, pieces):
                    output.write(data)
                    bar.at(frames, total)
                output.flush()
                os.fsync(output.fileno())
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise typer.BadParameter(f"{file} cannot be written: {error.strerror or error}") from None
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    CURRENT.show({"frames": str(frames), "file": str(file)}, lambda _: say(f"{frames:,} frames in {file}"))


def _with(first: tuple[bytes, int, int], rest: Iterator[tuple[bytes, int, int]]) -> Iterator[tuple[bytes, int, int]]:
    yield first
    yield from rest


@archive.command("import")
def import_file(
    source: Annotated[Path, typer.Argument(help="An export, - for standard input, or a folder of JSON frames.")],
    folder: Folder = None,
) -> None:
    """Take frames in; those that are there already are skipped. 1 where some cannot be read."""
    try:
        size = source.stat().st_size if source.is_file() else 0
        with room(CURRENT, folder, new=True) as place, Bar("read", CURRENT, sizes=True) as bar:
            message = place.take_in(_read(source, bar, size))
    except OSError as error:
        raise typer.BadParameter(f"{source} cannot be read: {error.strerror or error}") from None
    CURRENT.show(message, _imported)
    if message.get("damage"):
        raise typer.Exit(EXIT_FAILED)


def _imported(message: dict[str, Any]) -> None:
    say(f"{_number(message, 'imported')} frames imported, {_number(message, 'skipped')} were there already")
    for one in message.get("damage", []):
        fail(_damage(one))


def _read(source: Path, bar: Bar, size: int) -> Iterator[bytes]:
    if source.is_dir():
        yield from _json_frames(source)
        return
    with sys.stdin.buffer if str(source) == "-" else source.open("rb") as file:
        done = 0
        while piece := file.read(PIECE):
            yield piece
            done += len(piece)
            bar.at(done, size)


def _json_frames(folder: Path) -> Iterator[bytes]:
    """Yield the frames of a folder of the source's JSON files; one that is none is named."""
    from lightfast.core.errors import InvalidArgument
    from lightfast.storage.archive.migrate import from_json

    inner = folder / "frames"
    for path in sorted((inner if inner.is_dir() else folder).glob("*.json")):
        try:
            yield from_json(path.stem, path.read_bytes())
        except (ValueError, InvalidArgument) as error:
            fail(f"{path.name}: no frame: {error}")


def _ms(text: str) -> int:
    if not text:
        return 0
    with arguments_told():
        return times.nanoseconds(times.parse(text, datetime.now(UTC))) // 1_000_000


def _number(message: dict[str, Any], name: str) -> str:
    return f"{int(message.get(name, 0)):,}"


def _ratio(one: dict[str, Any]) -> str:
    raw, stored = int(one.get("raw_bytes", 0)), int(one.get("bytes", 0))
    return f"{stored / raw:.0%}" if raw else ""


def _size(text: str | None) -> str:
    size = float(text or 0)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit is for all sizes")
