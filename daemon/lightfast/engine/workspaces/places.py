"""Workspaces and the projects in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, NotFound
from lightfast.core.ids import new_id
from lightfast.engine.workspaces import rows
from lightfast.engine.workspaces.records import (
    MOST_TEXT,
    Project,
    Workspace,
    check_identity,
    check_metadata,
    check_name,
)
from lightfast.engine.workspaces.turns import Turns

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Database

T = TypeVar("T", Workspace, Project)
_FIELDS = frozenset(("name", "description", "metadata", "archived"))
_COMMON = "name, description, metadata, create_time, update_time, version, archived"


class Places:
    """The tables `workspaces` and `projects`. Every change of the room has a turn of *turns*."""

    def __init__(self, db: Database, clock: Clock, events: EventLog, turns: Turns) -> None:
        self._db = db
        self._clock = clock
        self._events = events
        self._turns = turns

    async def create_workspace(self, wanted: Workspace) -> Workspace:
        """Create a workspace; raises `AlreadyExists` (WORKSPACE_EXISTS)."""
        now = self._clock.now_ns()
        made = replace(
            wanted, workspace_id=wanted.workspace_id or new_id("ws"), create_time=now, update_time=now, version=1
        )
        check_identity(made.workspace_id, "workspace_id")
        _check(made)
        async with self._turns.alone():
            if await self._find(made.workspace_id) is not None:
                raise AlreadyExists(f"there is a workspace {made.workspace_id!r} already", reason="WORKSPACE_EXISTS")
            await self._write("workspaces", (made.workspace_id,), made)
        return made

    async def create_project(self, wanted: Project) -> Project:
        """Create a project; raises `NotFound` (WORKSPACE_UNKNOWN) and `AlreadyExists` (PROJECT_EXISTS)."""
        now = self._clock.now_ns()
        made = replace(
            wanted, project_id=wanted.project_id or new_id("prj"), create_time=now, update_time=now, version=1
        )
        check_identity(made.project_id, "project_id")
        _check(made)
        async with self._turns.alone():
            space = await self.workspace(made.workspace_id)
            if space.archived:
                raise FailedPrecondition(f"the workspace {space.workspace_id} is archived", reason="WORKSPACE_ARCHIVED")
            if await self._found_project(made.project_id) is not None:
                raise AlreadyExists(f"there is a project {made.project_id!r} already", reason="PROJECT_EXISTS")
            await self._write("projects", (made.project_id, made.workspace_id), made)
        return made

    async def workspace(self, workspace_id: str) -> Workspace:
        """Return one; raises `NotFound` (WORKSPACE_UNKNOWN)."""
        found = await self._find(workspace_id)
        if found is None:
            raise NotFound(
                f"there is no workspace {workspace_id!r:.80}: see 'lightfast workspaces list'",
                reason="WORKSPACE_UNKNOWN",
                field="workspace_id",
            )
        return found

    async def project(self, project_id: str) -> Project:
        """Return one; raises `NotFound` (PROJECT_UNKNOWN)."""
        found = await self._found_project(project_id)
        if found is None:
            raise NotFound(
                f"there is no project {project_id!r:.80}: see 'lightfast projects list'",
                reason="PROJECT_UNKNOWN",
                field="project_id",
            )
        return found

    async def workspaces(
        self, *, size: int = 0, token: str = "", include_archived: bool = False
    ) -> tuple[list[Workspace], str]:
        """Return a page, ordered by name, and the token of the next one."""
        query = fingerprint("workspaces", include_archived)
        sql = f"SELECT workspace_id, {_COMMON} FROM workspaces WHERE (archived = 0 OR ?)"  # noqa: S608
        found, more = await self._page(sql, "workspace_id", [include_archived], query, size, token)
        return [_workspace(row) for row in found], more

    async def projects(
        self, workspace_id: str = "", *, size: int = 0, token: str = "", include_archived: bool = False
    ) -> tuple[list[Project], str]:
        """Return a page of the projects of one workspace, or of all, ordered by name, and the token of the next one."""
        query = fingerprint("projects", workspace_id, include_archived)
        sql = (
            f"SELECT project_id, {_COMMON}, workspace_id FROM projects"  # noqa: S608
            " WHERE (archived = 0 OR ?) AND (? = '' OR workspace_id = ?)"
        )
        params = [include_archived, workspace_id, workspace_id]
        found, more = await self._page(sql, "project_id", params, query, size, token)
        return [_project(row) for row in found], more

    async def update_workspace(self, wanted: Workspace, names: Sequence[str] = (), *, etag: str = "") -> Workspace:
        """Change the fields called *names* (none: all); raises `Conflict` (ETAG_MISMATCH)."""
        async with self._turns.alone():
            before = await self.workspace(wanted.workspace_id)
            _check_etag(before.etag, etag, before.workspace_id)
            made = _merged(before, wanted, names, self._clock.now_ns())
            await self._write("workspaces", (made.workspace_id,), made)
        return made

    async def update_project(self, wanted: Project, names: Sequence[str] = (), *, etag: str = "") -> Project:
        """Change the fields called *names* (none: all); raises `Conflict` (ETAG_MISMATCH)."""
        async with self._turns.alone():
            before = await self.project(wanted.project_id)
            _check_etag(before.etag, etag, before.project_id)
            made = _merged(before, wanted, names, self._clock.now_ns())
            await self._write("projects", (made.project_id, made.workspace_id), made)
        return made

    async def _find(self, workspace_id: str) -> Workspace | None:
        sql = f"SELECT workspace_id, {_COMMON} FROM workspaces WHERE workspace_id = ?"  # noqa: S608
        for row in await self._db.query(sql, (workspace_id,)):
            return _workspace(row)
        return None

    async def _found_project(self, project_id: str) -> Project | None:
        sql = f"SELECT project_id, {_COMMON}, workspace_id FROM projects WHERE project_id = ?"  # noqa: S608
        for row in await self._db.query(sql, (project_id,)):
            return _project(row)
        return None

    async def _page(
        self, sql: str, key: str, params: list[Any], query: int, size: int, token: str
    ) -> tuple[list[tuple[Any, ...]], str]:
        count = page_size(size, 100, 1_000)
        if token:
            name, _, identity = read_token(token, query).after.partition("\n")
            sql += f" AND (name, {key}) > (?, ?)"
            params = [*params, name, identity]
        found = await self._db.query(f"{sql} ORDER BY name, {key} LIMIT ?", (*params, count + 1))
        if len(found) <= count:
            return found, ""
        last = found[count - 1]
        return found[:count], write_token(Token(query, 0, f"{last[1]}\n{last[0]}"))

    async def _write(self, table: str, keys: tuple[str, ...], made: Workspace | Project) -> None:
        params = (
            *keys,
            made.name,
            made.description,
            rows.packed(made.metadata),
            made.create_time,
            made.update_time,
            made.version,
            int(made.archived),
        )
        unit = self._db.unit()
        unit.execute(f"INSERT OR REPLACE INTO {table} VALUES({', '.join('?' * len(params))})", params)
        kind = table.removesuffix("s")
        told = {"name": made.name, "version": made.version, "archived": made.archived}
        self._events.add(unit, f"{kind}.{'created' if made.version == 1 else 'changed'}", kind, keys[0], told)
        await self._db.commit(unit)
        self._events.poke()


def _merged(before: T, wanted: T, names: Sequence[str], now: int) -> T:
    unknown = sorted(set(names) - _FIELDS)
    if unknown:
        raise InvalidArgument(
            f"{unknown[0]!r:.60} cannot be changed: use {', '.join(sorted(_FIELDS))}", field="update_fields"
        )
    given = {name: getattr(wanted, name) for name in names or _FIELDS}
    made = replace(before, **given, update_time=now, version=before.version + 1)
    _check(made)
    return made


def _check(made: Workspace | Project) -> None:
    check_name(made.name)
    if len(made.description) > MOST_TEXT:
        raise InvalidArgument(f"a description has at most {MOST_TEXT} characters", field="description")
    check_metadata(made.metadata)


def _check_etag(now: str, given: str, identity: str) -> None:
    if given and given != now:
        raise Conflict(
            f"{identity} was changed since its etag {given!r:.40} was read: get it again and decide anew",
            reason="ETAG_MISMATCH",
            metadata={"etag": now},
            field="etag",
        )


def _workspace(row: Sequence[Any]) -> Workspace:
    return Workspace(row[0], row[1], row[2], rows.unpacked(row[3]), row[4], row[5], row[6], bool(row[7]))


def _project(row: Sequence[Any]) -> Project:
    return Project(row[0], row[8], row[1], row[2], rows.unpacked(row[3]), row[4], row[5], row[6], bool(row[7]))
