"""show, panic: running a show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, EXIT_FAILED, fail, say

app = typer.Typer()
show = typer.Typer(invoke_without_command=True, help="Show, lock and unlock the show.")


@show.callback()
def status(context: typer.Context) -> None:
    """Show the lock, the panic and what is being recorded."""
    if context.invoked_subcommand is None:
        CURRENT.call("ShowService.GetShow", {}, _status)


@show.command()
def lock(reason: Annotated[str, typer.Option(help="A few words for the history.")] = "") -> None:
    """Lock the show: no reload, no collection, no AI write, no link edit, no declaration until it is unlocked."""
    CURRENT.call("ShowService.LockShow", {"reason": reason}, lambda found: _tell(found.get("show", {})))


@show.command()
def unlock() -> None:
    """Unlock the show, whoever locked it; what was put off is done now."""
    CURRENT.call("ShowService.UnlockShow", {}, lambda found: _tell(found.get("show", {})))


@app.command()
def panic(
    reason: Annotated[str, typer.Argument(help="A few words for the history.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Let everything go on.")] = False,
) -> None:
    """Stop links, commands, the timeline, AI and replays at once, until they are released."""
    if release:
        found = CURRENT.call("ShowService.ReleasePanic", {}, lambda found: _tell(found.get("show", {})))
    else:
        found = CURRENT.call("ShowService.Panic", {"reason": reason}, _stopped, timeout=5.0)
    if found.get("failed"):
        fail(f"NOT reached: {', '.join(found['failed'])}: see 'lightfast errors'")
        raise typer.Exit(EXIT_FAILED)


def warn(found: dict[str, Any]) -> None:
    """Print a lock and a panic so that nobody overlooks them; nothing where there is neither."""
    if found.get("panic"):
        say(f"!!! PANIC: everything was stopped by {_who(found, 'panic')}")
        say(f"!!! held: {', '.join(found.get('holds', [])) or 'nothing'}. Let go with: lightfast panic --release")
    if found.get("locked"):
        say(f"LOCKED by {_who(found, 'lock')}. Unlock with: lightfast show unlock")
        for waiting in found.get("deferred", []):
            say(f"  waits for the unlock: {waiting}")


def _who(found: dict[str, Any], what: str) -> str:
    by = found.get("panic_by" if what == "panic" else "locked_by", "")
    why = f" ({found[what + '_reason']})" if found.get(what + "_reason") else ""
    return f"{by} at {found.get(what + '_time', '')}{why}"


def _tell(found: dict[str, Any]) -> None:
    warn(found)
    if not found.get("locked") and not found.get("panic"):
        say("The show is unlocked, and nothing is stopped.")


def _status(message: dict[str, Any]) -> None:
    _tell(message.get("show", {}))
    recording = message.get("recording")
    if recording:
        say(f"Recording {recording['name']} for {float(recording.get('duration', '0s').rstrip('s')):.0f} s")
    if message.get("replays"):
        say(f"{message['replays']} replays run")


def _stopped(message: dict[str, Any]) -> None:
    warn(message.get("show", {}))
    if message.get("cancelled_operations"):
        say(f"{message['cancelled_operations']} generations are being cancelled")
    at = message.get("revision")
    say(f"recorded as revision {at}" if at else "it is being recorded: the disk is slow")
