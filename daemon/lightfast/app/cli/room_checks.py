"""What `lightfast doctor` asks of the daemon's rooms: the archive, the backups, the embedder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from lightfast.app.cli.checks import BAD, OK, WARN, Finding

BACKUP_DAYS = 30
"""A backup older than this is worth a word."""
NEARLY_FULL = 0.9
CORE_EMBEDDER = "trigram"


def check_archive(stats: dict[str, Any]) -> Iterator[Finding]:
    """Look at the answer of `ArchiveStats`: damage that is known, room, private frames."""
    frames, size, quota = (int(stats.get(name, 0)) for name in ("frames", "bytes", "quota_bytes"))
    damage: Sequence[str] = stats.get("damage", [])
    if damage:
        yield Finding(
            BAD,
            f"the archive is damaged in {len(damage)} places, first: {damage[0]}",
            "run: lightfast archive verify, then: lightfast archive repair --dry-run",
        )
    else:
        yield Finding(OK, f"the archive holds {frames} frames, {size >> 20} MiB")
    if lost := stats.get("lost", []):
        yield Finding(OK, f"the archive has lost something in {len(lost)} places, as a repair told, last: {lost[-1]}")
    if incoming := stats.get("incoming", []):
        yield Finding(
            WARN,
            f"{len(incoming)} files of frames were found that the archive does not know, first: {incoming[0]}",
            "run: lightfast archive migrate, which takes them in",
        )
    if quota and size > NEARLY_FULL * quota:
        yield Finding(
            BAD if size >= quota else WARN,
            f"the archive takes {size >> 20} of {quota >> 20} MiB; when it is full no more history moves there",
            "raise [archive] quota, or let the collector delete more: [collector] frame_days",
        )
    private = int(stats.get("private_frames", 0))
    if private and not stats.get("unlocked", False):
        yield Finding(
            OK, f"{private} private frames are locked: nobody can read or find them", "to: lightfast archive unlock"
        )


def check_backups(backups: Sequence[dict[str, Any]], now: datetime) -> Iterator[Finding]:
    """Look at the answer of `ListBackups`: how old the newest is, and whether one holds what was purged since."""
    if not backups:
        yield Finding(OK, "no backup was made yet", "lightfast backup makes one while the daemon runs")
        return
    newest = max(datetime.fromisoformat(one["time"]) for one in backups)
    age = now - newest
    if age > timedelta(days=BACKUP_DAYS):
        yield Finding(WARN, f"the newest backup is {age.days} days old", "run: lightfast backup")
    else:
        yield Finding(OK, f"{len(backups)} backups, the newest of {newest.astimezone():%Y-%m-%d %H:%M}")
    for one in backups:
        if one.get("before_purge"):
            yield Finding(
                WARN,
                f"the backup {one['path']} holds what was purged after it was made",
                "delete it when it is no longer needed",
            )


def check_embedder(wanted: str, plugins: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Look whether the embedder that `[memory] embedder` names is there; *plugins* is the answer of `ListPlugins`."""
    if wanted == CORE_EMBEDDER:
        return
    if any(f"embedder:{wanted}" in plugin.get("brings", []) for plugin in plugins):
        yield Finding(OK, f"the embedder {wanted} is there")
        return
    yield Finding(
        WARN,
        f"the embedder {wanted!r} of [memory] embedder is not there: trigrams find what is spelt alike, not what means "
        "the same",
        "'lightfast plugins' says what its plugin needs, for example: pip install 'lightfast[wordllama]'",
    )
