"""The timeline, for both clients: what it is, and moving it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import transport_pb2 as pb

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class Timeline:
    """Methods of `AsyncClient`; *transport* is the stub."""

    transport: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def get_transport(self) -> pb.Transport:
        """Return the timeline as it is now, and how the applications stand to it."""
        return (await self.call(self.transport.GetTransport, pb.GetTransportRequest())).transport  # type: ignore[no-any-return]

    async def play(self) -> pb.Transport:
        """Play the timeline."""
        return (await self.call(self.transport.Play, pb.PlayRequest(request_id=_new()))).transport  # type: ignore[no-any-return]

    async def stop(self) -> pb.Transport:
        """Stop the timeline."""
        return (await self.call(self.transport.Stop, pb.StopRequest(request_id=_new()))).transport  # type: ignore[no-any-return]

    async def seek(
        self,
        position: float | None = None,
        *,
        beats: float | None = None,
        frames: int | None = None,
        timecode: str | None = None,
    ) -> pb.Transport:
        """Go to exactly one of *position* in seconds, *beats*, *frames* and *timecode* (`01:00:00:00`)."""
        given = {"position": position, "beats": beats, "frames": frames, "timecode": timecode}
        target: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if len(target) > 1:
            raise ValueError(f"give one of position, beats, frames and timecode, not {', '.join(target)}")
        request = pb.SeekRequest(request_id=_new(), **target)
        return (await self.call(self.transport.Seek, request)).transport  # type: ignore[no-any-return]

    async def set_tempo(self, tempo: float) -> pb.Transport:
        """Set the tempo in beats per minute."""
        request = pb.SetTempoRequest(tempo=tempo, request_id=_new())
        return (await self.call(self.transport.SetTempo, request)).transport  # type: ignore[no-any-return]

    async def watch_transport(self, max_rate_hz: float = 10.0) -> AsyncIterator[pb.Transport]:
        """Yield the timeline, then again at each change, while it plays at most *max_rate_hz* a second."""
        request = pb.WatchTransportRequest(max_rate_hz=max_rate_hz)
        start = partial(self.transport.WatchTransport, request, metadata=self.metadata)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                yield message.transport


class BlockingTimeline:
    """The same methods, blocking; see `Timeline`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def get_transport(self) -> pb.Transport:
        """Return the timeline as it is now, and how the applications stand to it."""
        return self._run(self.aio.get_transport())

    def play(self) -> pb.Transport:
        """Play the timeline."""
        return self._run(self.aio.play())

    def stop(self) -> pb.Transport:
        """Stop the timeline."""
        return self._run(self.aio.stop())

    def seek(
        self,
        position: float | None = None,
        *,
        beats: float | None = None,
        frames: int | None = None,
        timecode: str | None = None,
    ) -> pb.Transport:
        """Go to exactly one of *position* in seconds, *beats*, *frames* and *timecode*."""
        return self._run(self.aio.seek(position, beats=beats, frames=frames, timecode=timecode))

    def set_tempo(self, tempo: float) -> pb.Transport:
        """Set the tempo in beats per minute."""
        return self._run(self.aio.set_tempo(tempo))

    def watch_transport(self, max_rate_hz: float = 10.0) -> Iterator[pb.Transport]:
        """Yield the timeline, then again at each change."""
        return self._iterate(self.aio.watch_transport(max_rate_hz))


def _new() -> str:
    return uuid.uuid4().hex
