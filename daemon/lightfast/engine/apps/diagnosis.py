"""What stands between the daemon and an application, in findings for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from lightfast.context.entry import Entry, Status
from lightfast.core.errors import NotFound
from lightfast.engine.apps.records import AppRecord, AppState, Vitals
from lightfast.sdk import Bridge, Finding

log = structlog.get_logger("lightfast.apps")

DEADLINE = 5.0
"""Seconds a bridge has to look."""
LEVELS = ("ok", "note", "warning", "error")
MAX_FINDINGS = 100
"""The most findings of one bridge that are shown."""
MAX_NAMED = 5
"""The most paths that one finding names."""
LONG_SILENCE = 60.0
"""Seconds of silence that are worth a note: many applications only speak when something changes."""


@dataclass(frozen=True, slots=True)
class View:
    """What the engine sees of one application: its *vitals* are `None` while it is away; *now* in ns since 1970."""

    record: AppRecord
    vitals: Vitals | None
    entries: Sequence[Entry]
    conflicts: Sequence[Mapping[str, Any]]
    held: str
    now: int


def of_application(view: View) -> list[Finding]:
    """Return what the engine itself can say."""
    found = [_state(view)]
    record, name = view.record, view.record.mount[1:]
    if view.held:
        found.append(
            Finding("warning", record.mount, f"all applications are held: {view.held}", "release them to drive it")
        )
    if view.vitals is not None:
        found += _health(record.mount, name, view.vitals)
    found += _wishes(view, name)
    if record.recovery_s is not None:
        found.append(Finding("ok", "last return", f"in step after {record.recovery_s:.2f} s"))
    if record.lost_paths:
        found.append(
            Finding(
                "warning",
                "last return",
                f"{len(record.lost_paths)} values could not be put back: {_named(record.lost_paths)}",
                "set them again where they still have a place",
            )
        )
    if view.conflicts:
        asked = sum(bool(body.get("open")) for body in view.conflicts)
        paths = [str(body["path"]) for body in view.conflicts]
        found.append(
            Finding(
                "warning" if asked else "note",
                "conflicts",
                f"{len(view.conflicts)} conflict records, {asked} of them questions to you: {_named(paths)}",
                f"lightfast apps conflicts {name}",
            )
        )
    return found


def _state(view: View) -> Finding:
    record = view.record
    level = {
        AppState.LIVE: "ok",
        AppState.CONNECTING: "note",
        AppState.RESYNCING: "note",
        AppState.DEGRADED: "warning",
        AppState.GONE: "error",
        AppState.ABSENT: "error",
    }[record.state]
    since = f" for {_lasting((view.now - record.since) / 1e9)}" if record.since else ""
    what = f"{record.state}{since}" + (f": {record.state_reason}" if record.state_reason else "")
    remedy = {
        AppState.DEGRADED: f"lightfast apps resync {record.mount[1:]}",
        AppState.GONE: "start it again: it is put in step by itself",
        AppState.ABSENT: "start it",
    }.get(record.state, "")
    return Finding(level, record.mount, what, remedy)


def _health(mount: str, name: str, vitals: Vitals) -> list[Finding]:
    found = []
    quiet = vitals.silent_s >= LONG_SILENCE and bool(vitals.under_way)
    found.append(
        Finding(
            "warning" if quiet else "ok",
            "last message",
            f"{_lasting(vitals.silent_s)} ago",
            "see whether it shows a dialog, or renders" if quiet else "",
        )
    )
    if vitals.under_way:
        what = f"{vitals.under_way} wishes are with it, the oldest for {_lasting(vitals.oldest_s)}"
        found.append(Finding("note", "wishes", what))
    if vitals.calls:
        found.append(Finding("note", "commands", f"it runs {vitals.calls}: wishes wait for their turn"))
    if vitals.backlog:
        found.append(Finding("note", "reports", f"{vitals.backlog} of its reports wait for the disk"))
    for count, what, remedy in (
        (vitals.malformed, "reports that the context cannot hold were left out", f"lightfast apps resync {name}"),
        (vitals.refused, "reports were refused by the store", "see the log of the daemon"),
        (vitals.bad_frames, "frames were malformed", "update its half of the bridge: lightfast pack"),
        (vitals.dropped_signals, "signals to it were dropped", "it does not keep up: send fewer signals a second"),
    ):
        if count:
            found.append(Finding("warning", mount, f"{count} {what}", remedy))
    return found


def _wishes(view: View, name: str) -> list[Finding]:
    found = []
    asked = {body["path"] for body in view.conflicts if body.get("open")}
    pending = [entry for entry in view.entries if entry.status is Status.PENDING and entry.path not in asked]
    if pending:
        age = (view.now - min(entry.record_time for entry in pending)) / 1e9
        found.append(
            Finding(
                "note" if view.vitals is not None and not view.held else "warning",
                "pending wishes",
                f"{len(pending)} wait, the oldest for {_lasting(age)}: {_named([entry.path for entry in pending])}",
                "" if view.vitals is not None else "they are sent when it returns",
            )
        )
    rejected = [entry for entry in view.entries if entry.status is Status.REJECTED]
    found += [
        Finding("warning", entry.path, f"rejected: {entry.status_reason}", "set another value, or take this back")
        for entry in rejected[:MAX_NAMED]
    ]
    if len(rejected) > MAX_NAMED:
        more = f"{len(rejected) - MAX_NAMED} more wishes were rejected"
        found.append(Finding("warning", "rejected wishes", more, f"lightfast get '/{name}//'"))
    return found


def unknown(target: str, mounts: Collection[str], kinds: Collection[str]) -> NotFound:
    """Return the error for a name that nobody knows: it says which mounts and kinds there are."""
    there_are = f"there are {', '.join(sorted(mounts))}" if mounts else "none has joined yet"
    can = f"kinds that can join: {', '.join(sorted(kinds))}" if kinds else "no bridge is loaded, so none can join"
    return NotFound(f"there is no application {target!r}: {there_are}; {can}", reason="APP_UNKNOWN", field="target")


async def of_bridge(bridge: Bridge, config: Mapping[str, Any], deadline: float = DEADLINE) -> list[Finding]:
    """Return what *bridge* finds on the way to the application of *config*; one that fails is a finding itself."""
    subject = f"bridge {bridge.kind}"
    # A task of its own: one that does not heed its cancellation is left behind.
    looking = asyncio.ensure_future(_contained(bridge, config))
    try:
        done, _ = await asyncio.wait([looking], timeout=deadline)
    finally:
        if not looking.done():  # it took too long, or nobody waits for it any more
            looking.cancel()
            looking.add_done_callback(_noticed)
    if not done:
        what = f"its diagnosis took longer than {deadline:g} s and was given up"
        return [Finding("error", subject, what, "see whether the application hangs, and start it again")]
    if looking.cancelled():
        return [Finding("error", subject, "its diagnosis was cancelled", "try again")]
    error = looking.exception()
    if error is not None:
        log.error("a bridge failed to diagnose", bridge=bridge.kind, exc_info=error)
        what = f"its diagnosis failed: {type(error).__name__}: {error}"
        return [Finding("error", subject, what, "this is a bug of the bridge: tell its author")]
    return _checked(subject, looking.result())


async def _contained(bridge: Bridge, config: Mapping[str, Any]) -> Sequence[Finding]:
    try:
        return list(await bridge.diagnose(config))
    except (SystemExit, KeyboardInterrupt) as error:  # they would end the daemon
        raise RuntimeError(f"it raised {type(error).__name__}") from error


def _checked(subject: str, findings: Sequence[Any]) -> list[Finding]:
    found: list[Finding] = []
    for finding in findings[:MAX_FINDINGS]:
        if not isinstance(finding, Finding) or finding.level not in LEVELS:
            what = (
                f"its diagnosis gave {finding!r:.200}, which is no finding with one of the levels {', '.join(LEVELS)}"
            )
            found.append(Finding("error", subject, what, "this is a bug of the bridge: tell its author"))
        else:
            found.append(
                Finding(finding.level, *(str(t)[:500] for t in (finding.subject, finding.what, finding.remedy)))
            )
    return found


def _noticed(looking: asyncio.Future[Sequence[Finding]]) -> None:
    if not looking.cancelled() and (error := looking.exception()) is not None:
        log.warning("a diagnosis that was given up failed", reason=repr(error))


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(paths[:MAX_NAMED]) + more


def _lasting(seconds: float) -> str:
    """Return a length of time as a person says it."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
