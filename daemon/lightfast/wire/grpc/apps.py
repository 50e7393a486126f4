"""AppService: shows and drives the joined applications."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import apps_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import InvalidArgument
from lightfast.engine.apps.records import AppRecord, AppState, Progress, Result
from lightfast.engine.apps.resolve import Choice
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.pages import Pages
from lightfast.wire.grpc.repeat import Repeats
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services
from lightfast_link.value import Value

_STATES = {
    AppState.ABSENT: pb.APP_STATE_ABSENT,
    AppState.CONNECTING: pb.APP_STATE_CONNECTING,
    AppState.RESYNCING: pb.APP_STATE_RESYNCING,
    AppState.LIVE: pb.APP_STATE_LIVE,
    AppState.DEGRADED: pb.APP_STATE_DEGRADED,
    AppState.GONE: pb.APP_STATE_GONE,
}

_CHOICES = {pb.CONFLICT_CHOICE_WISHED: Choice.WISHED, pb.CONFLICT_CHOICE_REPORTED: Choice.REPORTED}
_LEVELS = {
    "ok": pb.FINDING_LEVEL_OK,
    "note": pb.FINDING_LEVEL_NOTE,
    "warning": pb.FINDING_LEVEL_WARNING,
    "error": pb.FINDING_LEVEL_ERROR,
}


class AppService:
    """The methods of `lightfast.api.v1.AppService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["AppService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ListApps": WATCH,
        "GetApp": WATCH,
        "ListCommands": WATCH,
        "Invoke": OPERATE,
        "Resync": OPERATE,
        "ResolveConflict": OPERATE,
        "Diagnose": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"ResolveConflict"})

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._registry = services.registry
        self._repeats = Repeats(services.requests)
        self._pages = Pages()

    async def ListApps(self, request: pb.ListAppsRequest, caller: Caller) -> pb.ListAppsResponse:
        """List the applications."""
        query = ("ListApps",)
        if request.page_token:
            page = self._pages.later(request.page_token, request.page_size, query=query)
        else:
            page = self._pages.first(self._registry.list(), self._store.revision, request.page_size, query=query)
        response = pb.ListAppsResponse(
            next_page_token=page.token, revision=page.revision, store_id=self._store.store_id
        )
        for record in page.items:
            _put_app(response.apps.add(), record)
        return response

    async def GetApp(self, request: pb.GetAppRequest, caller: Caller) -> pb.GetAppResponse:
        """Show one application."""
        response = pb.GetAppResponse(revision=self._store.revision, store_id=self._store.store_id)
        _put_app(response.app, self._registry.get(request.mount))
        return response

    async def ListCommands(self, request: pb.ListCommandsRequest, caller: Caller) -> pb.ListCommandsResponse:
        """List what an application can be told to do."""
        response = pb.ListCommandsResponse(revision=self._store.revision, store_id=self._store.store_id)
        for command in self._registry.commands(request.mount):
            message = response.commands.add(
                name=command.name,
                description=command.description,
                effect=command.effect,
                arguments_schema=command.schema,
            )
            for argument in command.arguments:
                message.arguments.add(
                    name=argument.name,
                    type=argument.kind,
                    required=argument.required,
                    description=argument.description,
                )
        return response

    def Invoke(self, request: pb.InvokeRequest, caller: Caller) -> AsyncGenerator[bytes, None]:
        """Run a command: progress, then one result."""
        return self._repeats.stream(self._invoke(request, caller), request, caller, "Invoke", _is_result)

    async def _invoke(self, request: pb.InvokeRequest, caller: Caller) -> AsyncIterator[pb.InvokeResponse]:
        steps = await self._registry.invoke(
            request.mount,
            request.command,
            convert.get_values(request.arguments, "arguments"),
            convert.get_duration(request.timeout, "timeout") if request.HasField("timeout") else None,
            caller.origin,
            request.group_id,
        )
        try:
            async for step in steps:
                yield _response(step)
        finally:
            await steps.aclose()

    async def Resync(self, request: pb.ResyncRequest, caller: Caller) -> pb.ResyncResponse:
        """Bring an application in step again."""
        report = await self._registry.resync(request.mount)
        response = pb.ResyncResponse(
            taken=report.taken,
            restored=report.restored,
            lost_paths=report.lost_paths,
            revision=self._store.revision,
            store_id=self._store.store_id,
        )
        _put_app(response.app, report.app)
        return response

    async def ResolveConflict(self, request: pb.ResolveConflictRequest, caller: Caller) -> pb.ResolveConflictResponse:
        """Answer a conflict record."""
        choice: Choice | Value
        if request.WhichOneof("resolution") == "value":
            choice = convert.get_value(request.value, "value")
        elif request.choice in _CHOICES:
            choice = _CHOICES[request.choice]
        else:
            raise InvalidArgument("say what is to hold: choice WISHED or REPORTED, or a value", field="choice")
        resolved = await self._registry.resolve(request.conflict_id, choice, origin=caller.origin)
        response = pb.ResolveConflictResponse(
            revision=resolved.revision, store_id=self._store.store_id, path=resolved.path
        )
        if resolved.entry is not None:
            convert.put_entry(response.entry, resolved.entry)
        return response

    async def Diagnose(self, request: pb.DiagnoseRequest, caller: Caller) -> pb.DiagnoseResponse:
        """Say what stands between the daemon and an application."""
        if not request.target.strip("/"):
            raise InvalidArgument("give the mount of an application, or a kind", field="target")
        found = await self._registry.diagnose(request.target)
        response = pb.DiagnoseResponse(revision=self._store.revision, store_id=self._store.store_id)
        for finding in found:
            response.findings.add(
                level=_LEVELS[finding.level], subject=finding.subject, what=finding.what, remedy=finding.remedy
            )
        return response


def _is_result(message: pb.InvokeResponse) -> bool:
    return not message.HasField("progress")


def _response(step: Progress | Result) -> pb.InvokeResponse:
    response = pb.InvokeResponse()
    if isinstance(step, Progress):
        response.progress.fraction = step.fraction
        response.progress.message = step.message
    elif step.value is not None:
        to_message(step.value, response.result)
    else:
        # A command that returns nothing ends with an empty result all the same.
        response.result.SetInParent()
    return response


def _put_app(message: pb.App, record: AppRecord) -> None:
    message.mount = record.mount
    message.kind = record.kind
    message.app_version = record.app_version
    message.state = _STATES[record.state]
    message.state_reason = record.state_reason
    message.instance_id = record.instance_id
    message.document_id = record.document_id
    message.pid = record.pid
    message.transport = record.transport
    convert.put_time(message.connect_time, record.connect_time)
    if record.recovery_s is not None:
        convert.put_duration(message.recovery_duration, record.recovery_s)
    message.simulator = record.simulator
    message.lost_paths.extend(record.lost_paths)
    message.pending = record.pending
    convert.put_time(message.state_time, record.since)
