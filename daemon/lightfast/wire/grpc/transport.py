"""TransportService: shows and moves the timeline."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import transport_pb2 as pb
from lightfast.api.values import set_time
from lightfast.core.errors import InvalidArgument, Unimplemented
from lightfast.engine.transport.records import AppTransport, TransportRecord
from lightfast.engine.transport.transport import Transport
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

DEFAULT_RATE_HZ = 10.0


class TransportService:
    """The methods of `lightfast.api.v1.TransportService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["TransportService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "GetTransport": WATCH,
        "Play": OPERATE,
        "Stop": OPERATE,
        "Seek": OPERATE,
        "SetTempo": OPERATE,
        "WatchTransport": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"Play", "Stop", "Seek", "SetTempo"})

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._given = services.transport

    @property
    def _transport(self) -> Transport:
        if self._given is None:
            raise Unimplemented("this daemon was put together without a transport")
        return self._given

    async def GetTransport(self, request: pb.GetTransportRequest, caller: Caller) -> pb.GetTransportResponse:
        """Show the timeline."""
        return pb.GetTransportResponse(**self._now())

    async def Play(self, request: pb.PlayRequest, caller: Caller) -> pb.PlayResponse:
        """Play."""
        await self._transport.play(True)
        return pb.PlayResponse(**self._now())

    async def Stop(self, request: pb.StopRequest, caller: Caller) -> pb.StopResponse:
        """Stop."""
        await self._transport.play(False)
        return pb.StopResponse(**self._now())

    async def Seek(self, request: pb.SeekRequest, caller: Caller) -> pb.SeekResponse:
        """Go to a position."""
        match request.WhichOneof("target"):
            case "position":
                await self._transport.seek(seconds=request.position)
            case "beats":
                await self._transport.seek(beats=request.beats)
            case "frames":
                await self._transport.seek(frames=request.frames)
            case "timecode":
                await self._transport.seek(timecode=request.timecode)
            case _:
                raise InvalidArgument("give a position, beats, frames or a timecode", field="target")
        return pb.SeekResponse(**self._now())

    async def SetTempo(self, request: pb.SetTempoRequest, caller: Caller) -> pb.SetTempoResponse:
        """Set the tempo."""
        await self._transport.set_tempo(request.tempo)
        return pb.SetTempoResponse(**self._now())

    async def WatchTransport(self, request: pb.WatchTransportRequest, caller: Caller) -> AsyncGenerator[bytes, None]:
        """Send the timeline whenever it changes."""
        records = self._transport.watch(request.max_rate_hz or DEFAULT_RATE_HZ)
        try:
            async for record in records:
                yield pb.WatchTransportResponse(
                    transport=_message(record), revision=self._store.revision, store_id=self._store.store_id
                ).SerializeToString()
        finally:
            await records.aclose()

    def _now(self) -> dict[str, Any]:
        return {
            "transport": _message(self._transport.record()),
            "revision": self._store.revision,
            "store_id": self._store.store_id,
        }


def _message(record: TransportRecord) -> pb.Transport:
    message = pb.Transport(
        playing=record.playing,
        position=record.position,
        beats=record.beats,
        frames=record.frames,
        timecode=record.timecode,
        tempo=record.tempo,
        frame_rate=record.frame_rate,
        frames_per_second=record.frames_per_second,
        leader=record.leader,
        leading=record.leading,
        notice=record.notice,
        apps=[_app(app) for app in record.apps],
    )
    set_time(message.time, record.time)
    return message


def _app(app: AppTransport) -> pb.TransportApp:
    return pb.TransportApp(
        mount=app.mount,
        role=pb.TransportRole.Value(f"TRANSPORT_ROLE_{app.role}"),
        state=pb.TransportAppState.Value(f"TRANSPORT_APP_STATE_{app.standing}"),
        reason=app.reason,
        offset=app.follow.offset,
        follow_tempo=app.follow.tempo,
        phase_ms=app.phase_ms,
        phase_p99_ms=app.phase_p99_ms,
        drift_ppm=app.drift_ppm,
        samples=app.samples,
        corrections=app.corrections,
        has=app.has,
    )
