"""Frames of the archive: methods of MemoryService."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.core.errors import InvalidArgument, Unavailable
from lightfast.security.tokens import Scope
from lightfast.storage.archive.records import Match, Order
from lightfast.wire.grpc.cluster_messages import clusters_around, clusters_page
from lightfast.wire.grpc.frame_messages import MAX_BYTES, MAX_FRAMES, get_frames, get_query, put_frame
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

if TYPE_CHECKING:
    from lightfast.storage.archive.archive import Archive

MAX_BATCH = 1 << 20
"""How many bytes of hits one message has at most; one hit alone may be larger."""
MAX_MESSAGE = 60 << 20
"""A frame that takes more bytes cannot be sent at all; of a hit that does, all but text and metadata is sent."""
DEADLINE_S = 30.0
"""How many seconds a search may take, unless its caller has gone before."""


class FrameMethods:
    """Frames of the archive: methods of MemoryService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "AppendFrames": OPERATE,
        "GetFrames": WATCH,
        "SearchFrames": WATCH,
        "ListClusters": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def AppendFrames(self, request: pb.AppendFramesRequest, caller: Caller) -> pb.AppendFramesResponse:
        """Append frames."""
        size = request.ByteSize()
        if len(request.frames) > MAX_FRAMES or size > MAX_BYTES:
            raise InvalidArgument(
                f"{len(request.frames):,} frames of {size:,} bytes are too much for one call: send at most "
                f"{MAX_FRAMES:,} and {MAX_BYTES >> 20} MiB",
                reason="TOO_MANY_FRAMES",
                field="frames",
            )
        frames = get_frames(request.frames)

        async def act(name: str = "") -> bytes:
            ids = await self._archive().append(frames, request=name) if frames else []
            return pb.AppendFramesResponse(frame_ids=ids).SerializeToString()

        if not request.request_id:
            return pb.AppendFramesResponse.FromString(await act())
        payload = _told(request).SerializeToString(deterministic=True)
        # The frames are durable before the answer is: between the two only they themselves know of the request.
        name = hashlib.sha256(f"{caller.principal.origin}\0{request.request_id}".encode()).hexdigest()[:32]
        answer = await self._services.requests.once(
            caller.principal.origin, "AppendFrames", request.request_id, payload, partial(act, name)
        )
        return pb.AppendFramesResponse.FromString(answer)

    async def GetFrames(self, request: pb.GetFramesRequest, caller: Caller) -> pb.GetFramesResponse:
        """Get frames; those that do not fit into one answer are to be asked for again."""
        wanted = list(dict.fromkeys(request.frame_ids))
        if len(wanted) > MAX_FRAMES:
            raise InvalidArgument(
                f"{len(wanted):,} frames are too many for one call: ask for at most {MAX_FRAMES:,}", field="frame_ids"
            )
        archive = self._archive()
        found = await archive.get(wanted)
        lost = [frame_id for frame_id in wanted if frame_id not in found]
        missing = await archive.why(lost) if lost else {}
        response = pb.GetFramesResponse()
        left = MAX_BYTES
        for frame_id in wanted:
            frame = found.get(frame_id)
            if frame is None:
                response.missing[frame_id] = missing.get(frame_id, "unknown: there is no frame of this id")
                continue
            message = pb.Frame()
            put_frame(message, frame)
            size = message.ByteSize()
            if size > MAX_MESSAGE:
                response.missing[frame_id] = f"large: its {size:,} bytes do not fit into any answer, export it"
            elif size > left and response.frames:
                response.missing[frame_id] = f"large: its {size:,} bytes do not fit into this answer, ask for it alone"
            else:
                response.frames.append(message)
                left -= size
        return response

    async def SearchFrames(
        self, request: pb.SearchFramesRequest, caller: Caller
    ) -> AsyncGenerator[pb.SearchFramesResponse, None]:
        """Search frames; hits are sent as they are found."""
        archive = self._archive()
        query = get_query(request)
        unreadable = 0
        response = pb.SearchFramesResponse()
        if request.ids_only and query.order is Order.NEWEST and query.match is not Match.PHRASE:
            ids = await archive.search_ids(query, deadline=DEADLINE_S)
            for begin in range(0, len(ids), MAX_FRAMES):
                response = pb.SearchFramesResponse()
                for frame_id in ids[begin : begin + MAX_FRAMES]:
                    response.hits.add().frame.frame_id = frame_id
                if begin + MAX_FRAMES < len(ids):
                    yield response
            response.done = True
            yield response
            return
        size = 0
        async with aclosing(archive.stream(query, deadline=DEADLINE_S)) as batches:
            async for batch in batches:
                unreadable += batch.unreadable
                for hit in batch.hits:
                    message = pb.SearchFramesResponse.Hit(score=hit.score)
                    if request.ids_only:
                        message.frame.frame_id = hit.frame.frame_id
                    else:
                        put_frame(message.frame, hit.frame)
                    length = message.ByteSize()
                    if length > MAX_MESSAGE:
                        message.frame.ClearField("text")
                        message.frame.ClearField("metadata")
                        length = message.ByteSize()
                    if size and size + length > MAX_BATCH:
                        yield response
                        response, size = pb.SearchFramesResponse(), 0
                    response.hits.append(message)
                    size += length
                if response.hits:
                    yield response
                    response, size = pb.SearchFramesResponse(), 0
        response.done, response.unreadable = True, unreadable
        yield response

    async def ListClusters(self, request: pb.ListClustersRequest, caller: Caller) -> pb.ListClustersResponse:
        """List clusters, or that of one frame with its relations."""
        layers = self._services.layers
        if layers is not None:
            await layers.arrive()
        layer = None if layers is None else layers.emergence
        if layer is None:
            why = "it has no layers" if layers is None else layers.emergence_off
            raise Unavailable(f"this daemon finds no clusters: {why}", reason="EMERGENCE_OFF")
        if request.frame_id:
            return await clusters_around(layer, self._archive(), request.frame_id)
        return await clusters_page(layer, request.page_size, request.page_token)

    def _archive(self) -> Archive:
        if self._services.archive is None:
            raise Unavailable("this daemon has no archive", reason="ARCHIVE_ABSENT")
        return self._services.archive


def _told(request: pb.AppendFramesRequest) -> pb.AppendFramesRequest:
    """Return what of *request* a digest is kept of: not what private frames say, which could be guessed from it."""
    told = pb.AppendFramesRequest()
    told.CopyFrom(request)
    for frame in told.frames:
        if frame.private:
            frame.ClearField("text")
            frame.ClearField("data")
            frame.ClearField("metadata")
    return told
