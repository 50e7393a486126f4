"""Running a show, for both clients: `await client.show.lock("opening night")`, `client.lock_show("…")`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from lightfast.api.v1 import show_pb2, show_pb2_grpc

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

MAX_PAGE = 1000


class Shows:
    """The show of one daemon; `stub` is there for what these methods do not cover. Errors as everywhere."""

    def __init__(self, client: AsyncClient) -> None:
        self.stub = show_pb2_grpc.ShowServiceStub(client.channel)
        self._client = client

    async def get(self) -> show_pb2.GetShowResponse:
        """Return the lock, the panic and what is being recorded."""
        return await self._client.call(self.stub.GetShow, show_pb2.GetShowRequest())  # type: ignore[no-any-return]

    async def lock(self, reason: str = "") -> show_pb2.Show:
        """Lock the show: nothing it stands on is changed until it is unlocked."""
        response = await self._client.call(self.stub.LockShow, show_pb2.LockShowRequest(reason=reason))
        return response.show  # type: ignore[no-any-return]

    async def unlock(self) -> show_pb2.Show:
        """Unlock the show."""
        return (await self._client.call(self.stub.UnlockShow, show_pb2.UnlockShowRequest())).show  # type: ignore[no-any-return]

    async def panic(self, reason: str = "") -> show_pb2.PanicResponse:
        """Stop links, commands, AI and replays at once."""
        return await self._client.call(self.stub.Panic, show_pb2.PanicRequest(reason=reason))  # type: ignore[no-any-return]

    async def release(self) -> show_pb2.Show:
        """Let everything go on."""
        response = await self._client.call(self.stub.ReleasePanic, show_pb2.ReleasePanicRequest())
        return response.show  # type: ignore[no-any-return]

    async def record(self, name: str, patterns: Sequence[str] = (), seconds: float = 0.0) -> show_pb2.Recording:
        """Begin to record what matches *patterns* (none: everything), for *seconds* (0: until it is stopped)."""
        request = show_pb2.StartRecordingRequest(
            name=name, patterns=patterns, duration=_duration(seconds), request_id=uuid.uuid4().hex
        )
        return (await self._client.call(self.stub.StartRecording, request)).recording  # type: ignore[no-any-return]

    async def stop_recording(self, name: str = "") -> show_pb2.Recording:
        """End the recording under way."""
        request = show_pb2.StopRecordingRequest(name=name, request_id=uuid.uuid4().hex)
        return (await self._client.call(self.stub.StopRecording, request)).recording  # type: ignore[no-any-return]

    async def recordings(self) -> list[show_pb2.Recording]:
        """Return all recordings, the one under way included, ordered by name."""
        request = show_pb2.ListRecordingsRequest(page_size=MAX_PAGE)
        found: list[show_pb2.Recording] = []
        while True:
            response = await self._client.call(self.stub.ListRecordings, request)
            found.extend(response.recordings)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def delete_recording(self, name: str) -> None:
        """Delete a recording."""
        request = show_pb2.DeleteRecordingRequest(name=name, request_id=uuid.uuid4().hex)
        await self._client.call(self.stub.DeleteRecording, request)

    async def pack_recording(self, name: str, hz: float = 0.0) -> show_pb2.Recording:
        """Pack a recording; *hz* above 0 keeps at most so many samples a second of each signal."""
        request = show_pb2.PackRecordingRequest(name=name, hz=hz, request_id=uuid.uuid4().hex)
        response = await self._client.call(self.stub.PackRecording, request, timeout=600)
        return response.recording  # type: ignore[no-any-return]

    async def export_recording(self, name: str) -> AsyncIterator[bytes]:
        """Yield a recording as lines of JSON in UTF-8, whole lines at a time."""
        request = show_pb2.ExportRecordingRequest(name=name)
        call = partial(self.stub.ExportRecording, request, metadata=self._client.metadata)
        async with aclosing(self._client.messages(call)) as messages:
            async for message in messages:
                yield message.lines

    async def replay(
        self, name: str, *, start: float = 0.0, end: float = 0.0, **options: Any
    ) -> AsyncIterator[show_pb2.ReplayResponse]:
        """Replay a recording, from *start* to *end* in seconds, and yield every step as it comes.

        The options are the other fields of `ReplayRequest`.
        """
        request = show_pb2.ReplayRequest(name=name, start=_duration(start), end=_duration(end), **options)
        call = partial(self.stub.Replay, request, metadata=self._client.metadata)
        async with aclosing(self._client.messages(call)) as messages:
            async for message in messages:
                yield message


class BlockingShows:
    """The same, for the blocking client; see `Shows`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def get_show(self) -> show_pb2.GetShowResponse:
        """Return the lock, the panic and what is being recorded."""
        return self._run(self.aio.show.get())

    def lock_show(self, reason: str = "") -> show_pb2.Show:
        """Lock the show: nothing it stands on is changed until it is unlocked."""
        return self._run(self.aio.show.lock(reason))

    def unlock_show(self) -> show_pb2.Show:
        """Unlock the show."""
        return self._run(self.aio.show.unlock())

    def panic(self, reason: str = "") -> show_pb2.PanicResponse:
        """Stop links, commands, AI and replays at once."""
        return self._run(self.aio.show.panic(reason))

    def release_panic(self) -> show_pb2.Show:
        """Let everything go on."""
        return self._run(self.aio.show.release())

    def record(self, name: str, patterns: Sequence[str] = (), seconds: float = 0.0) -> show_pb2.Recording:
        """Begin to record what matches *patterns* (none: everything), for *seconds* (0: until it is stopped)."""
        return self._run(self.aio.show.record(name, patterns, seconds))

    def stop_recording(self, name: str = "") -> show_pb2.Recording:
        """End the recording under way."""
        return self._run(self.aio.show.stop_recording(name))

    def recordings(self) -> list[show_pb2.Recording]:
        """Return all recordings, the one under way included, ordered by name."""
        return self._run(self.aio.show.recordings())

    def pack_recording(self, name: str, hz: float = 0.0) -> show_pb2.Recording:
        """Pack a recording; *hz* above 0 keeps at most so many samples a second of each signal."""
        return self._run(self.aio.show.pack_recording(name, hz))

    def delete_recording(self, name: str) -> None:
        """Delete a recording."""
        self._run(self.aio.show.delete_recording(name))

    def export_recording(self, name: str) -> Iterator[bytes]:
        """Yield a recording as lines of JSON in UTF-8, whole lines at a time."""
        return self._iterate(self.aio.show.export_recording(name))

    def replay(self, name: str, **options: Any) -> Iterator[show_pb2.ReplayResponse]:
        """Replay a recording, and yield every step as it comes; the options are the fields of `ReplayRequest`."""
        return self._iterate(self.aio.show.replay(name, **options))


def _duration(seconds: float) -> Duration:
    found = Duration()
    found.FromNanoseconds(round(seconds * 1e9))
    return found
