"""Scenes, for both clients: saving, comparing and recalling what the applications hold.

from lightfast.client import Client

with Client() as client:
    client.save_scene("verse", "/ableton//", "/blender//")
    # … later: three seconds on the way, then whoever does not hold its value is named
    for step in client.recall_scene("verse", morph=3, curve="smooth"):
        for problem in step.problems:
            print(problem.path, problem.reason)
    client.undo(group=step.group_id)
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import scenes_pb2 as pb
from lightfast.client import records

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")
MAX_PAGE = 10_000


class SceneCalls:
    """Methods of `AsyncClient`; *context* is the stub."""

    context: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def save_scene(self, name: str, *patterns: str, timeout: float = 60.0, **options: Any) -> pb.Scene:
        """Save what *patterns* match (none: what it held before, or everything); saved again it gets a new version.

        The options are the other fields of `SaveSceneRequest`: *description*, *exclude*, *at_revision*, *etag*…
        """
        request = pb.SaveSceneRequest(name=name, patterns=patterns, **{"request_id": _new(), **options})
        return (await self.call(self.context.SaveScene, request, timeout)).scene  # type: ignore[no-any-return]

    async def get_scene(self, name: str, *, version: int = 0) -> tuple[pb.Scene, list[records.Entry]]:
        """Return a scene, the newest version by default, with all it holds."""
        request = pb.GetSceneRequest(name=name, version=version, page_size=MAX_PAGE)
        found: list[records.Entry] = []
        while True:
            response = await self.call(self.context.GetScene, request)
            found.extend(records.entry(message) for message in response.entries)
            if not response.next_page_token:
                return response.scene, found
            request.page_token = response.next_page_token

    async def list_scenes(self) -> list[pb.Scene]:
        """Return all scenes, ordered by name."""
        request = pb.ListScenesRequest(page_size=MAX_PAGE)
        found: list[pb.Scene] = []
        while True:
            response = await self.call(self.context.ListScenes, request)
            found.extend(response.scenes)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def delete_scene(self, name: str, *, etag: str = "") -> None:
        """Delete a scene with all its versions."""
        await self.call(self.context.DeleteScene, pb.DeleteSceneRequest(name=name, etag=etag, request_id=_new()))

    async def diff_scenes(
        self, before: str | int | None, after: str | int | None = None, *patterns: str
    ) -> list[pb.Difference]:
        """Return what differs between two sets: a scene by its name, a revision by its number, `None` for now."""
        request = pb.DiffScenesRequest(before=_ref(before), after=_ref(after), patterns=patterns, page_size=MAX_PAGE)
        found: list[pb.Difference] = []
        while True:
            response = await self.call(self.context.DiffScenes, request)
            found.extend(response.differences)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def recall_scene(
        self, name: str, *patterns: str, morph: float = 0.0, verify: float | None = None, **options: Any
    ) -> AsyncIterator[pb.RecallSceneResponse]:
        """Bring a scene back, or what of it *patterns* match, and yield every step as it comes; leaving stops a morph.

        *morph* and *verify* are in seconds; the options are the other fields of `RecallSceneRequest`: *exclude*,
        *curve*, *version*, *validate_only*…
        """
        request = pb.RecallSceneRequest(name=name, patterns=patterns, **options)
        request.morph.FromNanoseconds(round(morph * 1e9))
        if verify is not None:
            request.verify.FromNanoseconds(round(verify * 1e9))
        start = partial(self.context.RecallScene, request, metadata=self.metadata)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                yield message


class BlockingSceneCalls:
    """The same, for the blocking client; see `SceneCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def save_scene(self, name: str, *patterns: str, **options: Any) -> pb.Scene:
        """Save what *patterns* match (none: what it held before, or everything)."""
        return self._run(self.aio.save_scene(name, *patterns, **options))

    def get_scene(self, name: str, *, version: int = 0) -> tuple[pb.Scene, list[records.Entry]]:
        """Return a scene with all it holds."""
        return self._run(self.aio.get_scene(name, version=version))

    def list_scenes(self) -> list[pb.Scene]:
        """Return all scenes, ordered by name."""
        return self._run(self.aio.list_scenes())

    def delete_scene(self, name: str, *, etag: str = "") -> None:
        """Delete a scene with all its versions."""
        self._run(self.aio.delete_scene(name, etag=etag))

    def diff_scenes(
        self, before: str | int | None, after: str | int | None = None, *patterns: str
    ) -> list[pb.Difference]:
        """Return what differs between two sets: a scene by its name, a revision by its number, `None` for now."""
        return self._run(self.aio.diff_scenes(before, after, *patterns))

    def recall_scene(self, name: str, *patterns: str, **options: Any) -> Iterator[pb.RecallSceneResponse]:
        """Bring a scene back, or what of it *patterns* match, and yield every step as it comes."""
        return self._iterate(self.aio.recall_scene(name, *patterns, **options))


def _ref(source: str | int | None) -> pb.SceneRef:
    if source is None:
        return pb.SceneRef()
    return pb.SceneRef(scene=source) if isinstance(source, str) else pb.SceneRef(at_revision=source)


def _new() -> str:
    return uuid.uuid4().hex
