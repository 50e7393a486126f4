"""Backups: methods of AdminService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import admin_pb2 as pb
from lightfast.core.errors import Unavailable
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.services import ADMIN, Caller, Services

if TYPE_CHECKING:
    from lightfast.storage.backup import Backup, Backups


class BackupMethods:
    """Backups: methods of AdminService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Backup": ADMIN,
        "ListBackups": ADMIN,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def Backup(self, request: pb.BackupRequest, caller: Caller) -> AsyncGenerator[pb.BackupResponse, None]:
        """Copy everything into one file."""
        steps = self._backups().make(
            request.path, assets=not request.without_assets, recordings=not request.without_recordings
        )
        async with aclosing(steps):
            async for step in steps:
                message = pb.BackupResponse(done_bytes=step.done, total_bytes=step.total)
                if step.backup is not None:
                    _put(message.backup, step.backup)
                yield message

    async def ListBackups(self, request: pb.ListBackupsRequest, caller: Caller) -> pb.ListBackupsResponse:
        """List backups."""
        response = pb.ListBackupsResponse()
        for backup in await self._backups().listed():
            _put(response.backups.add(), backup)
        return response

    def _backups(self) -> Backups:
        if self._services.backups is None:
            raise Unavailable("this daemon makes no backups", reason="BACKUPS_ABSENT")
        return self._services.backups()


def _put(message: pb.BackupInfo, backup: Backup) -> None:
    message.path = str(backup.path)
    message.bytes = backup.size
    message.revision = backup.revision
    message.store_id = backup.store_id
    message.before_purge = backup.before_purge
    convert.put_time(message.time, backup.create_time)
