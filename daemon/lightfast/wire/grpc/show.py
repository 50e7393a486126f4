"""ShowService: the lock, the panic, and recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import show_pb2 as pb
from lightfast.api.values import to_message
from lightfast.engine.journal.compare import Difference
from lightfast.engine.journal.plan import Outcome, Plan, Planned, Progress, Step
from lightfast.engine.journal.reader import Summary
from lightfast.engine.journal.recorder import Recording
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.pages import Pages
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services


class ShowService:
    """The methods of `lightfast.api.v1.ShowService`.

    Whoever may operate may lock, unlock, stop and release, whoever did it before: in a show the nearest hand counts.
    """

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["ShowService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "LockShow": OPERATE,
        "UnlockShow": OPERATE,
        "GetShow": WATCH,
        "Panic": OPERATE,
        "ReleasePanic": OPERATE,
        "StartRecording": OPERATE,
        "StopRecording": OPERATE,
        "ListRecordings": WATCH,
        "DeleteRecording": OPERATE,
        "PackRecording": OPERATE,
        "ExportRecording": WATCH,
        "Replay": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"StartRecording", "StopRecording", "DeleteRecording", "PackRecording"})

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._show = services.show
        self._journal = services.journal
        self._gateway = services.gateway
        self._pages = Pages()

    async def LockShow(self, request: pb.LockShowRequest, caller: Caller) -> pb.LockShowResponse:
        """Lock the show."""
        await self._show.lock(caller.origin, request.reason)
        return pb.LockShowResponse(show=self._shown(), revision=self._store.revision, store_id=self._store.store_id)

    async def UnlockShow(self, request: pb.UnlockShowRequest, caller: Caller) -> pb.UnlockShowResponse:
        """Unlock the show."""
        await self._show.unlock(caller.origin)
        return pb.UnlockShowResponse(show=self._shown(), revision=self._store.revision, store_id=self._store.store_id)

    async def GetShow(self, request: pb.GetShowRequest, caller: Caller) -> pb.GetShowResponse:
        """Show how the show stands."""
        response = pb.GetShowResponse(
            show=self._shown(),
            replays=self._journal.replays.running,
            revision=self._store.revision,
            store_id=self._store.store_id,
        )
        active = self._journal.recorder.active
        if active is not None:
            response.recording.CopyFrom(self._active(active))
        return response

    async def Panic(self, request: pb.PanicRequest, caller: Caller) -> pb.PanicResponse:
        """Stop everything: first that, then all else."""
        failed = self._show.stop(caller.origin, request.reason)
        cancelled = self._gateway.cancel_all("panic")
        return pb.PanicResponse(
            cancelled_operations=cancelled,
            revision=await self._show.recorded(),
            show=self._shown(),
            store_id=self._store.store_id,
            failed=failed,
        )

    async def ReleasePanic(self, request: pb.ReleasePanicRequest, caller: Caller) -> pb.ReleasePanicResponse:
        """Let everything go on."""
        failed = await self._show.release(caller.origin)
        return pb.ReleasePanicResponse(
            show=self._shown(), revision=self._store.revision, store_id=self._store.store_id, failed=failed
        )

    async def StartRecording(self, request: pb.StartRecordingRequest, caller: Caller) -> pb.StartRecordingResponse:
        """Begin to record."""
        seconds = convert.get_duration(request.duration, "duration") if request.HasField("duration") else 0.0
        recording = self._journal.recorder.start(request.name, caller.origin, tuple(request.patterns), seconds)
        return pb.StartRecordingResponse(
            recording=self._active(recording), revision=self._store.revision, store_id=self._store.store_id
        )

    async def StopRecording(self, request: pb.StopRecordingRequest, caller: Caller) -> pb.StopRecordingResponse:
        """End the recording under way."""
        name = await self._journal.recorder.stop(request.name)
        return pb.StopRecordingResponse(recording=_recording(await self._journal.get(name)))

    async def ListRecordings(self, request: pb.ListRecordingsRequest, caller: Caller) -> pb.ListRecordingsResponse:
        """List the recordings."""
        query = ("ListRecordings",)
        if request.page_token:
            page = self._pages.later(request.page_token, request.page_size, query=query)
        else:
            found = [_recording(one) for one in await self._journal.list()]
            active = self._journal.recorder.active
            if active is not None:
                found = sorted([*found, self._active(active)], key=lambda one: one.name)
            page = self._pages.first(found, self._store.revision, request.page_size, query=query)
        return pb.ListRecordingsResponse(recordings=page.items, next_page_token=page.token)

    async def DeleteRecording(self, request: pb.DeleteRecordingRequest, caller: Caller) -> pb.DeleteRecordingResponse:
        """Delete a recording."""
        await self._journal.delete(request.name)
        return pb.DeleteRecordingResponse()

    async def PackRecording(self, request: pb.PackRecordingRequest, caller: Caller) -> pb.PackRecordingResponse:
        """Pack a recording."""
        return pb.PackRecordingResponse(recording=_recording(await self._journal.pack(request.name, request.hz)))

    async def ExportRecording(
        self, request: pb.ExportRecordingRequest, caller: Caller
    ) -> AsyncIterator[pb.ExportRecordingResponse]:
        """Send the lines of a recording."""
        async with aclosing(self._journal.export(request.name)) as parts:  # type: ignore[type-var]  # it is a generator
            async for part in parts:
                yield pb.ExportRecordingResponse(lines=part.encode())

    async def Replay(self, request: pb.ReplayRequest, caller: Caller) -> AsyncIterator[pb.ReplayResponse]:
        """Replay a recording."""
        plan = Plan(
            request.name,
            speed=request.speed or 1.0,
            start=convert.get_duration(request.start, "start"),
            end=convert.get_duration(request.end, "end"),
            apps=tuple(request.apps),
            everything=request.everything,
            dry=request.dry_run,
            check=request.check,
            set_up=request.set_up,
        )
        async with aclosing(self._journal.replays.replay(plan)) as steps:  # type: ignore[type-var]
            async for step in steps:
                yield self._step(step)

    def _shown(self) -> pb.Show:
        lock, stopped = self._show.guard.lock, self._show.panic.stopped
        message = pb.Show(holds=self._show.panic.holders, deferred=self._show.deferred())
        if lock is not None:
            message.locked, message.locked_by, message.lock_reason = True, lock.by, lock.reason
            convert.put_time(message.lock_time, lock.since)
        if stopped is not None:
            message.panic, message.panic_by, message.panic_reason = True, stopped.by, stopped.reason
            convert.put_time(message.panic_time, stopped.since)
        return message

    def _active(self, record: Recording) -> pb.Recording:
        message = pb.Recording(
            name=record.name,
            recorded_by=record.by,
            patterns=record.patterns,
            store_id=self._store.store_id,
            transactions=record.transactions,
            events=record.events,
            samples=record.samples,
            dropped=record.dropped,
            size=record.size,
            active=True,
        )
        convert.put_time(message.start_time, record.started)
        convert.put_duration(message.duration, record.seconds)
        return message

    def _step(self, step: Step) -> pb.ReplayResponse:
        response = pb.ReplayResponse()
        if isinstance(step, Progress):
            convert.put_duration(response.progress.position, step.at)
            convert.put_duration(response.progress.end, step.end)
            response.progress.transactions, response.progress.samples = step.transactions, step.samples
            convert.put_duration(response.progress.worst_lateness, step.worst_lateness)
        elif isinstance(step, Planned):
            convert.put_duration(response.write.position, step.at)
            response.write.action, response.write.path, response.write.source = step.what, step.path, step.source
            if step.value is not None:
                to_message(step.value, response.write.value)
        elif isinstance(step, Difference):
            found = response.difference
            found.kind, found.path, found.tolerance, found.note = step.kind, step.path, step.tolerance, step.note
            if step.recorded is not None:
                to_message(step.recorded, found.recorded)
            if step.replayed is not None:
                to_message(step.replayed, found.replayed)
        else:
            _put_outcome(response.result, step)
            response.result.store_id = self._store.store_id
        return response


def _put_outcome(message: pb.ReplayResponse.Result, outcome: Outcome) -> None:
    message.transactions, message.samples = outcome.transactions, outcome.samples
    message.refused, message.skipped = outcome.refused, outcome.skipped
    message.differences, message.checked, message.note = outcome.differences, outcome.checked, outcome.note
    message.group_id, message.revision = outcome.group, outcome.revision
    convert.put_duration(message.worst_lateness, outcome.worst_lateness)
    convert.put_duration(message.duration, outcome.seconds)


def _recording(record: Summary) -> pb.Recording:
    message = pb.Recording(
        name=record.name,
        recorded_by=record.by,
        patterns=record.patterns,
        store_id=record.store_id,
        transactions=record.transactions,
        events=record.events,
        samples=record.samples,
        dropped=record.dropped,
        size=record.size,
        incomplete=not record.complete,
        reason=record.reason,
    )
    convert.put_time(message.start_time, record.started)
    convert.put_duration(message.duration, record.seconds)
    return message
