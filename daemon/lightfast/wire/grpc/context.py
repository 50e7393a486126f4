"""ContextService: reads, writes and watches the context tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import context_pb2 as pb
from lightfast.context.entry import Mutation
from lightfast.context.leases import DEFAULT_TTL
from lightfast.context.records import RequestKey, Undone
from lightfast.context.watch import WatchSpec, watch
from lightfast.core.errors import Conflict, InvalidArgument, OutOfRange
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.conflate import BUSY, conflated
from lightfast.wire.grpc.encode import encoded
from lightfast.wire.grpc.interceptors import digest
from lightfast.wire.grpc.pages import Pages
from lightfast.wire.grpc.scenes import SceneMethods
from lightfast.wire.grpc.services import ADMIN, OPERATE, WATCH, Caller, Services
from lightfast.wire.grpc.upkeep import UpkeepMethods
from lightfast.wire.grpc.views import ViewMethods

MAX_MUTATIONS = 10_000
SLICE = 50
"""After so many transactions of a page the loop gets its turn."""
ENTRIES = 500
"""After so many entries, or mutations, too."""
MAX_APPLY_BYTES = 2 << 20


class ContextService(SceneMethods, ViewMethods, UpkeepMethods):
    """The methods of `lightfast.api.v1.ContextService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["ContextService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Get": WATCH,
        "List": WATCH,
        "Apply": OPERATE,
        "Publish": OPERATE,
        "Watch": WATCH,
        "History": WATCH,
        "Declare": OPERATE,
        "Describe": WATCH,
        "Undo": OPERATE,
        "Redo": OPERATE,
        "OpenLease": OPERATE,
        "KeepLease": OPERATE,
        "CloseLease": OPERATE,
        "Compact": ADMIN,
        **SceneMethods.SCOPES,
        **ViewMethods.SCOPES,
        **UpkeepMethods.SCOPES,
    }
    ONCE: ClassVar[frozenset[str]] = (
        frozenset({"Declare", "OpenLease"}) | SceneMethods.ONCE | ViewMethods.ONCE | UpkeepMethods.ONCE
    )
    LOCKED: ClassVar[Mapping[str, str]] = {
        "Declare": "a declaration",
        "Compact": "a compaction",
        **SceneMethods.LOCKED,
    }

    def __init__(self, services: Services) -> None:
        for part in (SceneMethods, ViewMethods, UpkeepMethods):
            part.__init__(self, services)
        self._store = services.store
        self._leases = services.leases
        self._pages = Pages()

    async def Get(self, request: pb.GetRequest, caller: Caller) -> pb.GetResponse:
        """Read entries, now or as they were."""
        if not request.paths and not request.pattern:
            raise InvalidArgument("give paths, or a pattern: '//' is everything", field="paths")
        page = await self._store.read(
            request.paths,
            request.pattern,
            request.at_revision if request.HasField("at_revision") else None,
            convert.get_time(request.at_time, "at_time") if request.HasField("at_time") else None,
            event_axis=request.time_axis == pb.TIME_AXIS_EVENT,
            page_size=request.page_size,
            page_token=request.page_token,
            client=caller.origin,
        )
        response = pb.GetResponse(
            revision=page.revision,
            store_id=self._store.store_id,
            next_page_token=page.next_page_token,
            oldest_revision=page.oldest_revision,
        )
        for number, entry in enumerate(page.entries, 1):
            message = response.entries.add()
            convert.put_entry(message, entry)
            if request.include_tier:
                message.tier = page.tier_of(entry)
            if not number % ENTRIES:
                await asyncio.sleep(0)
        return response

    async def List(self, request: pb.ListRequest, caller: Caller) -> pb.ListResponse:
        """List the children of a path."""
        path = request.path or "/"
        how: dict[str, Any] = {"query": ("List", path), "default": 1000, "most": 10_000}
        if request.page_token:
            page = self._pages.later(request.page_token, request.page_size, **how)
        else:
            children = self._store.children(path)
            page = self._pages.first(children, self._store.revision, request.page_size, **how)
        response = pb.ListResponse(revision=page.revision, store_id=self._store.store_id, next_page_token=page.token)
        for child in page.items:
            response.children.add(
                path=child.path, name=child.name, has_value=child.has_value, has_children=child.has_children
            )
        return response

    async def Apply(self, request: pb.ApplyRequest, caller: Caller) -> pb.ApplyResponse:
        """Commit one transaction."""
        if len(request.mutations) > MAX_MUTATIONS:
            raise InvalidArgument(
                f"{len(request.mutations)} mutations are too many, the most is {MAX_MUTATIONS}: send several requests",
                reason="TRANSACTION_TOO_LARGE",
                field="mutations",
            )
        # One value is bounded by itself, so only several can be too large together.
        if len(request.mutations) > 1 and request.ByteSize() > MAX_APPLY_BYTES:
            raise InvalidArgument(
                f"the request has {request.ByteSize()} bytes, the most is {MAX_APPLY_BYTES}: "
                "send several requests, and large values as assets",
                reason="TRANSACTION_TOO_LARGE",
                field="mutations",
            )
        if not request.mutations and not request.preconditions:
            raise InvalidArgument("there is no mutation: nothing would change", field="mutations")
        if request.lease_id:
            self._leases.check_owner(request.lease_id, _owner(caller))
        applied = await self._store.apply(
            await _mutations(request.mutations),
            origin=caller.origin,
            preconditions=convert.get_preconditions(request.preconditions) if request.preconditions else (),
            label=request.label,
            group=request.group_id,
            cause=request.cause_revision,
            validate_only=request.validate_only,
            lease=request.lease_id,
            request=_request_key(request, caller, "Apply") if request.request_id else None,
        )
        response = pb.ApplyResponse(revision=applied.revision, store_id=self._store.store_id)
        add = response.entries.add
        for number, entry in enumerate(applied.entries, 1):
            convert.put_entry(add(), entry)
            if not number % ENTRIES:
                await asyncio.sleep(0)
        return response

    async def Publish(self, requests: AsyncIterator[pb.PublishRequest], caller: Caller) -> pb.PublishResponse:
        """Take batches of signals until the client is done."""
        response = pb.PublishResponse()
        async for request, superseded in conflated(requests, self._services.flow):
            if superseded:
                response.dropped += superseded
                response.first_drop_reason = response.first_drop_reason or BUSY
            if len(request.mutations) > MAX_MUTATIONS:
                raise InvalidArgument(
                    f"{len(request.mutations)} updates in one batch are too many, the most is {MAX_MUTATIONS}",
                    reason="TRANSACTION_TOO_LARGE",
                    field="mutations",
                )
            mutations, malformed, reason = convert.get_updates(request.mutations)
            published = self._store.publish(mutations, origin=caller.origin)
            response.accepted += published.accepted
            response.dropped += published.dropped + malformed
            if not response.first_drop_reason:
                response.first_drop_reason = reason or published.first_reason
        return response

    async def Watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncGenerator[bytes, None]:
        """Send batches, serialized once for all watchers of a filter."""
        spec = WatchSpec(
            patterns=tuple(request.patterns),
            start_revision=request.start_revision if request.HasField("start_revision") else None,
            store_id=request.store_id,
            include_snapshot=request.include_snapshot,
            exclude_origins=tuple(request.exclude_origins),
            max_rate_hz=request.max_rate_hz,
            include_previous=request.include_previous,
        )
        store_id = self._store.store_id
        batches = watch(self._store, spec)
        try:
            async for batch in batches:
                yield await encoded(batch, store_id, previous=spec.include_previous)
        except OutOfRange as error:
            if "compact_revision" in error.metadata:
                yield pb.WatchResponse(
                    revision=request.start_revision,
                    store_id=store_id,
                    compact_revision=int(error.metadata["compact_revision"]),
                ).SerializeToString()
            raise
        finally:
            await batches.aclose()

    async def History(self, request: pb.HistoryRequest, caller: Caller) -> pb.HistoryResponse:
        """List past transactions, newest first."""
        page = await self._store.history(
            request.pattern or "//",
            request.after_revision,
            request.until_revision,
            request.page_size,
            request.page_token,
        )
        response = pb.HistoryResponse(
            revision=page.revision,
            store_id=self._store.store_id,
            next_page_token=page.next_page_token,
            oldest_revision=page.oldest_revision,
            missing=[
                pb.HistoryGap(first_revision=gap.first, last_revision=gap.last, frame_id=gap.frame, reason=gap.why)
                for gap in page.missing
            ],
        )
        for number, transaction in enumerate(page.transactions, 1):
            convert.put_transaction(response.transactions.add(), transaction)
            if not number % SLICE:
                await asyncio.sleep(0)
        return response

    async def Declare(self, request: pb.DeclareRequest, caller: Caller) -> pb.DeclareResponse:
        """Declare paths."""
        declarations = [convert.get_declaration(message, index) for index, message in enumerate(request.declarations)]
        await self._store.declare(declarations, list(request.remove), owner=caller.principal.origin)
        return pb.DeclareResponse(revision=self._store.revision, store_id=self._store.store_id)

    async def Describe(self, request: pb.DescribeRequest, caller: Caller) -> pb.DescribeResponse:
        """Show what is declared."""
        how: dict[str, Any] = {"query": ("Describe", request.pattern), "default": 1000, "most": 10_000}
        if request.page_token:
            page = self._pages.later(request.page_token, request.page_size, **how)
        else:
            declarations = self._store.describe(request.pattern)
            page = self._pages.first(declarations, self._store.revision, request.page_size, **how)
        response = pb.DescribeResponse(
            revision=page.revision, store_id=self._store.store_id, next_page_token=page.token
        )
        for declaration in page.items:
            convert.put_declaration(response.declarations.add(), declaration)
        return response

    async def Undo(self, request: pb.UndoRequest, caller: Caller) -> pb.UndoResponse:
        """Take something back."""
        undone = await self._store.undo(
            group=request.group_id,
            run=request.run,
            revision=request.revision,
            origin=caller.origin,
            validate_only=request.validate_only,
            request=_request_key(request, caller, "Undo") if request.request_id else None,
        )
        response = pb.UndoResponse(
            revision=undone.revision, store_id=self._store.store_id, undone_revisions=undone.undone
        )
        _add_conflicts(response, undone, dry_run=request.validate_only)
        return response

    async def Redo(self, request: pb.RedoRequest, caller: Caller) -> pb.RedoResponse:
        """Take an undo back."""
        redone = await self._store.redo(
            group=request.group_id,
            run=request.run,
            revision=request.revision,
            origin=caller.origin,
            validate_only=request.validate_only,
            request=_request_key(request, caller, "Redo") if request.request_id else None,
        )
        response = pb.RedoResponse(
            revision=redone.revision, store_id=self._store.store_id, redone_revisions=redone.undone
        )
        _add_conflicts(response, redone, dry_run=request.validate_only)
        return response

    async def OpenLease(self, request: pb.OpenLeaseRequest, caller: Caller) -> pb.OpenLeaseResponse:
        """Open a lease."""
        ttl = convert.get_duration(request.ttl, "ttl") or DEFAULT_TTL
        response = pb.OpenLeaseResponse(lease_id=await self._leases.open(ttl, caller.origin))
        convert.put_duration(response.ttl, ttl)
        return response

    async def KeepLease(
        self, requests: AsyncIterator[pb.KeepLeaseRequest], caller: Caller
    ) -> AsyncGenerator[pb.KeepLeaseResponse, None]:
        """Extend a lease with each message."""
        async for request in requests:
            response = pb.KeepLeaseResponse(lease_id=request.lease_id)
            convert.put_duration(response.ttl, await self._leases.keep(request.lease_id, by=_owner(caller)))
            yield response

    async def CloseLease(self, request: pb.CloseLeaseRequest, caller: Caller) -> pb.CloseLeaseResponse:
        """Close a lease and delete its entries."""
        revision = await self._leases.close(request.lease_id, by=_owner(caller))
        return pb.CloseLeaseResponse(revision=revision, store_id=self._store.store_id)

    async def Compact(self, request: pb.CompactRequest, caller: Caller) -> pb.CompactResponse:
        """Drop old history."""
        oldest, dropped = await self._store.compact(request.revision)
        return pb.CompactResponse(oldest_revision=oldest, store_id=self._store.store_id, dropped=dropped)


async def _mutations(messages: Sequence[Any]) -> list[Mutation]:
    """Return the mutations; of many, the loop gets its turn in between."""
    found = convert.get_mutations(messages[:ENTRIES])
    for start in range(ENTRIES, len(messages), ENTRIES):
        await asyncio.sleep(0)
        found += convert.get_mutations(messages[start : start + ENTRIES], start)
    return found


def _owner(caller: Caller) -> str:
    """Return whose leases *caller* may use; the empty text is everybody's, which is an admin's right."""
    return "" if ADMIN in caller.principal.scopes else caller.principal.origin


def _request_key(request: pb.ApplyRequest | pb.UndoRequest | pb.RedoRequest, caller: Caller, method: str) -> RequestKey:
    return RequestKey(caller.principal.origin, method, request.request_id, digest(request))


def _add_conflicts(response: pb.UndoResponse | pb.RedoResponse, undone: Undone, *, dry_run: bool) -> None:
    """Show the conflicts of a dry run; otherwise they are an error, as nothing was done."""
    if not undone.conflicts:
        return
    if not dry_run:
        paths = ", ".join(entry.path for entry in undone.conflicts[:3])
        more = f" and {len(undone.conflicts) - 3} more" if len(undone.conflicts) > 3 else ""
        raise Conflict(
            f"nothing was changed, because others have written since: {paths}{more}; "
            "take those back first, or set the values you want",
            reason="UNDO_CONFLICT",
            metadata={"conflicts": str(len(undone.conflicts))},
            details=undone.conflicts,
        )
    for entry in undone.conflicts:
        convert.put_entry(response.conflicts.add(), entry)
