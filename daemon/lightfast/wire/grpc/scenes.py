"""Scenes: methods of ContextService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar

from lightfast.api.v1 import scenes_pb2 as pb
from lightfast.api.v1 import types_pb2
from lightfast.api.values import to_message
from lightfast.context.records import RequestKey
from lightfast.context.scenes.diff import Ref, compare
from lightfast.context.scenes.records import Difference, Scene, SceneEntry, Wanted
from lightfast.context.scenes.scenes import Scenes
from lightfast.core.errors import InvalidArgument, Unavailable
from lightfast.engine.scenes.recalls import Recalls
from lightfast.engine.scenes.records import VERIFY, Applied, Asked, Morphing, Planned, Problem, Step, Verified
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.interceptors import digest
from lightfast.wire.grpc.pages import Page, Pages
from lightfast.wire.grpc.repeat import Repeats
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

M = TypeVar("M")

_KEPT = frozenset({pb.RECALL_PHASE_APPLIED, pb.RECALL_PHASE_VERIFIED})
"""The phases that are told again to who repeats a request."""


class SceneMethods:
    """Scenes: methods of ContextService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "SaveScene": OPERATE,
        "GetScene": WATCH,
        "ListScenes": WATCH,
        "DeleteScene": OPERATE,
        "DiffScenes": WATCH,
        "RecallScene": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {"DeleteScene": "the deletion of a scene"}

    def __init__(self, services: Services) -> None:
        self._services = services
        self._scene_pages = Pages()
        self._repeats = Repeats(services.requests)

    @property
    def _scenes(self) -> Scenes:
        if self._services.scenes is None:
            raise Unavailable("this daemon runs without scenes", reason="SCENES_MISSING")
        return self._services.scenes

    @property
    def _recalls(self) -> Recalls:
        if self._services.recalls is None:
            raise Unavailable("this daemon runs without scenes", reason="SCENES_MISSING")
        return self._services.recalls

    async def SaveScene(self, request: pb.SaveSceneRequest, caller: Caller) -> pb.SaveSceneResponse:
        """Save values under a name."""
        scene = await self._scenes.save(
            Wanted(
                request.name,
                request.description,
                tuple(request.patterns),
                tuple(request.exclude),
                request.at_revision if request.HasField("at_revision") else None,
                request.etag,
            ),
            origin=caller.origin,
            validate_only=request.validate_only,
            request=_key(request, caller, "SaveScene"),
            replacing=lambda: self._services.show.guard.check("saving over a scene"),
        )
        return self._at(pb.SaveSceneResponse(scene=_scene(scene)))

    async def GetScene(self, request: pb.GetSceneRequest, caller: Caller) -> pb.GetSceneResponse:
        """Get a scene with what it holds."""
        scene = await self._scenes.get(request.name, request.version)
        query = ("GetScene", request.name, request.version)
        page = await self._page(request, query, lambda: self._scenes.entries(scene))
        response = self._at(pb.GetSceneResponse(scene=_scene(scene), next_page_token=page.token), page.revision)
        for entry in page.items:
            _put_entry(response.entries.add(), entry)
        return response

    async def ListScenes(self, request: pb.ListScenesRequest, caller: Caller) -> pb.ListScenesResponse:
        """List scenes."""
        page = await self._page(request, ("ListScenes",), self._scenes.all)
        response = self._at(pb.ListScenesResponse(next_page_token=page.token), page.revision)
        response.scenes.extend([_scene(scene) for scene in page.items])
        return response

    async def DeleteScene(self, request: pb.DeleteSceneRequest, caller: Caller) -> pb.DeleteSceneResponse:
        """Delete a scene."""
        key = _key(request, caller, "DeleteScene")
        await self._scenes.delete(request.name, etag=request.etag, request=key)
        return self._at(pb.DeleteSceneResponse())

    async def DiffScenes(self, request: pb.DiffScenesRequest, caller: Caller) -> pb.DiffScenesResponse:
        """Compare two sets of entries."""
        before, after = _ref(request.before, "before"), _ref(request.after, "after")
        patterns = tuple(request.patterns)

        async def found() -> Sequence[Difference]:
            return await compare(self._services.store, self._scenes, before, after, patterns)

        page = await self._page(request, ("DiffScenes", before, after, patterns), found)
        response = self._at(pb.DiffScenesResponse(next_page_token=page.token), page.revision)
        for difference in page.items:
            _put_difference(response.differences.add(), difference)
        return response

    async def RecallScene(
        self, request: pb.RecallSceneRequest, caller: Caller
    ) -> AsyncGenerator[pb.RecallSceneResponse | bytes, None]:
        """Bring the values of a scene back."""
        asked = Asked(
            request.name,
            request.version,
            tuple(request.patterns),
            tuple(request.exclude),
            request.validate_only,
            convert.get_duration(request.morph, "morph") if request.HasField("morph") else 0.0,
            request.curve,
            convert.get_duration(request.verify, "verify") if request.HasField("verify") else VERIFY,
        )
        steps = self._steps(asked, caller)
        if request.request_id and not request.validate_only:
            repeated = self._repeats.stream(
                steps, request, caller, "RecallScene", lambda message: message.phase in _KEPT
            )
            async with aclosing(repeated) as messages:
                async for data in messages:
                    yield data
            return
        async with aclosing(steps):
            async for message in steps:
                yield message

    async def _steps(self, asked: Asked, caller: Caller) -> AsyncGenerator[pb.RecallSceneResponse, None]:
        async with aclosing(self._recalls.recall(asked, origin=caller.origin)) as steps:
            async for step in steps:
                yield _step(step, self._services.store.store_id)

    async def _page(self, request: Any, query: tuple[object, ...], load: Any) -> Page:
        how: dict[str, Any] = {"query": query, "default": 1000, "most": 10_000}
        if request.page_token:
            return self._scene_pages.later(request.page_token, request.page_size, **how)
        revision = self._services.store.revision
        return self._scene_pages.first(await load(), revision, request.page_size, **how)

    def _at(self, response: M, revision: int = 0) -> M:
        filled: Any = response
        filled.revision = revision or self._services.store.revision
        filled.store_id = self._services.store.store_id
        return response


def _key(request: Any, caller: Caller, method: str) -> RequestKey | None:
    if not request.request_id:
        return None
    return RequestKey(caller.principal.origin, method, request.request_id, digest(request))


def _ref(message: pb.SceneRef, field: str) -> Ref:
    kind = message.WhichOneof("source")
    if message.version and kind != "scene":
        raise InvalidArgument(f"{field}.version is that of a scene: name one", field=f"{field}.version")
    if kind == "scene":
        return Ref(message.scene, message.version)
    if kind == "at_revision":
        return Ref(revision=message.at_revision)
    if kind == "at_time":
        return Ref(time=convert.get_time(message.at_time, f"{field}.at_time"))
    return Ref()


def _scene(scene: Scene) -> pb.Scene:
    message = pb.Scene(
        name=scene.name,
        description=scene.description,
        patterns=scene.patterns,
        exclude=scene.exclude,
        entries=scene.entries,
        saved_revision=scene.revision,
        version=scene.version,
        origin=scene.origin,
        mounts=scene.mounts,
        etag=scene.etag,
    )
    convert.put_time(message.create_time, scene.create_time)
    convert.put_time(message.update_time, scene.update_time)
    return message


def _put_entry(message: Any, entry: SceneEntry) -> None:
    message.path, message.revision, message.object_id = entry.path, entry.revision, entry.object_id
    message.entry_class = types_pb2.ENTRY_CLASS_SIGNAL if entry.signal else types_pb2.ENTRY_CLASS_STATE
    to_message(entry.value, message.value)


def _put_difference(message: pb.Difference, difference: Difference) -> None:
    message.path = difference.path
    if difference.before is not None:
        to_message(difference.before, message.before)
    if difference.after is not None:
        to_message(difference.after, message.after)


def _put_problem(message: pb.RecallProblem, problem: Problem) -> None:
    message.path, message.reason, message.queued = problem.path, problem.reason, problem.queued
    if problem.wished is not None:
        to_message(problem.wished, message.wished)
    if problem.found is not None:
        to_message(problem.found, message.found)


def _step(step: Step, store_id: str) -> pb.RecallSceneResponse:
    message = pb.RecallSceneResponse(store_id=store_id, group_id=step.group)
    if isinstance(step, Planned):
        message.phase = pb.RECALL_PHASE_PLANNED
        for change in step.changes:
            _put_difference(message.changes.add(), change)
    elif isinstance(step, Morphing):
        message.phase, message.progress = pb.RECALL_PHASE_MORPHING, step.progress
    elif isinstance(step, Applied):
        message.phase, message.revision, message.progress = pb.RECALL_PHASE_APPLIED, step.revision, 1.0
    elif isinstance(step, Verified):
        message.phase, message.revision, message.progress = pb.RECALL_PHASE_VERIFIED, step.revision, 1.0
        message.settled = step.settled
    for problem in getattr(step, "problems", ()):
        _put_problem(message.problems.add(), problem)
    return message
