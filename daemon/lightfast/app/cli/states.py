"""States on the command line: one word in lower case, told and taken in the same manner everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer


def word(state: object, kind: str) -> str:
    """Return a state of proto JSON as a person reads it: `JOB_STATE_RUNNING` of the kind `JOB` is `running`."""
    return str(state or "").removeprefix(f"{kind}_STATE_").lower().replace("_", " ")


def wanted(given: Iterable[str] | None, known: Sequence[str], kind: str) -> list[str]:
    """Return the states that were asked for as proto JSON writes them; raises a mistake of usage that names *known*."""
    found = []
    for each in given or ():
        name = each.strip().upper().replace("-", "_").replace(" ", "_").removeprefix(f"{kind}_STATE_")
        if name not in known:
            told = ", ".join(one.lower().replace("_", "-") for one in known)
            raise typer.BadParameter(f"{each!r} is no state: use {told}")
        found.append(f"{kind}_STATE_{name}")
    return found
