"""purge, backup: what goes for ever, and what is kept elsewhere."""

from __future__ import annotations

import getpass
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lightfast.app.cli.progress import Bar
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, fail, hush, say, table

app = typer.Typer()


@app.command()
def purge(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="[PATTERN]...", help="Paths whose values and history go.")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Whatever holds a text goes; it is asked for, unseen, or read from stdin.")
    ] = False,
    text_file: Annotated[Path | None, typer.Option("--text-file", help="The same, with the text in a file.")] = None,
    memories: Annotated[list[str] | None, typer.Option("--memory", help="A memory, by id or key; repeatable.")] = None,
    frames: Annotated[list[str] | None, typer.Option("--frame", help="A frame of the archive; repeatable.")] = None,
    assets: Annotated[list[str] | None, typer.Option("--asset", help="An asset, by its SHA-256; repeatable.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the tombstone.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove something for ever, from every tier, index and file; it cannot be undone."""
    fields: dict[str, Any] = {
        "patterns": patterns or [],
        "memories": memories or [],
        "frame_ids": frames or [],
        "assets": assets or [],
        "reason": reason,
    }
    if text or text_file is not None:
        fields["text"] = _text(text_file)
    if not any(fields[name] for name in ("patterns", "memories", "frame_ids", "assets", "text") if name in fields):
        raise typer.BadParameter("say what to purge: a PATTERN, --text, --memory, --frame or --asset")
    with CURRENT.client() as client:
        if dry_run or not yes:
            found = _run(client, {**fields, "validate_only": True})
            if dry_run:
                CURRENT.show(found, lambda message: _told(message, "would go"))
                return
            _told(found, "would go", fail)
            if not sys.stdin.isatty():
                raise typer.BadParameter("there is no terminal to ask on: add --yes, or look first with --dry-run")
            typer.confirm("Remove this for ever?", abort=True, err=True)
        found = _run(client, {**fields, "request_id": uuid.uuid4().hex})
    CURRENT.show(found, lambda message: _told(message, "gone"))
    if any(not left.startswith("the backup ") for left in found.get("remaining", [])):
        raise typer.Exit(EXIT_FAILED)


def _text(file: Path | None) -> str:
    """Return the text to purge; it is never shown."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if sys.stdin.isatty():
        return getpass.getpass("Text to purge: ")
    return sys.stdin.readline().rstrip("\r\n")


def _run(client: Any, fields: dict[str, Any]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    with Bar("purge", CURRENT) as bar:
        for message in client.stream_json("ContextService.Purge", fields):
            last = message
            bar.at(int(message.get("done", 0)), int(message.get("total", 0)), message.get("stage", ""))
    return last


def _told(message: dict[str, Any], what: str, tell: Any = say) -> None:
    stone = message.get("tombstone", {})
    removed = stone.get("removed", {})
    counts = ", ".join(f"{count} of {name}" for name, count in sorted(removed.items())) or "nothing"
    tell(f"{what}: {counts}" + (f" ({stone['purge_id']})" if stone.get("purge_id") else ""))
    for left in message.get("remaining", []):
        fail(f"it may remain in {left}")


class _BackupGroup(TyperGroup):
    """Takes `backup` and `backup FILE` as `backup make [FILE]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        if not args or (args[0] not in self.commands and args[0] not in {"--help", "--show-completion"}):
            args = ["make", *args]
        return super().parse_args(ctx, args)


backup = typer.Typer(cls=_BackupGroup, help="Copy everything into one file while the daemon runs, and put it back.")


@backup.command()
def make(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write; by default one with the time in its name.")
    ] = None,
    without_assets: Annotated[bool, typer.Option("--without-assets", help="Leave the assets out.")] = False,
    without_recordings: Annotated[bool, typer.Option("--without-recordings", help="Leave the recordings out.")] = False,
) -> None:
    """Make a backup: database, archive, assets, recordings and settings; tokens and keys are left out."""
    fields = {
        "path": "" if file is None else str(file.absolute()),
        "without_assets": without_assets,
        "without_recordings": without_recordings,
    }
    last: dict[str, Any] = {}
    with CURRENT.client() as client, Bar("backup", CURRENT, sizes=True) as bar:
        for message in client.stream_json("AdminService.Backup", fields):
            last = message
            bar.at(int(message.get("done_bytes", 0)), int(message.get("total_bytes", 0)))
    CURRENT.show(
        last["backup"],
        lambda made: say(f"{made['path']}: revision {made.get('revision', 0)}, {_size(int(made['bytes']))}"),
    )


@backup.command("list")
def list_backups() -> None:
    """List the backups that were made and still exist."""
    CURRENT.call(
        "AdminService.ListBackups",
        {},
        lambda found: table(
            ("BACKUP", "MADE", "REVISION", "SIZE", ""),
            (
                (
                    item["path"],
                    item.get("time", ""),
                    item.get("revision", 0),
                    _size(int(item.get("bytes", 0))),
                    "holds what was purged since" if item.get("before_purge") else "",
                )
                for item in found.get("backups", [])
            ),
            "No backups yet: lightfast backup",
        ),
    )


@backup.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    home: Annotated[Path, typer.Option(help="The home to restore into, fresh or of a daemon that does not run.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a backup back, offline; what was there before stays beside it. The store gets a new id."""
    from lightfast.app.lock import Lock
    from lightfast.core.paths import find
    from lightfast.storage.backup_restore import restore as put_back

    hush()
    paths = find(home)
    if paths.store_file.exists() and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"there is a store in {paths.state}: add --yes to put the backup in its place")
        typer.confirm(f"There is a store in {paths.state}. Put the backup in its place?", abort=True, err=True)
    made = [folder for folder in (paths.state, paths.runtime) if not folder.exists()]
    paths.create()
    done = {"check": 0, "unpack": 0}
    with Lock(paths.state / "lock"), Lock(paths.lock_file), Bar("restore", CURRENT, sizes=True) as bar:

        def told(stage: str, size: int) -> None:
            done[stage] += size
            bar.at(done[stage], done["check"] if stage == "unpack" else file.stat().st_size, stage)

        try:
            found = put_back(file, paths, told=told)
        except BaseException:
            _unmake(made)
            raise
    result = {
        "state": str(found.state),
        "store_id": found.store_id,
        "revision": found.head.revision,
        "before": str(found.before or ""),
    }
    CURRENT.show(result, lambda _: say(f"{found.state}: revision {found.head.revision}, store {found.store_id}"))
    if found.before is not None and not CURRENT.as_json:
        say(f"what was there before lies in {found.before}; delete it when all is well")


def _unmake(folders: list[Path]) -> None:
    """Take away the folders that were only made to hold a lock."""
    import shutil

    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
