"""Where applications are mounted: a name of their own, and the same one again after a restart."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.sdk import BridgeError, Hello
from lightfast.storage.database import Database
from lightfast_link.path import encode_segment

log = structlog.get_logger("lightfast.apps")

RESERVED = frozenset({"lightfast", "transport"})
"""Names that belong to the daemon."""
MAX_INSTANCES = 1000
"""The most instances with one name."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One remembered mount: who held it last, with what open in it."""

    mount: str
    kind: str
    instance_id: str
    document_id: str = ""
    name: str = ""
    generation: int = 0


class Mounts:
    """The claims, in memory and in the table `mounts`."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._claims: dict[str, Claim] = {}
        self._joined: set[str] = set()

    async def load(self) -> None:
        """Read the claims back."""
        rows = await self._db.query(
            "SELECT mount, kind, instance_id, document_id, name, generation FROM mounts ORDER BY mount", ()
        )
        self._claims = {row[0]: Claim(*row) for row in rows}

    def all(self) -> list[Claim]:
        """Return the claims, ordered by mount."""
        return [self._claims[mount] for mount in sorted(self._claims)]

    def get(self, mount: str) -> Claim | None:
        """Return the claim of *mount*."""
        return self._claims.get(mount)

    def witnessed(self, mount: str) -> bool:
        """Say whether an application was in step at *mount* since the daemon started."""
        return mount in self._joined

    def choose(self, hello: Hello, live: Collection[str]) -> str:
        """Return the mount for *hello*, none of *live*; raise `BridgeError` for a malformed one."""
        return choose(hello, self._claims.values(), live)

    async def remember(self, claim: Claim) -> None:
        """Keep *claim*; a failure to write it is logged, and costs the name at the next start at most.

        It is on disk when this returns: who was seen live is known as away after a crash.
        """
        self._claims[claim.mount] = claim
        self._joined.add(claim.mount)
        unit = self._db.unit()
        unit.execute(
            "INSERT INTO mounts(mount, kind, instance_id, document_id, name, generation, updated)"
            " VALUES(?,?,?,?,?,?,?) ON CONFLICT(mount) DO UPDATE SET kind=excluded.kind,"
            " instance_id=excluded.instance_id, document_id=excluded.document_id, name=excluded.name,"
            " generation=excluded.generation, updated=excluded.updated",
            (
                claim.mount,
                claim.kind,
                claim.instance_id,
                claim.document_id,
                claim.name,
                claim.generation,
                self._clock.now_ns(),
            ),
        )
        try:
            await self._db.commit(unit)
        except LightfastError as error:
            log.error("a mount could not be remembered", mount=claim.mount, reason=error.message)  # noqa: TRY400  # known


def claim_of(hello: Hello, mount: str) -> Claim:
    """Return the claim that *hello* makes on *mount*."""
    return Claim(mount, hello.kind, hello.instance_id, hello.document_id, hello.name, hello.generation)


def choose(hello: Hello, claims: Iterable[Claim], live: Collection[str]) -> str:
    """Return the mount for *hello*: what it held before, else the first of `/name`, `/name-2`… that is free.

    Held before means: the same document, or else the same instance. A mount whose application is
    away is free for another one of its kind: the only Blender on the desk is `/blender`.
    """
    base = _base(hello)
    fitting = re.compile(re.escape(base) + r"(-[1-9][0-9]*)?").fullmatch
    known = [claim for claim in claims if fitting(claim.mount)]
    away = [claim for claim in known if claim.kind == hello.kind and claim.mount not in live]
    for claim in away:
        if hello.document_id and claim.document_id == hello.document_id:
            return claim.mount
    for claim in away:
        if claim.instance_id == hello.instance_id:
            return claim.mount
    others = {claim.mount for claim in known if claim.kind != hello.kind}
    for number in range(1, MAX_INSTANCES + 1):
        mount = base if number == 1 else f"{base}-{number}"
        if mount not in live and mount not in others:
            return mount
    raise BridgeError(f"{MAX_INSTANCES} applications are joined as {base}: give this one another name")


def _base(hello: Hello) -> str:
    if not hello.kind or not hello.instance_id:
        raise BridgeError("a hello needs a kind and an instance_id")
    segment = encode_segment(hello.name or hello.kind)
    if segment in RESERVED or len(segment) > 100:
        raise BridgeError(f"{segment[:100]!r} cannot be the name of an application: choose another name")
    return "/" + segment
