"""Conflict policies: who may write a path that others write, too.

`owner`: while somebody touches a path, nobody else writes it. Touching is writing it within the last *owner_hold*
seconds. A hand comes first: what an application itself reports is always taken, and makes it the owner; what
acts by itself (a link, a run, a job) writes only what nobody touches, and never becomes the owner. Who touches
what is kept in memory alone: it is a matter of seconds.

`compare_and_set`: a write needs a precondition on its path. Undo and redo know what each path holds, and need none;
a hand keeps them back like any other write.

Only paths with a policy come here; of all others `Rule.policy` is empty.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime

from lightfast.core.errors import Conflict, FailedPrecondition

LAST_WRITER = "last_writer"
OWNER = "owner"
COMPARE_AND_SET = "compare_and_set"
POLICIES = (LAST_WRITER, OWNER, COMPARE_AND_SET)
OWNER_HOLD = 1.0
"""Seconds for which a write makes its writer the owner, where nobody says otherwise."""
MAX_OWNER_HOLD = 3600.0
_APPLICATION = "app:"
_AUTOMATIC = ("link:", "operation:", "run:", "job:", "trigger:", "workflow:", "replay:", "cue:", "transport", "daemon")
"""How the origins begin of what writes without a hand on it."""
_MAX_OWNERS = 4096
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one path: the *name* is one of `POLICIES`, *owner_hold* is in seconds."""

    name: str
    owner_hold: float = OWNER_HOLD


class Owners:
    """Who touches what; times are nanoseconds since 1970."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, int]] = {}
        self._most = _MAX_OWNERS

    def check(self, path: str, policy: Policy, origin: str, conditions: Container[str], now: int) -> None:
        """Raise `Conflict` (PATH_OWNED) or `FailedPrecondition` (PRECONDITION_REQUIRED) where *origin* may not."""
        if policy.name == COMPARE_AND_SET:
            if path not in conditions:
                raise FailedPrecondition(
                    f"{path} is only written by who knows what it holds: add a precondition on it, with the revision "
                    "or the value that you have read",
                    reason="PRECONDITION_REQUIRED",
                    metadata={"path": path},
                    field="path",
                )
        elif policy.name == OWNER:
            owner, until = self._owners.get(path, ("", 0))
            if owner not in {"", origin} and now < until:
                when = datetime.fromtimestamp(until / _SECOND, UTC).isoformat(timespec="milliseconds")
                raise Conflict(
                    f"{owner} has its hand on {path} until {when} at least: try again when it lets go",
                    reason="PATH_OWNED",
                    metadata={"path": path, "owner": owner, "until": when},
                    retry_after=max(0.001, (until - now) / _SECOND),
                    field="path",
                )

    def touch(self, path: str, policy: Policy, origin: str, now: int, *, hand: bool) -> None:
        """Note that *origin* wrote *path*; *hand* says that an application reported it by itself."""
        by_itself = not hand if origin.startswith(_APPLICATION) else origin.startswith(_AUTOMATIC)
        if policy.name != OWNER or by_itself:
            return
        if len(self._owners) >= self._most:
            self._owners = {known: owner for known, owner in self._owners.items() if owner[1] > now}
            self._most = max(_MAX_OWNERS, 2 * len(self._owners))  # where all still touch, it is not swept every time
        self._owners[path] = (origin, now + int(policy.owner_hold * _SECOND))
