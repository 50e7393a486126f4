"""The applications, for both clients: list, look at, drive, bring in step, diagnose, and answer their conflicts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api import values
from lightfast.api.v1 import apps_pb2, apps_pb2_grpc
from lightfast_link.value import Value

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

MAX_PAGE = 1000
RESYNC_S = 65.0
"""The deadline of a full comparison, in seconds: a little more than the daemon gives the application."""


class AppCalls:
    """The asynchronous methods; *mount* is where an application is joined (`/blender`)."""

    apps: apps_pb2_grpc.AppServiceStub
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def list_apps(self) -> list[apps_pb2.App]:
        """Return the applications, the ones that are away included."""
        request = apps_pb2.ListAppsRequest(page_size=MAX_PAGE)
        found: list[apps_pb2.App] = []
        while True:
            response = await self.call(self.apps.ListApps, request)
            found.extend(response.apps)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def get_app(self, mount: str) -> apps_pb2.App:
        """Return one application; `NotFound` where there is none."""
        return (await self.call(self.apps.GetApp, apps_pb2.GetAppRequest(mount=mount))).app  # type: ignore[no-any-return]

    async def list_commands(self, mount: str) -> list[apps_pb2.Command]:
        """Return what an application can be told to do."""
        request = apps_pb2.ListCommandsRequest(mount=mount)
        return list((await self.call(self.apps.ListCommands, request)).commands)

    async def invoke(self, mount: str, command: str, timeout: float = 60.0, **arguments: Value) -> Value | None:
        """Run a command of an application and return its result; *timeout* in seconds."""
        request = apps_pb2.InvokeRequest(mount=mount, command=command)
        request.timeout.FromNanoseconds(round(timeout * 1e9))
        for name, value in arguments.items():
            values.to_message(value, request.arguments[name])
        result: Value | None = None
        start = partial(self.apps.Invoke, request, metadata=self.metadata, timeout=timeout + 5)
        async for message in self.messages(start):
            if message.WhichOneof("kind") == "result" and message.result.WhichOneof("kind"):
                result = values.from_message(message.result)
        return result

    async def resync(self, mount: str) -> apps_pb2.ResyncResponse:
        """Read everything back from an application and bring the context in step with it."""
        return await self.call(self.apps.Resync, apps_pb2.ResyncRequest(mount=mount), RESYNC_S)  # type: ignore[no-any-return]

    async def resolve_conflict(
        self, conflict_id: str, choice: str = "", *, value: Value | None = None
    ) -> apps_pb2.ResolveConflictResponse:
        """Answer a conflict record: with *choice* `wished` or `reported`, or with a *value* of one's own.

        `NotFound` where there is no such record any more, `InvalidArgument` for another choice.
        """
        request = apps_pb2.ResolveConflictRequest(conflict_id=conflict_id, request_id=uuid.uuid4().hex)
        if value is not None:
            values.to_message(value, request.value)
        else:
            request.choice = _CHOICES.get(choice, apps_pb2.CONFLICT_CHOICE_UNSPECIFIED)
        return await self.call(self.apps.ResolveConflict, request)  # type: ignore[no-any-return]

    async def diagnose(self, target: str) -> list[apps_pb2.Finding]:
        """Return what stands between the daemon and an application (its mount), or all of a kind."""
        return list((await self.call(self.apps.Diagnose, apps_pb2.DiagnoseRequest(target=target))).findings)


class BlockingAppCalls:
    """The same methods, blocking; see `AppCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def list_apps(self) -> list[apps_pb2.App]:
        """Return the applications, the ones that are away included."""
        return self._run(self.aio.list_apps())

    def get_app(self, mount: str) -> apps_pb2.App:
        """Return one application."""
        return self._run(self.aio.get_app(mount))

    def list_commands(self, mount: str) -> list[apps_pb2.Command]:
        """Return what an application can be told to do."""
        return self._run(self.aio.list_commands(mount))

    def invoke(self, mount: str, command: str, timeout: float = 60.0, **arguments: Value) -> Value | None:
        """Run a command of an application and return its result."""
        return self._run(self.aio.invoke(mount, command, timeout, **arguments))

    def resync(self, mount: str) -> apps_pb2.ResyncResponse:
        """Read everything back from an application and bring the context in step with it."""
        return self._run(self.aio.resync(mount))

    def resolve_conflict(
        self, conflict_id: str, choice: str = "", *, value: Value | None = None
    ) -> apps_pb2.ResolveConflictResponse:
        """Answer a conflict record: `wished`, `reported`, or with a *value* of one's own."""
        return self._run(self.aio.resolve_conflict(conflict_id, choice, value=value))

    def diagnose(self, target: str) -> list[apps_pb2.Finding]:
        """Return what stands between the daemon and an application, or all of a kind."""
        return self._run(self.aio.diagnose(target))


_CHOICES = {"wished": apps_pb2.CONFLICT_CHOICE_WISHED, "reported": apps_pb2.CONFLICT_CHOICE_REPORTED}
