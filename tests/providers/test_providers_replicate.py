"""Replicate against its emulator: the contract, what only it does, and the emulator against the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.emulators.replicate import PICTURE, VERSION
from tests.emulators.replicate import Replicate as Emulated
from tests.providers.contract import STALLS, Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    Limit,
    Limits,
    Progress,
    ProviderError,
    Secret,
    Session,
    TextDelta,
    Usage,
)
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.replicate import Replicate

PLUGIN = Plugin("lightfast_providers.replicate", "replicate", sdk=("httpx2",), install="lightfast[replicate]")
LOST = "a submission that may have arrived is paid for, and not called retryable: see below"
FLUX = "black-forest-labs/flux-schnell"


def provider() -> Replicate:
    found = Replicate()
    found.pauses = (0.005, 0.01)
    return found


CASES = (
    Case(
        "image",
        Emulated,
        provider,
        request=GenerationRequest(FLUX, "image", "a red circle", {}, 11),
        answer=PICTURE,
        media_type="image/webp",
        usage=Usage(images=1, requests=1),
        jobs=True,
        path="/predictions",
        faults_on={"oversize": "/files/", "disconnect-mid": "/files/"},
        without={"disconnect": LOST, "timeout": LOST},
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Emulated, Replicate]]:
    async with Emulated() as emulator:
        one = provider()
        try:
            yield emulator, one
        finally:
            await one.close()


def ask(emulator: Emulated, one: Replicate, name: str = FLUX, **more: Any) -> GenerationRequest:
    model = next((each for each in one.models() if each.name == name), None) or one.model(name)
    assert model is not None
    session = Session(key=Secret(emulator.key), base_url=emulator.base_url)
    request = GenerationRequest(name, model.outputs[0], "a red circle", complete_settings(model), 11, session=session)
    return replace(request, **more)


async def drained(one: Replicate, request: GenerationRequest) -> list[Any]:
    return [step async for step in one.generate(request, FakeBench())]


@pytest.mark.parametrize("fault", ["disconnect", "disconnect-mid", "malformed", "stall"])
async def test_a_submission_that_may_have_arrived_is_not_made_twice(fault: str) -> None:
    for timeout in STALLS if fault == "stall" else (20.0,):
        async with joined() as (emulator, one):
            emulator.next(fault)
            with pytest.raises(ProviderError) as caught:
                await drained(one, ask(emulator, one, timeout=timeout))
            if not emulator.calls("/predictions", "POST"):
                continue
            assert not caught.value.retryable
            assert len(emulator.calls("/predictions", "POST")) == 1
            await emulator.stop()
            with pytest.raises(ProviderError, match="cannot be reached") as caught:
                await drained(one, ask(emulator, one))
            assert caught.value.retryable
            return
    raise AssertionError("it was never asked")


async def test_progress_is_told_from_the_logs() -> None:
    async with joined() as (emulator, one):
        emulator.turns = 3
        fractions = [step.fraction for step in await drained(one, ask(emulator, one)) if isinstance(step, Progress)]
        assert fractions == [0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "path", "version"),
    [
        (FLUX, f"/v1/models/{FLUX}/predictions", None),
        ("stability-ai/sdxl", "/v1/predictions", VERSION),
        ("stability-ai/sdxl:" + "0" * 64, "/v1/predictions", "0" * 64),
    ],
    ids=["official", "latest", "version"],
)
async def test_a_prediction_is_made_by_model_or_by_version(name: str, path: str, version: str | None) -> None:
    async with joined() as (emulator, one):
        steps = await drained(one, ask(emulator, one, name, output="image"))
        (call,) = emulator.calls("/predictions", "POST")
        assert call.path == path
        assert call.json.get("version") == version
        assert call.json["input"]["seed"] == 11
        usage = next(step for step in steps if isinstance(step, Usage))
        # The hardware of models that are not listed is not known, and so is its price: only its time is.
        assert usage == Usage(images=1, requests=1, seconds=0.0 if version is None else 1.75)


async def test_sources_go_into_the_fields_for_files_and_large_ones_are_uploaded() -> None:
    async with joined() as (emulator, one):
        large = PICTURE + b"\0" * 300_000
        request = ask(
            emulator, one, "someone/inpaint", output="image", sources=(PICTURE, large), source_types=("image/webp",) * 2
        )
        await drained(one, request)
        sent = emulator.calls("/predictions", "POST")[0].json["input"]
        assert sent["image"].startswith("data:image/webp;base64,")
        assert sent["mask"] == f"{emulator.base_url}/files/1"
        assert emulator.uploads == [large]


@pytest.mark.parametrize(
    ("output", "made"),
    [("text", ["The ", "sea."]), ("text", "The sea."), ("video", "F"), ("audio", {"stem": {"drums": "F"}})],
    ids=["tokens", "text", "video", "nested"],
)
async def test_all_kinds_of_results(output: str, made: Any) -> None:
    async with joined() as (emulator, one):
        place = f"{emulator.url}/files/x.bin"
        emulator.output = {"F": place}.get(made, made) if isinstance(made, str) else made
        if isinstance(made, dict):
            emulator.output = {"stem": {"drums": place}}
        emulator.file_type = {"video": "video/mp4", "audio": "audio/wav"}.get(output, "")
        emulator.metrics = {"predict_time": 2.0, "input_token_count": 7, "output_token_count": 3}
        steps = await drained(one, ask(emulator, one, "someone/thing", output=output))
        if output == "text":
            assert "".join(step.text for step in steps if isinstance(step, TextDelta)) == "The sea."
            usage = next(step for step in steps if isinstance(step, Usage))
            assert (usage.input_tokens, usage.output_tokens) == (7, 3)
        else:
            (artifact,) = [step for step in steps if isinstance(step, Artifact)]
            assert artifact.media_type.startswith(output)
            assert artifact.settings["predict_time"] == 2.0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NSFW content detected. Try running it again, or try a different prompt.", "filtered"),
        ("Prediction interrupted; please retry (code: PA)", "unavailable"),
        ("CUDA out of memory. Tried to allocate 20.00 MiB", "overloaded"),
        ("Directory not empty", "failed"),
    ],
    ids=["filtered", "interrupted", "memory", "else"],
)
async def test_a_prediction_that_fails(text: str, kind: str) -> None:
    async with joined() as (emulator, one):
        emulator.failure_text = text
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == kind
        assert not caught.value.retryable, "the prediction is over: to ask about it again would never end"


async def test_predictions_that_are_gone_cancelled_or_emptied() -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match="has no prediction"):
            await drained(one, ask(emulator, one, job="gone"))
        emulator.more = {"data_removed": True, "output": None}
        with pytest.raises(ProviderError, match="was deleted"):
            await drained(one, ask(emulator, one))
        emulator.hold()
        task = asyncio.ensure_future(drained(one, ask(emulator, one)))
        await emulator.until(lambda: len(emulator.jobs) == 2, "the prediction")
        emulator.ended.add(list(emulator.jobs)[1])
        with pytest.raises(ProviderError, match="was cancelled at Replicate"):
            await task


async def test_a_429_tells_its_limit_in_words() -> None:
    async with joined() as (emulator, one):
        emulator.next("429-low")
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.limits == Limits((Limit("requests", 60.0, 6.0, 0.0, 7.0),))
        assert caught.value.retry_after == 7.0


async def test_a_wrong_input_is_named() -> None:
    async with joined() as (emulator, one):
        emulator.next("invalid")
        with pytest.raises(ProviderError, match=r"input\.num_outputs: Must be less") as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "invalid"


async def test_settings_are_those_of_the_service() -> None:
    async with joined() as (emulator, one):
        found = {model.name: model for model in await one.discover(ask(emulator, one).session)}
        assert found[FLUX].settings["properties"] == {
            "aspect_ratio": {"type": "string", "enum": ["1:1", "16:9"], "default": "1:1"},
            "go_fast": {"type": "boolean", "default": True},
            "input": found[FLUX].settings["properties"]["input"],
        }
        assert found[FLUX].prices


@pytest.mark.parametrize("name", ["flux", "a/b/c", "a/b:xyz", "a/../b", "a b/c", ""])
def test_names_that_are_none(name: str) -> None:
    assert Replicate().model(name) is None


async def test_the_official_sdk_reads_the_emulator() -> None:
    from replicate.client import Client
    from replicate.exceptions import ReplicateError

    emulator = Emulated()
    with emulator.threaded():
        client = Client(api_token=emulator.key, base_url=emulator.url)

        def talk() -> None:
            made = client.models.predictions.create(FLUX, {"prompt": "x"})
            states = [str(made.status)]
            for _ in range(2):
                made.reload()
                states.append(str(made.status))
            assert states == ["starting", "processing", "succeeded"]
            assert made.progress is not None
            assert made.metrics == {"predict_time": 1.75, "total_time": 2.5}
            assert client.models.get("stability-ai/sdxl").latest_version is not None
            other = client.predictions.create(version=VERSION, input={"prompt": "x"})
            other.cancel()
            assert emulator.cancelled(other.id)
            assert client.accounts.current().username == "painter"
            emulator.next("429")
            with pytest.raises(ReplicateError) as caught:
                client.predictions.create(version=VERSION, input={"prompt": "x"})
            assert caught.value.status == 429
            client._client.close()

        await asyncio.to_thread(talk)
