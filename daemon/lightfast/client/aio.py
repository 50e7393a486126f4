"""The asynchronous client."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from os import PathLike
from typing import Any, Self

from lightfast.api import values
from lightfast.api.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    apps_pb2_grpc,
    assets_pb2,
    assets_pb2_grpc,
    context_pb2,
    context_pb2_grpc,
    generation_pb2_grpc,
    links_pb2_grpc,
    transport_pb2_grpc,
    types_pb2,
)
from lightfast.client import connect, errors, generic, leases, mutations, records, shows, watching
from lightfast.client.accounts import AccountCalls
from lightfast.client.archives import ArchiveCalls
from lightfast.client.batches import BatchCalls
from lightfast.client.conversing import DeskCalls
from lightfast.client.desk import AppCalls
from lightfast.client.frames import FrameCalls
from lightfast.client.generations import GenerationCalls
from lightfast.client.happenings import EventCalls
from lightfast.client.keeping import KeepingCalls
from lightfast.client.linking import LinkCalls
from lightfast.client.memories import MemoryCalls
from lightfast.client.planning import PlanningCalls
from lightfast.client.prompting import PromptCalls
from lightfast.client.queueing import QueueCalls
from lightfast.client.running import RunCalls
from lightfast.client.scenes import SceneCalls
from lightfast.client.spending import SpendingCalls
from lightfast.client.timeline import Timeline
from lightfast.client.vault import VaultCalls
from lightfast.client.views import Views
from lightfast.client.workflows import WorkflowCalls
from lightfast.client.workspaces import WorkspaceCalls
from lightfast_link.value import Value

_CHUNK = 512 << 10


class AsyncClient(
    AccountCalls,
    AppCalls,
    ArchiveCalls,
    BatchCalls,
    DeskCalls,
    EventCalls,
    LinkCalls,
    MemoryCalls,
    PromptCalls,
    QueueCalls,
    RunCalls,
    PlanningCalls,
    Timeline,
    Views,
    SceneCalls,
    VaultCalls,
    KeepingCalls,
    FrameCalls,
    GenerationCalls,
    SpendingCalls,
    WorkspaceCalls,
    WorkflowCalls,
):
    """Talks to one daemon: `async with AsyncClient() as client: …`.

    Without arguments it finds the daemon of this user (or of `LIGHTFAST_HOME`, or *home*). Every
    unary call has a deadline of *timeout* seconds and raises the errors of `lightfast.core.errors`.
    The stubs (`context`, `assets`, `apps`, `links`, `transport`, `generation`, `admin`) are there for everything
    the short methods do not cover; calls on them need `metadata=client.metadata`.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str = "",
        home: str | PathLike[str] | None = None,
        certificates: bytes | None = None,
        session: str = "",
        timeout: float = 10.0,
    ) -> None:
        target = connect.Target(address, token, certificates) if address else connect.find_target(home)
        self.timeout = timeout
        self._is_closed = False
        self.metadata = connect.metadata(target, session)
        self.channel = connect.open_channel(target)
        self.context = context_pb2_grpc.ContextServiceStub(self.channel)
        self.assets = assets_pb2_grpc.AssetServiceStub(self.channel)
        self.apps = apps_pb2_grpc.AppServiceStub(self.channel)
        self.links = links_pb2_grpc.LinkServiceStub(self.channel)
        self.transport = transport_pb2_grpc.TransportServiceStub(self.channel)
        self.generation = generation_pb2_grpc.GenerationServiceStub(self.channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self.channel)
        self.show = shows.Shows(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; watches end, and calls raise `Cancelled`."""
        self._is_closed = True
        await self.channel.close()

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call of a stub's *method* with this client's metadata and deadline."""
        with self.translated():
            return await method(request, metadata=self.metadata, timeout=timeout or self.timeout)

    def translated(self) -> AbstractContextManager[None]:
        """Turn the errors of gRPC into ours in a block; for calls of the stubs."""
        return errors.translated(lambda: self._is_closed)

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of the streaming call that *start* makes, with typed errors."""
        return errors.stream(start, lambda: self._is_closed)

    async def call_json(self, name: str, fields: Mapping[str, Any], timeout: float | None = None) -> generic.Json:
        """Make one unary call by name (`ContextService.Get`), with proto JSON in and out."""
        return await generic.call(self, name, fields, timeout)

    def stream_json(
        self, name: str, fields: Mapping[str, Any], timeout: float | None = None
    ) -> AsyncIterator[generic.Json]:
        """Make one server-streaming call by name, with proto JSON in and out."""
        return generic.stream(self, name, fields, timeout)

    # The context

    async def get(self, path: str, *, at_revision: int | None = None) -> records.Entry:
        """Return the entry at *path*; `NotFound` where there is none."""
        request = context_pb2.GetRequest(paths=[path], at_revision=at_revision)
        response = await self.call(self.context.Get, request)
        return records.entry(response.entries[0])

    async def select(
        self,
        pattern: str,
        *,
        at_revision: int | None = None,
        at_time_ns: int | None = None,
        event_time: bool = False,
    ) -> list[records.Entry]:
        """Return all entries a pattern matches, at one revision, however many pages that takes."""
        request = context_pb2.GetRequest(pattern=pattern, at_revision=at_revision)
        if at_time_ns is not None:
            values.set_time(request.at_time, at_time_ns)
        if event_time:
            request.time_axis = context_pb2.TIME_AXIS_EVENT
        found: list[records.Entry] = []
        while True:
            response = await self.call(self.context.Get, request)
            found.extend(records.entry(message) for message in response.entries)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def children(self, path: str = "/") -> list[context_pb2.Child]:
        """Return the children of *path*."""
        request = context_pb2.ListRequest(path=path)
        found: list[context_pb2.Child] = []
        while True:
            response = await self.call(self.context.List, request)
            found.extend(response.children)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def apply(
        self,
        changes: Iterable[types_pb2.Mutation],
        *,
        preconditions: Sequence[types_pb2.Precondition] = (),
        label: str = "",
        group: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        lease_id: str = "",
        cause_revision: int = 0,
    ) -> records.Applied:
        """Commit one transaction (see `lightfast.client.mutations`); returns when it is durable.

        A *request_id* is made up where none is given, so that a repeat after a broken connection
        can be told from a second write.
        """
        request = context_pb2.ApplyRequest(
            mutations=changes,
            preconditions=preconditions,
            label=label,
            group_id=group,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
            validate_only=validate_only,
            lease_id=lease_id,
            cause_revision=cause_revision,
        )
        response = await self.call(self.context.Apply, request)
        return records.Applied(
            response.revision,
            response.store_id,
            tuple(records.entry(message) for message in response.entries),
        )

    async def set(
        self, path: str, value: Value | assets_pb2.Asset, *, label: str = "", group: str = ""
    ) -> records.Applied:
        """Set one value."""
        return await self.apply([mutations.set_value(path, value)], label=label, group=group)

    async def set_many(self, items: Mapping[str, Value], *, label: str = "", group: str = "") -> records.Applied:
        """Set values in one transaction."""
        changes = [mutations.set_value(path, value) for path, value in items.items()]
        return await self.apply(changes, label=label, group=group)

    async def delete(self, path: str, *, recursive: bool = False) -> records.Applied:
        """Delete an entry, and with *recursive* all below it."""
        return await self.apply([mutations.delete(path, recursive=recursive)])

    async def move(self, source: str, target: str) -> records.Applied:
        """Move a subtree."""
        return await self.apply([mutations.move(source, target)])

    async def publish(self, batches: AsyncIterator[Mapping[str, Value]]) -> context_pb2.PublishResponse:
        """Publish batches of signal values until the iterator ends."""

        async def requests() -> AsyncIterator[context_pb2.PublishRequest]:
            async for batch in batches:
                changes = [mutations.set_value(path, value) for path, value in batch.items()]
                yield context_pb2.PublishRequest(mutations=changes)

        source = errors.Source(requests())
        with source.told(), self.translated():
            answer: context_pb2.PublishResponse = await self.context.Publish(source.each(), metadata=self.metadata)
            return answer

    def watch(
        self,
        *patterns: str,
        start_revision: int | None = None,
        store_id: str = "",
        include_snapshot: bool = False,
        exclude_origins: Sequence[str] = (),
        max_rate_hz: float = 0.0,
        include_previous: bool = False,
        resume: bool = True,
        give_up_after: float = 60.0,
    ) -> AsyncIterator[records.Batch]:
        """Yield batches of events for ever; a broken connection is resumed without loss or doubles."""
        request = context_pb2.WatchRequest(
            patterns=patterns,
            start_revision=start_revision,
            store_id=store_id,
            include_snapshot=include_snapshot,
            exclude_origins=exclude_origins,
            max_rate_hz=max_rate_hz,
            include_previous=include_previous,
        )
        return watching.watch(
            self.context,
            self.metadata,
            request,
            records.batch,
            resume=resume,
            give_up_after=give_up_after,
            is_closed=lambda: self._is_closed,
        )

    def watch_json(self, fields: Mapping[str, Any], *, give_up_after: float = 60.0) -> AsyncIterator[generic.Json]:
        """Watch as `watch` does, with proto JSON in and out."""
        request = generic.request("ContextService.Watch", fields)
        return watching.watch(
            self.context,
            self.metadata,
            request,
            generic.to_json,
            resume=True,
            give_up_after=give_up_after,
            is_closed=lambda: self._is_closed,
        )

    async def history(
        self, pattern: str = "//", *, after: int = 0, until: int = 0, limit: int = 100
    ) -> list[context_pb2.Transaction]:
        """Return at most *limit* past transactions, newest first; a `RuntimeWarning` names what cannot be read."""
        request = context_pb2.HistoryRequest(pattern=pattern, after_revision=after, until_revision=until)
        found: list[context_pb2.Transaction] = []
        while len(found) < limit:
            request.page_size = min(limit - len(found), 1000)
            response = await self.call(self.context.History, request)
            found.extend(response.transactions)
            for gap in response.missing:
                told = f"revisions {gap.first_revision} to {gap.last_revision} cannot be read: {gap.reason}"
                warnings.warn(told, RuntimeWarning, stacklevel=2)
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        return found

    async def undo(self, *, group: str = "", run: str = "", revision: int = 0) -> records.Undone:
        """Take back a group, a run or a revision; `Conflict` where others built on it."""
        request = context_pb2.UndoRequest(request_id=uuid.uuid4().hex)
        _target(request, group, run, revision)
        response = await self.call(self.context.Undo, request)
        conflicts = tuple(records.entry(message) for message in response.conflicts)
        return records.Undone(response.revision, tuple(response.undone_revisions), conflicts)

    async def redo(self, *, group: str = "", run: str = "", revision: int = 0) -> records.Undone:
        """Take an undo back."""
        request = context_pb2.RedoRequest(request_id=uuid.uuid4().hex)
        _target(request, group, run, revision)
        response = await self.call(self.context.Redo, request)
        conflicts = tuple(records.entry(message) for message in response.conflicts)
        return records.Undone(response.revision, tuple(response.redone_revisions), conflicts)

    async def declare(self, *declarations: context_pb2.Declaration, remove: Sequence[str] = ()) -> None:
        """Declare paths."""
        await self.call(self.context.Declare, context_pb2.DeclareRequest(declarations=declarations, remove=remove))

    @asynccontextmanager
    async def lease(self, ttl: float = 10.0) -> AsyncIterator[str]:
        """Hold a lease while the block runs; yields its identity for `apply(lease_id=…)`."""
        async with leases.hold(self, ttl) as lease_id:
            yield lease_id

    # Assets

    async def write_asset(self, content: bytes, media_type: str, name: str = "") -> assets_pb2.Asset:
        """Store *content*; the same content twice is one asset."""

        async def chunks() -> AsyncIterator[assets_pb2.WriteAssetRequest]:
            asset = assets_pb2.Asset(media_type=media_type, name=name, size=len(content))
            yield assets_pb2.WriteAssetRequest(asset=asset, chunk=content[:_CHUNK])
            for start in range(_CHUNK, len(content), _CHUNK):
                yield assets_pb2.WriteAssetRequest(chunk=content[start : start + _CHUNK])

        with self.translated():
            response = await self.assets.WriteAsset(chunks(), metadata=self.metadata, timeout=300)
        return response.asset

    async def read_asset(self, sha256: str) -> bytes:
        """Return the bytes of an asset."""
        request = assets_pb2.ReadAssetRequest(sha256=sha256)
        start = partial(self.assets.ReadAsset, request, metadata=self.metadata, timeout=300)
        return b"".join([part.chunk async for part in self.messages(start)])

    # The daemon

    async def info(self) -> admin_pb2.GetInfoResponse:
        """Return versions, addresses and numbers of the daemon."""
        return await self.call(self.admin.GetInfo, admin_pb2.GetInfoRequest())  # type: ignore[no-any-return]


def _target(request: Any, group: str, run: str, revision: int) -> None:
    given = [name for name, value in (("group", group), ("run", run), ("revision", revision)) if value]
    if len(given) != 1:
        raise ValueError(f"give exactly one of group, run and revision, not {' and '.join(given) or 'none'}")
    if group:
        request.group_id = group
    elif run:
        request.run = run
    else:
        request.revision = revision
