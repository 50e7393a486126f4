"""Scenes over real sockets: each method, its pages, its bounds, a lock and a panic, and requests that are repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from tests.support.desk import until
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import scenes_pb2 as pb
from lightfast.api.v1 import show_pb2
from lightfast.api.values import from_message
from lightfast.context.entry import Set
from lightfast.wire.grpc import scenes as methods


async def put(daemon: Daemon, **values: Any) -> int:
    applied = await daemon.store.apply([Set("/" + name, value) for name, value in values.items()], origin="client:test")
    return applied.revision


async def collected(call: AsyncIterator[Any]) -> list[pb.RecallSceneResponse]:
    async with asyncio.timeout(60):
        return [message async for message in call]


def changes(messages: list[pb.RecallSceneResponse]) -> dict[str, tuple[Any, Any]]:
    return {
        each.path: (
            from_message(each.before) if each.HasField("before") else None,
            from_message(each.after) if each.HasField("after") else None,
        )
        for message in messages
        for each in message.changes
    }


async def test_each_method(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context = await daemon.stub()
        await put(daemon, a=1, b="x", c=(1.0, 2.0))
        request = pb.SaveSceneRequest(name="verse", description="the first", exclude=["/c"], request_id="r1")
        saved = await context.SaveScene(request)
        assert (saved.store_id, saved.revision) == (daemon.store.store_id, daemon.store.revision)
        scene = saved.scene
        assert (scene.name, scene.version, scene.entries, scene.saved_revision) == ("verse", 1, 2, 1)
        assert (list(scene.patterns), list(scene.exclude), scene.origin) == (["//"], ["/c"], "local")
        assert scene.create_time.seconds > 0
        assert (await context.SaveScene(request)).scene == scene
        listed = await context.ListScenes(pb.ListScenesRequest())
        assert list(listed.scenes) == [scene]
        got = await context.GetScene(pb.GetSceneRequest(name="verse", page_size=1))
        assert [(entry.path, from_message(entry.value)) for entry in got.entries] == [("/a", 1)]
        more = pb.GetSceneRequest(name="verse", page_size=1, page_token=got.next_page_token)
        later = await context.GetScene(more)
        assert [entry.path for entry in later.entries] == ["/b"]
        assert (later.next_page_token, later.scene) == ("", scene)
        revision = await put(daemon, a=2, b="y")
        diff = await context.DiffScenes(pb.DiffScenesRequest(before=pb.SceneRef(scene="verse", version=1)))
        assert [each.path for each in diff.differences] == ["/a", "/b"]
        by_revision = pb.DiffScenesRequest(
            before=pb.SceneRef(at_revision=1), after=pb.SceneRef(at_revision=revision), patterns=["/a"]
        )
        (only,) = (await context.DiffScenes(by_revision)).differences
        assert (from_message(only.before), from_message(only.after)) == (1, 2)
        dry = await collected(context.RecallScene(pb.RecallSceneRequest(name="verse", validate_only=True)))
        assert changes(dry) == {"/a": (2, 1), "/b": ("y", "x")}
        assert {message.phase for message in dry} == {pb.RECALL_PHASE_PLANNED}
        assert daemon.store.revision == revision
        done = await collected(context.RecallScene(pb.RecallSceneRequest(name="verse")))
        assert [message.phase for message in done] == [
            pb.RECALL_PHASE_PLANNED,
            pb.RECALL_PHASE_APPLIED,
            pb.RECALL_PHASE_VERIFIED,
        ]
        assert daemon.store.get("/a").value == 1  # type: ignore[union-attr]
        assert {message.group_id for message in done} == {done[-1].group_id}
        assert done[-1].revision == done[-2].revision == revision + 1
        await context.DeleteScene(pb.DeleteSceneRequest(name="verse", etag=scene.etag, request_id="r2"))
        await context.DeleteScene(pb.DeleteSceneRequest(name="verse", etag=scene.etag, request_id="r2"))
        refusal = await refused(context.GetScene(pb.GetSceneRequest(name="verse")))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SCENE_UNKNOWN")


async def test_a_repeated_recall_is_one(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context = await daemon.stub()
        await put(daemon, a=1)
        await context.SaveScene(pb.SaveSceneRequest(name="s"))
        await put(daemon, a=2)
        request = pb.RecallSceneRequest(name="s", request_id="once")
        first = await collected(context.RecallScene(request))
        revision = daemon.store.revision
        await put(daemon, a=3)
        again = await collected(context.RecallScene(request))
        assert again == [message for message in first if message.phase in methods._KEPT]
        assert daemon.store.revision == revision + 1
        assert daemon.store.get("/a").value == 3  # type: ignore[union-attr]


async def test_a_caller_that_leaves_stops_a_morph_and_one_with_a_request_id_does_not(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context = await daemon.stub()
        recalls = daemon.services.recalls
        assert recalls is not None
        await put(daemon, a=0.0)
        await context.SaveScene(pb.SaveSceneRequest(name="s"))
        await put(daemon, a=100.0)
        request = pb.RecallSceneRequest(name="s", curve="smooth")
        request.morph.FromMilliseconds(60_000)
        call = context.RecallScene(request, timeout=60)
        async for message in call:
            if message.phase == pb.RECALL_PHASE_MORPHING:
                break
        call.cancel()
        await until(lambda: recalls.running == 0)
        request.morph.FromMilliseconds(500)
        request.request_id = "goes on"
        call = context.RecallScene(request, timeout=60)
        async for message in call:
            if message.phase == pb.RECALL_PHASE_MORPHING:
                break
        call.cancel()
        await until(lambda: daemon.store.get("/a").value == 0.0)  # type: ignore[union-attr]
        told = await collected(context.RecallScene(request))
        assert [message.phase for message in told] == [pb.RECALL_PHASE_APPLIED, pb.RECALL_PHASE_VERIFIED]


async def test_a_deadline_stops_a_morph(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context = await daemon.stub()
        await put(daemon, a=0.0)
        await context.SaveScene(pb.SaveSceneRequest(name="s"))
        await put(daemon, a=100.0)
        request = pb.RecallSceneRequest(name="s")
        request.morph.FromMilliseconds(60_000)

        async def late() -> None:
            async for _ in context.RecallScene(request, timeout=0.5):
                pass

        assert (await refused(late())).code is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: daemon.services.recalls.running == 0)  # type: ignore[union-attr]


async def test_a_lock_keeps_scenes_and_lets_recalls_through(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context, show = await daemon.stub(), await daemon.stub("show")
        await put(daemon, a=1)
        await context.SaveScene(pb.SaveSceneRequest(name="s"))
        await put(daemon, a=2)
        await show.LockShow(show_pb2.LockShowRequest())
        for call in (
            context.SaveScene(pb.SaveSceneRequest(name="s")),
            context.SaveScene(pb.SaveSceneRequest(name="s", validate_only=True)),
            context.DeleteScene(pb.DeleteSceneRequest(name="s")),
        ):
            assert (await refused(call)).reason == "SHOW_LOCKED"
        await context.SaveScene(pb.SaveSceneRequest(name="new"))
        await collected(context.RecallScene(pb.RecallSceneRequest(name="s")))
        assert daemon.store.get("/a").value == 1  # type: ignore[union-attr]
        await show.Panic(show_pb2.PanicRequest())
        refusal = await refused(collected(context.RecallScene(pb.RecallSceneRequest(name="new"))))
        assert refusal.reason == "PANIC"
        await show.ReleasePanic(show_pb2.ReleasePanicRequest())
        await collected(context.RecallScene(pb.RecallSceneRequest(name="new")))


async def test_what_is_malformed_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context = await daemon.stub()
        await put(daemon, a=1)
        await context.SaveScene(pb.SaveSceneRequest(name="s"))
        for request, field in (
            (pb.RecallSceneRequest(name="s", curve="wild"), "curve"),
            (pb.RecallSceneRequest(name="s", patterns=["/a["]), "pattern"),
            (pb.RecallSceneRequest(name="none"), "name"),
            (pb.RecallSceneRequest(name="s", version=9), "version"),
        ):
            assert (await refused(collected(context.RecallScene(request)))).fields == [field]
        long = pb.RecallSceneRequest(name="s")
        long.morph.FromSeconds(3601)
        assert (await refused(collected(context.RecallScene(long)))).fields == ["morph"]
        wrong = pb.DiffScenesRequest(before=pb.SceneRef(at_revision=1, version=2))
        assert (await refused(context.DiffScenes(wrong))).fields == ["before.version"]
        for unary, reason in (
            (context.SaveScene(pb.SaveSceneRequest(name="")), "SCENE_NAME_INVALID"),
            (context.SaveScene(pb.SaveSceneRequest(name="s", etag="old")), "ETAG_MISMATCH"),
            (context.SaveScene(pb.SaveSceneRequest(name="t", at_revision=99)), "REVISION_FUTURE"),
            (context.GetScene(pb.GetSceneRequest(name="s", page_token="x")), "PAGE_TOKEN_INVALID"),
            (context.ListScenes(pb.ListScenesRequest(page_size=-1)), "INVALID_ARGUMENT"),
        ):
            assert (await refused(unary)).reason == reason
