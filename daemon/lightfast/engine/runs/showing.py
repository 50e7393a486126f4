"""What of a show keeps a run from beginning: a panic any, a lock what must not be changed behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightfast.sdk import Effect

if TYPE_CHECKING:
    from lightfast.engine.runs.kept import Kept
    from lightfast.engine.show.show import Show

_EDITS = {"scene.delete": "the deletion of a scene"}
"""Operations that are refused by themselves, too, while a show is locked."""


def check_show(show: Show | None, kept: Kept) -> None:
    """Raise `FailedPrecondition` where a run must not begin, or go on, now.

    In a panic none (PANIC); in a locked show (SHOW_LOCKED) none that writes and that a model has a hand in, none of
    harm, and none that does what is refused then however it is asked for.
    """
    if show is None:
        return
    show.panic.check("a run")
    if kept.ai and any(effects - {Effect.READ} for effects in kept.allowed.values()):
        show.check_ai()
    if any(Effect.DESTRUCTIVE in effects for effects in kept.allowed.values()):
        show.guard.check("a run that cannot be taken back")
    for each in kept.run.program.walk():
        if what := _EDITS.get(each.op):
            show.guard.check(what)
