"""The records of scenes. All are immutable; times are nanoseconds since 1970, UTC."""

from __future__ import annotations

import msgspec

from lightfast.core.errors import InvalidArgument
from lightfast_link.value import Value

MAX_NAME = 200
MAX_DESCRIPTION = 2000
MAX_PATTERNS = 1000


class SceneEntry(msgspec.Struct, frozen=True, gc=False):
    """One value of a scene; *revision* is the one that wrote it, 0 for a signal that had not settled."""

    path: str
    value: Value
    revision: int = 0
    object_id: str = ""
    signal: bool = False


class Scene(msgspec.Struct, frozen=True):
    """One version of a scene, without what it holds; *revision* is the one whose values it holds.

    *create_time* is when its first version was saved, *update_time* when this one was. *size* is what its blocks
    take on the disk, in bytes. The blocks have the names of the revision *followed*; later renames are followed.
    """

    name: str
    version: int
    revision: int
    origin: str
    create_time: int
    update_time: int
    description: str = ""
    patterns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    entries: int = 0
    mounts: tuple[str, ...] = ()
    size: int = 0
    etag: str = ""
    followed: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """What is asked of a save; *at_revision* `None` means now. Empty patterns and description stay as they were."""

    name: str
    description: str = ""
    patterns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    at_revision: int | None = None
    etag: str = ""

    def check(self) -> None:
        """Raise `InvalidArgument` for what is malformed."""
        check_name(self.name)
        if len(self.description) > MAX_DESCRIPTION:
            raise InvalidArgument(
                f"the description has {len(self.description)} characters, the most is {MAX_DESCRIPTION}",
                field="description",
            )
        if len(self.patterns) + len(self.exclude) > MAX_PATTERNS:
            raise InvalidArgument(f"more than {MAX_PATTERNS} patterns: use wider ones", field="patterns")


class Difference(msgspec.Struct, frozen=True):
    """One path that differs; `None` where a set has nothing there."""

    path: str
    before: Value | None
    after: Value | None


class Reached(msgspec.Struct, frozen=True):
    """What scenes reach: assets by their SHA-256, and the paths they hold with the revision of each value.

    The values themselves lie in the scenes: a revision named here need not be kept for their sake.
    """

    assets: frozenset[str]
    paths: frozenset[tuple[str, int]]


def check_name(name: str) -> None:
    """Raise `InvalidArgument` unless *name* can be the name of a scene."""
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidArgument(
            f"{name[:80]!r} is no name of a scene: use 1 to {MAX_NAME} printable characters, without spaces around",
            reason="SCENE_NAME_INVALID",
            field="name",
        )
