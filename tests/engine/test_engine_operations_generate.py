"""Operations that generate, over the real gateway with providers that play scripts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.actors import Actor, down, for_ever
from tests.support.operations import RUN, Bench, OpHouse, operation_house, told

from lightfast.core.errors import AlreadyExists, FailedPrecondition, LightfastError
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.operations import TEXT_KEPT, OperationState
from lightfast.sdk import Artifact, Effect, Job, Outcome, Price, Progress, TextDelta, Usage
from lightfast_link.value import Asset

PICTURE = Artifact("image/png", b"picture", "a.png")


def painter(name: str = "a", **more: object) -> Actor:
    """Return a provider of pictures that knows jobs; *more* are fields of its model."""
    actor = Actor(name, "jobs", outputs=("image",))
    actor.local = bool(more.pop("local", False))
    actor._model = replace(actor._model, **more)  # type: ignore[arg-type]
    return actor


def paid(name: str = "p", **more: object) -> Actor:
    return painter(name, free=False, prices=(Price("image", 0.04),), **more)


def table(*names: str) -> dict[str, dict[str, object]]:
    return {name: {} for name in names}


async def test_text_comes_with_progress_and_goes_to_its_path(tmp_path: Path) -> None:
    writer = Actor("w", "stream", "system", "schema").plays(TextDelta("Hello "), TextDelta("there"), Usage(3, 2))
    async with operation_house(tmp_path, [writer], table("w")) as house:
        outcome = await house.perform(
            "generate.text", prompt="greet", model="w/one", system="be kind", path="/greeting", seed=7
        )
        assert outcome.value == {"text": "Hello there", "model": "w/one"}
        assert house.value("/greeting") == "Hello there"
        assert (-1.0, "Hello there") in house.bench.progressed
        (request,) = writer.requests
        assert (request.prompt, request.system, request.seed) == ("greet", "be kind", 7)
        record = await house.rooms.gateway.operation(json.loads(house.bench.note)["operation"])
        assert (record.group, record.run, record.origin, record.target_path) == (RUN, RUN, f"run:{RUN}", "")

        writer.plays(TextDelta('{"bpm": 128, "keys": ["a"]}'))
        schema = {"type": "object", "required": ["bpm"]}
        outcome = await house.perform("generate.text", "s2", prompt="tempo", model="w/one", schema=schema)
        assert told(outcome)["json"] == {"bpm": 128, "keys": ["a"]}

        writer.plays(TextDelta('{"bpm": 128, "key": null, "bars": [1, null, {"a": null}]}'))
        outcome = await house.perform("generate.text", "s3", prompt="key", model="w/one", schema=schema)
        assert told(outcome)["json"] == {"bpm": 128, "bars": [1, {}, {}]}, "it was paid for, and there is no null"


async def test_a_picture_is_an_asset_and_the_same_key_does_not_make_another(tmp_path: Path) -> None:
    maker = painter().plays(Progress(0.5, "half"), PICTURE, Usage(cost_usd=0.01))
    async with operation_house(tmp_path, [maker], table("a")) as house:
        outcome = await house.perform("generate.image", prompt="a storm", model="a/one", seed=3, path="/sky")
        asset = told(outcome)["asset"]
        assert isinstance(asset, Asset)
        assert outcome.value == {"asset": asset, "seed": 3, "model": "a/one"}
        assert outcome.changes[0].value == asset == house.value("/sky")
        assert outcome.cost_usd == 0.01
        again = await house.again("generate.image", prompt="a storm", model="a/one", seed=3, path="/sky")
        assert again.value == outcome.value
        assert len(maker.requests) == 1
        maker.plays(PICTURE, replace(PICTURE, content=b"other"))
        both = await house.perform("generate.image", "s2", prompt="two", model="a/one", sources=[])
        assert len(told(both)["assets"]) == 2
        maker.plays()
        with pytest.raises(LightfastError):
            await house.perform("generate.image", "s3", prompt="none", model="a/one")


async def test_the_row_is_on_the_disk_before_the_provider_is_asked(tmp_path: Path) -> None:
    maker = painter()
    async with operation_house(tmp_path, [maker], table("a")) as house:
        seen: list[object] = []

        async def look() -> None:
            operation_id = json.loads(house.bench.note)["operation"]
            rows = await house.ai.db.query("SELECT state FROM operations WHERE operation_id = ?", (operation_id,))
            seen.append(rows)

        maker.plays(look, PICTURE)
        await house.perform("generate.image", prompt="x", model="a/one")
        assert seen == [[("RUNNING",)]]


async def test_a_failure_is_tried_again_as_another_operation(tmp_path: Path) -> None:
    maker = painter().plays(down("broken", kind="invalid")).plays(PICTURE)
    async with operation_house(tmp_path, [maker], table("a")) as house:
        with pytest.raises(LightfastError, match="broken"):
            await house.perform("generate.image", prompt="x", model="a/one")
        first = json.loads(house.bench.note)
        outcome = await house.again("generate.image", prompt="x", model="a/one")
        assert isinstance(told(outcome)["asset"], Asset)
        second = json.loads(house.bench.note)
        assert (first["tries"], second["tries"]) == (0, 1)
        assert first["operation"] != second["operation"]
        assert len(maker.requests) == 2


async def test_cancelling_ends_what_it_drives(tmp_path: Path) -> None:
    maker = painter()
    began = asyncio.Event()

    def begin() -> None:
        began.set()

    maker.plays(Job("job-1"), begin, for_ever)
    async with operation_house(tmp_path, [maker], table("a")) as house:
        task = asyncio.ensure_future(house.perform("generate.image", prompt="x", model="a/one"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        record = await house.rooms.gateway.operation(json.loads(house.bench.note)["operation"])
        assert record.state is OperationState.CANCELLED
        assert [entry.endswith(":job-1") for entry in maker.cancelled] == [True]


async def left(tmp_path: Path, maker: Actor, *, stop: bool) -> str:
    """Begin a generation that takes for ever and end the daemon; return the note of its step."""
    began = asyncio.Event()
    maker.scripts[0] = (*maker.scripts[0], began.set, for_ever)
    async with operation_house(tmp_path, [maker], table(maker.name)) as house:
        task = asyncio.ensure_future(house.perform("generate.image", prompt="x", model=f"{maker.name}/one"))
        await began.wait()
        if stop:
            house.book.stop()
            task.cancel()
            await asyncio.wait({task})
        else:
            # As after a kill: what the rows say is that it runs.
            body = await house.ai.db.query("SELECT operation_id, body FROM operations")
            task.cancel()
            await asyncio.wait({task})
            unit = house.ai.db.unit()
            for operation_id, text in body:
                unit.execute(
                    "UPDATE operations SET body = ?, state = 'RUNNING' WHERE operation_id = ?", (text, operation_id)
                )
            await house.ai.db.commit(unit)
        return house.bench.note


async def next_one(tmp_path: Path, maker: Actor, note: str) -> tuple[Outcome | None, OpHouse]:
    """Ask the next daemon what became of it."""
    async with operation_house(tmp_path, [maker], table(maker.name)) as house:
        house.bench = Bench(house.rooms, [note] if note else [])
        call = house.call({"prompt": "x", "model": f"{maker.name}/one"})
        return await house.find("generate.image").recover(call, house.bench), house


@pytest.mark.parametrize("stop", [True, False], ids=["stopped", "killed"])
async def test_a_job_is_taken_up_and_not_paid_again(tmp_path: Path, stop: bool) -> None:
    first = paid().plays(Job("job-1"), Progress(0.3))
    note = await left(tmp_path, first, stop=stop)
    assert first.cancelled == [] or not stop
    second = paid().plays(Progress(0.9), PICTURE, Usage(cost_usd=0.04))
    outcome, _ = await next_one(tmp_path, second, note)
    assert outcome is not None
    assert isinstance(told(outcome)["asset"], Asset)
    assert [request.job for request in second.requests] == ["job-1"]


async def test_without_a_job_what_is_paid_is_unknown_and_what_is_free_is_done_again(tmp_path: Path) -> None:
    note = await left(tmp_path, paid().plays(Progress(0.3)), stop=False)
    second = paid()
    outcome, _ = await next_one(tmp_path, second, note)
    assert outcome is None
    assert second.requests == []
    async with operation_house(tmp_path, [second], table("p")) as house:
        house.bench.notes.append(note)
        with pytest.raises(FailedPrecondition, match="whether it was made and paid cannot be known") as caught:
            await house.again("generate.image", prompt="x", model="p/one")
        assert caught.value.reason == "OUTCOME_UNKNOWN"

    other = tmp_path / "free"
    other.mkdir()
    note = await left(other, painter().plays(Progress(0.3)), stop=False)
    again = painter().plays(PICTURE)
    outcome, _ = await next_one(other, again, note)
    assert outcome is not None
    assert len(again.requests) == 1


async def test_one_that_was_never_sent_is_done(tmp_path: Path) -> None:
    maker = paid().plays(PICTURE)
    outcome, house = await next_one(tmp_path, maker, "")
    assert outcome is not None
    assert json.loads(house.bench.note)["tries"] == 0
    assert len(maker.requests) == 1


async def test_a_long_text_of_a_dead_daemon_is_unknown_and_two_with_one_key_do_not_run_beside_each_other(
    tmp_path: Path,
) -> None:
    writer = Actor("w", "stream").plays(TextDelta("x" * TEXT_KEPT), TextDelta("y"))
    async with operation_house(tmp_path, [writer], table("w")) as house:
        outcome = await house.perform("generate.text", prompt="long", model="w/one")
        assert len(told(outcome)["text"]) == TEXT_KEPT + 1
        with pytest.raises(FailedPrecondition, match="only the beginning was kept") as caught:
            await house.again("generate.text", prompt="long", model="w/one")
        assert caught.value.reason == "OUTCOME_UNKNOWN"

        began = asyncio.Event()
        writer.plays(began.set, for_ever)
        gateway, call = house.rooms.gateway, GenerateCall("w/one", prompt="x", operation_id="op-mine")
        steps = gateway.generate(call, "client:test")
        first = asyncio.ensure_future(anext(steps))
        await began.wait()
        with pytest.raises(AlreadyExists, match="operation op-mine is under way already"):
            await anext(gateway.generate(call, "client:test"))
        await first
        await steps.aclose()  # type: ignore[attr-defined]


async def test_effects_and_cost_are_those_of_the_models_that_may_be_used(tmp_path: Path) -> None:
    house_model = painter("near", local=True)
    far_free = painter("hosted")
    async with operation_house(
        tmp_path, [house_model, far_free, paid()], table("near", "hosted", "p"), aliases={"mine": ("near/one",)}
    ) as house:
        await house.book.world.ready()
        image = house.find("generate.image")

        def cost(**arguments: object) -> float | None:
            return image.cost({"prompt": "x", **arguments}, house.book.world)

        effects = house.effects
        assert effects("generate.image", prompt="x", model="near/one") == {"reversible"}
        assert effects("generate.image", prompt="x", model="hosted/one") == {"reversible", "network"}
        assert effects("generate.image", prompt="x", model="p/one") == {"reversible", "network", "spend"}
        assert effects("generate.image", prompt="x") == {"reversible"}  # the first that would be tried
        assert effects("generate.image", prompt="x", sources=["${s1}"]) == {"reversible", "network", "spend"}
        assert effects("generate.image", prompt="x", model="mine") == {"reversible"}
        assert effects("generate.image", prompt="x", model="local") == {"reversible"}
        assert effects("generate.image", prompt="x", model="${s1.model}") == {"reversible", "network", "spend"}
        assert cost(model="near/one") == 0.0
        assert cost(model="p/one") == pytest.approx(0.04)
        assert cost() == 0.0
        assert cost(model="${s1}") is None
        assert cost(model="p/one", sources=["${s1}"]) is None
        assert house.check("generate.image", prompt="x", model="near/one", path="/a") == []
        assert house.check("generate.image", prompt="x", model="near/one", path="/a/*") == ["PATH_INVALID"]
        (unknown,) = house.mistakes("generate.image", prompt="x", model="neer/one")
        assert "did you mean 'near/one'?" in unknown.message
        assert house.check("generate.text", prompt="x", model="near/one") == ["MODEL_UNFIT"]
        assert house.check("generate.video", prompt="x") == ["NO_MODEL"]
        names = {model.name: (model.local, model.free, model.available) for model in house.book.world.models("image")}
        assert names == {
            "near/one": (True, True, True),
            "hosted/one": (False, True, True),
            "p/one": (False, False, True),
        }
        assert "mine" in next(one for one in house.book.world.models("image") if one.name == "near/one").aliases


async def test_a_named_model_has_no_stand_in(tmp_path: Path) -> None:
    broken = painter("near", local=True).plays(down("broken")).plays(down("broken")).plays(down("broken"))
    dear = paid()
    async with operation_house(tmp_path, [broken, dear], table("near", "p"), fallbacks={"image": ("p/one",)}) as house:
        house.rooms.gateway.patience = replace(house.rooms.gateway.patience, again=1, first=0.01)
        assert Effect.SPEND not in house.find("generate.image").effects(
            {"prompt": "x", "model": "near/one"}, house.book.world
        )
        with pytest.raises(LightfastError, match="broken"):
            await house.perform("generate.image", prompt="x", model="near/one")
        assert dear.requests == []


async def test_what_it_may_cost_is_passed_on(tmp_path: Path) -> None:
    maker = paid().plays(PICTURE)
    async with operation_house(tmp_path, [maker], table("p")) as house:
        call = house.call({"prompt": "x", "model": "p/one"}, budget_usd=0.01)
        with pytest.raises(LightfastError, match=r"0\.04"):
            await house.find("generate.image").perform(call, house.bench)
        assert maker.requests == []
