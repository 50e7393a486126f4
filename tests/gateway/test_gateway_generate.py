"""Generations from the request to the asset in the context, over a real store."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.support.gateway import Puppet, house
from tests.support.plugins import until

from lightfast.context.entry import Declaration, Set
from lightfast.core.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.gateway.calls import GenerateCall, OperationStep, StepProgress, StepUsage
from lightfast.gateway.operations import OperationState
from lightfast.sdk import Preview, TextDelta
from lightfast.storage.blobs import Provenance
from lightfast_link.value import Asset


async def test_an_image_is_made_stored_and_placed(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        source = await rooms.blobs.put(b"source", "image/png", "s.png", Provenance(origin="test"))
        steps = await rooms.run(
            "image", seed=7, settings={"steps": 30}, sources=(source.sha256,), target_path="/art/one", group="gesture"
        )
        kinds = [step.kind for step in steps]
        assert kinds[0] == StepProgress(0.5, "half", "puppet/draw", 7) or kinds[0] == StepProgress(
            0.0, "started", "puppet/draw", 7
        )
        assert Preview("image/png", b"small") in kinds
        asset = next(kind for kind in kinds if isinstance(kind, Asset))
        last = kinds[-1]
        assert isinstance(last, StepUsage)
        assert (last.input_tokens, last.output_tokens, last.cost_usd) == (3, 4, 0.25)
        assert last.duration > 0

        request = rooms.puppet.requests[0]
        assert request.settings == {"steps": 30, "strength": 0.5, "size": "small", "tiled": False}
        assert (request.model, request.seed, request.sources) == ("draw", 7, (b"source",))

        record = await rooms.blobs.get(asset.sha256)
        assert b"".join([part async for part in rooms.blobs.read(asset.sha256, 0, 1000)]) == bytes(1000)
        assert (record.media_type, record.name, record.size) == ("image/png", "one.png", 1000)
        made = record.provenance
        assert (made.origin, made.generator, made.prompt, made.sources) == (
            "client:test",
            "puppet/draw",
            "image",
            (source.sha256,),
        )
        assert json.loads(made.settings) == {
            "steps": 30,
            "strength": 0.5,
            "size": "small",
            "tiled": False,
            "own": 1,
            "seed": 7,
        }

        entry = rooms.store.get("/art/one")
        assert entry is not None
        operation_id = steps[0].operation_id
        assert (entry.value, entry.origin) == (asset, f"operation:{operation_id}")
        page = await rooms.store.history("/art/one", 0, 0, 10, "")
        assert page.transactions[0].group == "gesture"
        operation = await rooms.gateway.operation(operation_id)
        assert (operation.state, operation.fraction, operation.assets) == (OperationState.SUCCEEDED, 1.0, (asset,))
        assert operation.end_time >= operation.create_time


async def test_several_assets_and_text_are_placed_as_what_they_are(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        await rooms.run("two", target_path="/two")
        entry = rooms.store.get("/two")
        assert entry is not None
        assert isinstance(entry.value, list)
        assert [asset.size for asset in entry.value] == [3, 3]
        steps = await rooms.run("text", model="puppet/write", target_path="/text")
        text = "".join(f"{index} " for index in range(200))
        assert "".join(step.kind.text for step in steps if isinstance(step.kind, TextDelta)) == text
        entry = rooms.store.get("/text")
        assert entry is not None
        assert entry.value == text


async def test_a_seed_is_chosen_and_told(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        steps = await rooms.run("image")
        first = steps[0].kind
        assert isinstance(first, StepProgress)
        assert first.seed == rooms.puppet.requests[0].seed


FAILURES: dict[str, tuple[type[LightfastError], str, str]] = {
    "raise": (FailedPrecondition, "PROVIDER_FAILED", "puppet/draw failed: RuntimeError: no luck"),
    "raise base": (FailedPrecondition, "PROVIDER_FAILED", "BaseException: odd"),
    "raise cancelled": (FailedPrecondition, "PROVIDER_FAILED", "CancelledError"),
    "raise stop": (FailedPrecondition, "PROVIDER_FAILED", "async generator raised StopAsyncIteration"),
    "exit": (FailedPrecondition, "PROVIDER_FAILED", "sys.exit(3)"),
    "thread": (FailedPrecondition, "PROVIDER_FAILED", "sys.exit(5)"),
    "garbage": (FailedPrecondition, "PROVIDER_FAILED", "it yielded {'progress': 1}, which is no step"),
    "nothing": (FailedPrecondition, "PROVIDER_FAILED", "it ended without a result"),
    "mistyped": (FailedPrecondition, "PROVIDER_FAILED", "an artifact needs a media type, and bytes"),
    "overloaded": (Unavailable, "OVERLOADED", "puppet/draw failed: try later"),
    "refused": (FailedPrecondition, "REFUSED", "puppet/draw failed: not that"),
}


@pytest.mark.parametrize("prompt", FAILURES)
async def test_whatever_a_provider_raises_fails_its_operation_alone(tmp_path: Path, prompt: str) -> None:
    kind, reason, said = FAILURES[prompt]
    async with house(tmp_path) as rooms:
        seen: list[OperationStep] = []
        with pytest.raises(kind) as caught:  # noqa: PT012 — what came before the error is looked at, too
            async for step in rooms.gateway.generate(
                GenerateCall("puppet/draw", prompt=prompt, target_path="/x"), "client:test"
            ):
                seen.append(step)
        assert caught.value.reason == reason
        assert said in caught.value.message
        operation = await rooms.gateway.operation(seen[0].operation_id)
        assert (operation.state, operation.error) == (OperationState.FAILED, caught.value.message)
        assert rooms.store.get("/x") is None
        assert (await rooms.run("image"))[-1].operation_id != operation.operation_id


async def test_a_provider_that_awaits_for_ever_meets_its_deadline(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        with pytest.raises(DeadlineExceeded, match=r"puppet/draw was not done after 0\.5 s") as caught:
            await rooms.run("wait", timeout=0.5)
        assert rooms.puppet.cancelled.is_set() is rooms.puppet.started.is_set()  # a busy machine may not begin it
        operation = await rooms.gateway.operation(caught.value.metadata["operation_id"])
        assert operation.state is OperationState.FAILED


async def test_a_provider_that_swallows_its_cancellation_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.gateway.generation.GRACE", 0.05)
    async with house(tmp_path) as rooms:
        try:
            with pytest.raises(DeadlineExceeded):
                await rooms.run("stubborn", timeout=0.5)
            assert rooms.puppet.cancelled.is_set() is rooms.puppet.started.is_set()
        finally:
            rooms.puppet.release.set()  # else nothing could end it


async def test_closing_the_stream_cancels(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        async with aclosing(rooms.gateway.generate(GenerateCall("puppet/draw", prompt="wait"), "client:test")) as steps:  # type: ignore[type-var]
            operation_id = (await anext(steps)).operation_id
            await rooms.puppet.started.wait()
        assert rooms.puppet.cancelled.is_set()
        operation = await rooms.gateway.operation(operation_id)
        assert (operation.state, operation.error) == (OperationState.CANCELLED, "the caller went away")


async def test_cancel_by_identity(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        steps = rooms.gateway.generate(GenerateCall("puppet/draw", prompt="wait"), "client:test")
        operation_id = (await anext(steps)).operation_id
        running = await rooms.gateway.operation(operation_id)
        assert running.state is OperationState.RUNNING
        await rooms.puppet.started.wait()
        operation = await rooms.gateway.cancel(operation_id)
        assert operation.state is OperationState.CANCELLED
        with pytest.raises(Cancelled, match=f"operation {operation_id} was cancelled"):
            async for _ in steps:
                pass
        assert await rooms.gateway.cancel(operation_id) == operation
        with pytest.raises(NotFound, match="there is no operation 'op-none'"):
            await rooms.gateway.cancel("op-none")


async def test_a_slow_reader_loses_no_text(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        text = ""
        async for step in rooms.gateway.generate(GenerateCall("puppet/write", prompt="text"), "client:test"):
            for _ in range(5):
                await asyncio.sleep(0)
            if isinstance(step.kind, TextDelta):
                text += step.kind.text
        assert text == "".join(f"{index} " for index in range(200))


WRONG: list[tuple[dict[str, object], type[LightfastError], str]] = [
    ({"model": "puppet/drow"}, NotFound, "there is no model 'puppet/drow': did you mean 'puppet/draw'?"),
    ({"model": "puppet/draw", "output": "text"}, InvalidArgument, "puppet/draw makes image, not text"),
    ({"model": "", "output": "imag"}, InvalidArgument, "nothing makes 'imag': did you mean 'image'?"),
    ({"model": "", "output": "video"}, NotFound, "no model here makes video"),
    ({"settings": {"stepz": 3}}, InvalidArgument, "puppet/draw has no setting 'stepz': did you mean 'steps'?"),
    ({"settings": {"steps": 90}}, InvalidArgument, "the setting 'steps' is 90, allowed is at least 1 and at most 50"),
    ({"settings": {"steps": "many"}}, InvalidArgument, "the setting 'steps' must be integer, not 'many' (str)"),
    (
        {"settings": {"size": "larg"}},
        InvalidArgument,
        "the setting 'size' cannot be 'larg' (str): did you mean 'large'?",
    ),
    ({"settings": {"tiled": 1}}, InvalidArgument, "the setting 'tiled' must be boolean, not 1"),
    ({"settings": {"strength": float("nan")}}, InvalidArgument, "the setting 'strength' is nan"),
    ({"sources": ("0" * 64,)}, NotFound, "0" * 12),
    ({"model": "puppet/write", "sources": ("0" * 64,)}, InvalidArgument, "puppet/write takes no sources"),
    ({"timeout": -1.0}, InvalidArgument, "the timeout is -1 s"),
    ({"timeout": float("nan")}, InvalidArgument, "the timeout is nan s"),
    ({"prompt": "x" * 200_000}, InvalidArgument, "the prompt has 200000 characters"),
    ({"target_path": "no slash"}, InvalidArgument, "does not begin with '/'"),
]


@pytest.mark.parametrize(("fields", "kind", "said"), WRONG)
async def test_a_wrong_request_says_so_before_anything_starts(
    tmp_path: Path, fields: dict[str, object], kind: type[LightfastError], said: str
) -> None:
    async with house(tmp_path) as rooms:
        with pytest.raises(kind) as caught:
            await rooms.run(**{"prompt": "image", **fields})  # type: ignore[arg-type]
        assert said in caught.value.message
        assert rooms.puppet.requests == []
        assert await rooms.db.query("SELECT COUNT(*) FROM operations") == [(0,)]


async def test_all_mistakes_in_the_settings_are_told_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        with pytest.raises(InvalidArgument) as caught:
            await rooms.run("image", settings={"stepz": 1, "strength": 2.0})
        assert "stepz" in caught.value.message
        assert "the setting 'strength' is 2.0, allowed is at least 0.0 and at most 1.0" in caught.value.message
        assert caught.value.field == "settings.stepz"


async def test_an_empty_model_means_the_first_that_makes_it(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        await rooms.run("image", model="", output="image")
        assert rooms.puppet.requests[0].model == "draw"
        early = Puppet()
        early.name = "another"
        rooms.gateway.register(early, "another")
        rooms.gateway.unregister(rooms.puppet)
        rooms.gateway.register(rooms.puppet, "puppets")  # loaded anew, it keeps its place
        await rooms.run("image", model="", output="image")
        assert (len(rooms.puppet.requests), early.requests) == (2, [])


async def test_a_restart_fails_what_was_running(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        steps = rooms.gateway.generate(GenerateCall("puppet/draw", prompt="wait"), "client:test")
        operation_id = (await anext(steps)).operation_id
        # The row of a daemon that was killed says RUNNING; this is how the next one finds it.
        await rooms.gateway.list_operations()  # the row is written behind what runs
        await rooms.gateway.start()
        rows = await rooms.db.query("SELECT body FROM operations WHERE operation_id = ?", (operation_id,))
        body = json.loads(rows[0][0])
        assert (body["state"], body["error"]) == ("FAILED", "the daemon stopped")
        await steps.aclose()  # type: ignore[attr-defined]


async def test_closing_stops_what_runs_as_failed(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        steps = rooms.gateway.generate(GenerateCall("puppet/draw", prompt="wait"), "client:test")
        operation_id = (await anext(steps)).operation_id
        await rooms.puppet.started.wait()
        await rooms.gateway.close()
        with pytest.raises(Unavailable, match="the daemon stopped"):
            async for _ in steps:
                pass
        rows = await rooms.db.query("SELECT body FROM operations WHERE operation_id = ?", (operation_id,))
        assert json.loads(rows[0][0])["state"] == "FAILED"
        await until(lambda: rooms.puppet.closed == 1, "the close of the provider")


async def test_a_provider_that_leaves_is_closed_when_it_is_idle(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        steps = rooms.gateway.generate(GenerateCall("puppet/write", prompt="wait"), "client:test")
        await anext(steps)
        await rooms.puppet.started.wait()
        rooms.gateway.unregister(rooms.puppet)
        with pytest.raises(NotFound):
            await rooms.run("image")
        assert rooms.puppet.closed == 0
        rooms.puppet.release.set()
        assert [step.kind async for step in steps][-2] == TextDelta("released")
        await until(lambda: rooms.puppet.closed == 1, "the close of the provider")


async def test_two_providers_cannot_have_one_name(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        with pytest.raises(
            AlreadyExists, match="the provider 'puppet' of plugin other is already brought by plugin puppets"
        ):
            rooms.gateway.register(rooms.puppet, "other")


async def test_the_number_of_generations_is_bounded(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway._most = 1
        steps = rooms.gateway.generate(GenerateCall("puppet/draw", prompt="wait"), "client:test")
        await anext(steps)
        with pytest.raises(Exhausted, match="1 generations run already"):
            await rooms.run("image")
        await steps.aclose()  # type: ignore[attr-defined]
        await rooms.run("image")


async def test_an_unknown_model_waits_for_the_plugins(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.unregister(rooms.puppet)
        loaded = asyncio.Event()

        async def settled() -> None:
            await loaded.wait()

        rooms.gateway.settled = settled
        running = asyncio.ensure_future(rooms.run("image"))
        await asyncio.sleep(0)
        rooms.gateway.register(rooms.puppet, "puppets")
        loaded.set()
        assert isinstance((await running)[-1].kind, StepUsage)


async def test_the_models_and_providers_are_listed(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        assert [record.name for record in rooms.gateway.models()] == ["puppet/draw", "puppet/write"]
        assert [record.name for record in rooms.gateway.models("text")] == ["puppet/write"]
        (provider,) = rooms.gateway.providers()
        assert (provider.name, provider.available, provider.local, provider.plugin) == ("puppet", True, True, "puppets")


async def test_a_target_in_the_way_of_a_declaration_is_refused_before_the_work(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        await rooms.store.declare([Declaration("/level", kind="double")], owner="test")
        await rooms.store.apply([Set("/level", 1.0)], origin="client:test")
        with pytest.raises(LightfastError, match="/level"):
            await rooms.run("image", target_path="/level")
        assert rooms.puppet.requests == []


async def test_a_target_that_is_refused_at_the_end_fails_the_operation(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        call = GenerateCall("puppet/write", prompt="wait", target_path="/level")
        steps = rooms.gateway.generate(call, "client:test")
        operation_id = (await anext(steps)).operation_id
        await rooms.puppet.started.wait()
        await rooms.store.declare([Declaration("/level", kind="double")], owner="test")
        rooms.puppet.release.set()
        with pytest.raises(InvalidArgument, match="/level") as caught:
            async for _ in steps:
                pass
        operation = await rooms.gateway.operation(operation_id)
        assert (operation.state, operation.error) == (OperationState.FAILED, caught.value.message)


async def test_an_end_that_cannot_be_written_is_no_quiet_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as rooms:
        steps = rooms.gateway.generate(GenerateCall("puppet/write", prompt="wait"), "client:test")
        await anext(steps)
        await rooms.puppet.started.wait()

        async def full(unit: object) -> None:
            raise Exhausted("the disk is full", reason="DISK_FULL")

        monkeypatch.setattr(rooms.db, "commit", full)
        rooms.puppet.release.set()
        with pytest.raises(Exhausted, match="the disk is full"):
            async for _ in steps:
                pass
        monkeypatch.undo()
