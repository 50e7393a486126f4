"""Purge and collector: methods of ContextService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import upkeep_pb2 as pb
from lightfast.core.errors import Unavailable
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.repeat import Repeats
from lightfast.wire.grpc.services import ADMIN, Caller, Services

if TYPE_CHECKING:
    from lightfast.context.upkeep.collector import Report
    from lightfast.context.upkeep.purge import Step


class UpkeepMethods:
    """Purge and collector: methods of ContextService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Purge": ADMIN,
        "CollectGarbage": ADMIN,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services
        self._repeats = Repeats(services.requests)

    async def Purge(self, request: pb.PurgeRequest, caller: Caller) -> AsyncGenerator[bytes, None]:
        """Remove something for ever."""
        from lightfast.context.upkeep.purge_target import make_target  # a purge is rare: nothing of it is loaded before

        if self._services.purger is None:
            raise Unavailable("this daemon cannot purge", reason="PURGE_ABSENT")
        purger = self._services.purger()
        target = make_target(request.patterns, request.memories, request.frame_ids, request.text, request.assets)
        if request.validate_only:
            steps = purger.count(target)
        else:
            self._services.show.guard.check("a purge")
            purger.check(target, request.reason)
            steps = purger.purge(target, origin=caller.origin, reason=request.reason)
        # The answer is kept with a digest of the request: without the text, which could be guessed from it.
        clean = pb.PurgeRequest()
        clean.CopyFrom(request)
        clean.ClearField("text")
        async with aclosing(
            self._repeats.stream(_steps(steps), clean, caller, "Purge", lambda step: step.HasField("tombstone"))
        ) as messages:
            async for message in messages:
                yield message

    async def CollectGarbage(
        self, request: pb.CollectGarbageRequest, caller: Caller
    ) -> AsyncGenerator[pb.CollectGarbageResponse, None]:
        """Run the collector."""
        if self._services.collector is None:
            raise Unavailable("this daemon collects nothing", reason="COLLECTOR_ABSENT")
        collector = self._services.collector()
        if not request.validate_only:
            self._services.show.guard.check("a collection")
        reports = collector.collect(
            seconds=convert.get_duration(request.time_budget, "time_budget")
            if request.HasField("time_budget")
            else 60.0,
            size=request.byte_budget,
            kinds=tuple(request.kinds),
            dry=request.validate_only,
        )
        async with aclosing(reports):
            async for report in reports:
                yield _collected(report)


_ACTIONS = {
    "evict": pb.COLLECT_ACTION_EVICT,
    "demote": pb.COLLECT_ACTION_DEMOTE,
    "delete": pb.COLLECT_ACTION_DELETE,
}


def _collected(report: Report) -> pb.CollectGarbageResponse:
    message = pb.CollectGarbageResponse(
        bytes=report.size,
        visited=report.visited,
        kept=report.kept,
        exhausted=report.exhausted,
        done=report.done,
        refused=report.refused,
    )
    for item in report.items:
        message.items.add(
            kind=item.kind, id=item.ident, action=_ACTIONS[item.action], bytes=item.size, reason=item.reason
        )
    return message


async def _steps(steps: AsyncGenerator[Step, None]) -> AsyncGenerator[pb.PurgeResponse, None]:
    async with aclosing(steps):
        async for step in steps:
            message = pb.PurgeResponse(stage=step.stage, done=step.done, total=step.total, remaining=step.remaining)
            if (tombstone := step.tombstone) is not None:
                message.tombstone.purge_id = tombstone.purge_id
                message.tombstone.origin = tombstone.origin
                message.tombstone.reason = tombstone.reason
                message.tombstone.removed.update(tombstone.removed)
                convert.put_time(message.tombstone.time, tombstone.time)
            yield message
