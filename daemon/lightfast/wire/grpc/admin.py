"""AdminService: what runs, what is loaded, who may enter."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import admin_pb2 as pb
from lightfast.context.paging import page_size
from lightfast.host.records import PluginRecord, PluginState
from lightfast.security.tokens import Scope, TokenRecord, parse_scopes
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.backup import BackupMethods
from lightfast.wire.grpc.services import ADMIN, WATCH, Caller, Services

_STATES = {
    PluginState.READY: pb.PLUGIN_STATE_READY,
    PluginState.UNAVAILABLE: pb.PLUGIN_STATE_UNAVAILABLE,
    PluginState.FAILED: pb.PLUGIN_STATE_FAILED,
    PluginState.DISABLED: pb.PLUGIN_STATE_DISABLED,
}
_HIDDEN = '"***"'


class AdminService(BackupMethods):
    """The methods of `lightfast.api.v1.AdminService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["AdminService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "GetInfo": WATCH,
        "ListPlugins": WATCH,
        "ReloadPlugin": ADMIN,
        "GetConfig": ADMIN,
        "ListErrors": ADMIN,
        "IssueToken": ADMIN,
        "RevokeToken": ADMIN,
        "ListTokens": ADMIN,
        **BackupMethods.SCOPES,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {"ReloadPlugin": "a reload of a plugin"}

    def __init__(self, services: Services) -> None:
        super().__init__(services)

    async def GetInfo(self, request: pb.GetInfoRequest, caller: Caller) -> pb.GetInfoResponse:
        """Show versions, addresses and numbers."""
        info, store = self._services.info(), self._services.store
        response = pb.GetInfoResponse(
            version=info.version,
            pid=info.pid,
            store_id=store.store_id,
            revision=store.revision,
            oldest_revision=store.oldest_revision,
            endpoints=info.endpoints,
            entries=store.entry_count,
            watchers=self._services.bus.watchers,
            origin=caller.origin,
            scopes=sorted(caller.principal.scopes),
            state_directory=info.state_directory,
        )
        convert.put_time(response.start_time, info.start_time)
        convert.put_duration(response.loop_lag, info.loop_lag)
        return response

    async def ListPlugins(self, request: pb.ListPluginsRequest, caller: Caller) -> pb.ListPluginsResponse:
        """List the plugins; in the first moments, once they are loaded, or what there is after two seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._services.host.settled()
        records = sorted(self._services.host.records(), key=lambda record: record.name)
        return pb.ListPluginsResponse(plugins=[_plugin(record) for record in records])

    async def ReloadPlugin(self, request: pb.ReloadPluginRequest, caller: Caller) -> pb.ReloadPluginResponse:
        """Load a plugin anew."""
        return pb.ReloadPluginResponse(plugin=_plugin(await self._services.host.reload(request.name)))

    async def GetConfig(self, request: pb.GetConfigRequest, caller: Caller) -> pb.GetConfigResponse:
        """Show the settings in force."""
        response = pb.GetConfigResponse()
        for row in sorted(self._services.config(), key=lambda row: row.key):
            response.settings.add(
                key=row.key,
                value=_HIDDEN if row.secret else row.value,
                source=row.source,
                description=row.description,
            )
        return response

    async def ListErrors(self, request: pb.ListErrorsRequest, caller: Caller) -> pb.ListErrorsResponse:
        """List the newest errors."""
        response = pb.ListErrorsResponse()
        for error in self._services.errors(page_size(request.page_size, 100, 1000)):
            message = response.errors.add(
                logger=error.logger, event=error.event, fields=json.dumps(dict(error.fields), default=str)
            )
            convert.put_time(message.record_time, error.record_time)
        return response

    async def IssueToken(self, request: pb.IssueTokenRequest, caller: Caller) -> pb.IssueTokenResponse:
        """Issue a token, which can do no more than its issuer."""
        ttl = convert.get_duration(request.ttl, "ttl") if request.HasField("ttl") else None
        record, secret = await self._services.tokens.issue(
            request.name, parse_scopes(request.scopes), ttl, caller.principal
        )
        return pb.IssueTokenResponse(token=_token(record), secret=secret)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, caller: Caller) -> pb.RevokeTokenResponse:
        """Revoke a token at once."""
        await self._services.tokens.revoke(request.token_id)
        return pb.RevokeTokenResponse()

    async def ListTokens(self, request: pb.ListTokensRequest, caller: Caller) -> pb.ListTokensResponse:
        """List the tokens, without their secrets."""
        records = sorted(self._services.tokens.list(), key=lambda record: record.name)
        return pb.ListTokensResponse(tokens=[_token(record) for record in records])


def _plugin(record: PluginRecord) -> pb.Plugin:
    return pb.Plugin(
        name=record.name,
        version=record.version,
        source=record.source,
        state=_STATES[record.state],
        reason=record.reason,
        brings=record.brings,
        isolated=record.isolated,
    )


def _token(record: TokenRecord) -> pb.Token:
    message = pb.Token(token_id=record.token_id, name=record.name, scopes=sorted(record.scopes))
    convert.put_time(message.create_time, record.create_time)
    if record.expire_time is not None:
        convert.put_time(message.expire_time, record.expire_time)
    return message
