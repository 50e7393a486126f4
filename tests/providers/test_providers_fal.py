"""fal against its emulator: the contract, what only it does, and the emulator against the official client."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.emulators.fal import PICTURE
from tests.emulators.fal import Fal as Emulated
from tests.providers.contract import STALLS, Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import Artifact, GenerationRequest, Job, Progress, ProviderError, Secret, Session, Usage
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.fal import Fal

PLUGIN = Plugin("lightfast_providers.fal", "fal", sdk=("httpx2",), install="lightfast[fal]")
LOST = "a submission that may have arrived is paid for, and not called retryable: see below"


def provider() -> Fal:
    found = Fal()
    found.pauses = (0.005, 0.01)
    return found


CASES = (
    Case(
        "image",
        Emulated,
        provider,
        request=GenerationRequest("fal-ai/flux-1/schnell", "image", "a red circle", {}, 11),
        answer=PICTURE,
        media_type="image/png",
        usage=Usage(images=1, requests=1),
        jobs=True,
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
async def joined() -> AsyncIterator[tuple[Emulated, Fal]]:
    async with Emulated() as emulator:
        one = provider()
        try:
            yield emulator, one
        finally:
            await one.close()


def ask(emulator: Emulated, one: Fal, name: str = "fal-ai/flux-1/schnell", **more: Any) -> GenerationRequest:
    model = next((each for each in one.models() if each.name == name), None) or one.model(name)
    assert model is not None
    session = Session(key=Secret(emulator.key), base_url=emulator.base_url)
    request = GenerationRequest(name, model.outputs[0], "a red circle", complete_settings(model), 11, session=session)
    return replace(request, **more)


async def drained(one: Fal, request: GenerationRequest) -> list[Any]:
    return [step async for step in one.generate(request, FakeBench())]


@pytest.mark.parametrize("fault", ["disconnect", "disconnect-mid", "malformed", "stall"])
async def test_a_submission_that_may_have_arrived_is_not_made_twice(fault: str) -> None:
    for timeout in STALLS if fault == "stall" else (20.0,):
        async with joined() as (emulator, one):
            emulator.next(fault)
            with pytest.raises(ProviderError) as caught:
                await drained(one, ask(emulator, one, timeout=timeout))
            if not emulator.calls(method="POST"):
                continue
            assert not caught.value.retryable
            assert len(emulator.calls(method="POST")) == 1
            await emulator.stop()
            with pytest.raises(ProviderError, match="cannot be reached") as caught:
                await drained(one, ask(emulator, one))
            assert caught.value.retryable
            return
    raise AssertionError("it was never asked")


async def test_progress_is_told_from_the_queue_and_from_the_logs() -> None:
    async with joined() as (emulator, one):
        emulator.hold()
        seen = []
        async for step in one.generate(ask(emulator, one), FakeBench()):
            if isinstance(step, Progress):
                seen.append(step)
                emulator.release()
        assert seen[0] == Progress(0.0, "waiting, 2 before it")
        assert seen[1].fraction == 0.5


async def test_what_is_sent_and_what_is_known_of_the_result() -> None:
    async with joined() as (emulator, one):
        steps = await drained(one, ask(emulator, one))
        (job,) = [step.job_id for step in steps if isinstance(step, Job)]
        assert job.startswith("fal-ai/flux-1/requests/")
        sent = emulator.calls("/fal-ai/flux-1/schnell", "POST")[0].json
        assert sent["seed"] == 11
        assert sent["image_size"] == "landscape_4_3"
        assert "input" not in sent
        (artifact,) = [step for step in steps if isinstance(step, Artifact)]
        assert artifact.settings["billable_units"] == 1.0
        assert artifact.name == "made.png"


@pytest.mark.parametrize(
    ("name", "output", "result", "usage"),
    [
        (
            "fal-ai/kling-video/v2.5-turbo/pro/text-to-video",
            "video",
            {"video": {"url": "F"}},
            Usage(seconds=5.0, requests=1),
        ),
        ("fal-ai/stable-audio", "audio", {"audio_file": {"url": "F"}}, Usage(seconds=30.0, requests=1)),
        (
            "fal-ai/recraft/v3/text-to-image",
            "image",
            {"images": [{"url": "F"}, {"url": "D"}]},
            Usage(images=2, requests=1),
        ),
        ("workflows/me/flow", "image", {"output": {"deep": [{"url": "D"}]}}, Usage(images=1, requests=1)),
    ],
    ids=["video", "audio", "unlisted", "workflow"],
)
async def test_all_kinds_of_results(name: str, output: str, result: Any, usage: Usage) -> None:
    async with joined() as (emulator, one):
        uri = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"

        def placed(found: Any) -> Any:
            if isinstance(found, dict):
                return {key: placed(each) for key, each in found.items()}
            if isinstance(found, list):
                return [placed(each) for each in found]
            return {"F": f"{emulator.url}/files/x", "D": uri}[found]

        emulator.result = placed(result)
        emulator.file_type = {"video": "video/mp4", "audio": "audio/wav", "image": "image/png"}[output]
        steps = await drained(
            one,
            ask(
                emulator,
                one,
                name,
                output=output,
                settings={"input": {"style": "flat"}}
                | ({"duration": "5"} if output == "video" else {"seconds_total": 30} if output == "audio" else {}),
            ),
        )
        made = [step for step in steps if isinstance(step, Artifact)]
        assert {each.media_type.partition("/")[0] for each in made} == {output}
        assert [step for step in steps if isinstance(step, Usage)] == [usage]
        assert emulator.calls(name, "POST")[0].json["style"] == "flat"


async def test_sources_go_as_data_uris() -> None:
    async with joined() as (emulator, one):
        request = ask(emulator, one, "fal-ai/flux/dev/image-to-image", sources=(PICTURE,), source_types=("image/png",))
        await drained(one, request)
        sent = emulator.calls("/image-to-image", "POST")[0].json
        assert base64.b64decode(sent["image_url"].partition(",")[2]) == PICTURE
        assert sent["image_url"].startswith("data:image/png;base64,")


async def test_results_that_the_checker_blackened_are_held_back() -> None:
    async with joined() as (emulator, one):
        files = [{"url": f"{emulator.url}/files/{name}"} for name in "ab"]
        emulator.result = {"images": files, "has_nsfw_concepts": [True, False]}
        assert len([step for step in await drained(one, ask(emulator, one)) if isinstance(step, Artifact)]) == 1
        emulator.result = {"images": files, "has_nsfw_concepts": [True, True]}
        with pytest.raises(ProviderError, match="held all results back") as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "filtered"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("content_policy_violation", "filtered"),
        ("runner_disconnected", "unavailable"),
        ("request_timeout", "timeout"),
        ("odd", "failed"),
    ],
)
async def test_a_job_that_fails_late(kind: str, expected: str) -> None:
    async with joined() as (emulator, one):
        emulator.late = {"error": "no", "error_type": kind}
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == expected
        assert not caught.value.retryable, "the job is over: to ask about it again would never end"


@pytest.mark.parametrize(("fault", "kind"), [("filtered", "filtered"), ("timeout", "timeout"), ("503", "overloaded")])
async def test_a_model_whose_error_comes_in_place_of_its_result(fault: str, kind: str) -> None:
    async with joined() as (emulator, one):
        emulator.late_fault = fault
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == kind
        assert not caught.value.retryable


@pytest.mark.parametrize("name", ["flux", "a/../b", "a//b", "/a/b", "a/b c", "../a", ""])
def test_ids_that_are_none(name: str) -> None:
    assert Fal().model(name) is None


async def test_a_wrong_input_is_named() -> None:
    async with joined() as (emulator, one):
        emulator.next("invalid")
        with pytest.raises(ProviderError, match=r"body\.num_images: Input should be less") as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "invalid"


async def test_a_job_that_is_gone_and_a_question_that_fails_now_and_then() -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match=r"knows the job .* no more") as caught:
            await drained(one, ask(emulator, one, job="fal-ai/flux-1/requests/gone"))
        assert not caught.value.retryable
        emulator.turns = 6
        for fault in ("500", "disconnect", "malformed"):
            emulator.next(fault, on="/status")
        assert [step for step in await drained(one, ask(emulator, one)) if isinstance(step, Artifact)]


async def test_a_result_elsewhere_in_a_private_network_is_not_fetched() -> None:
    async with joined() as (emulator, one):
        emulator.result = {"images": [{"url": "http://169.254.169.254/latest/meta-data"}]}
        with pytest.raises(ProviderError, match="only public http and https"):
            await drained(one, ask(emulator, one))


async def test_the_official_client_reads_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    import fal_client
    from fal_client import client

    async with Emulated() as emulator:
        monkeypatch.setattr(client, "QUEUE_URL_FORMAT", emulator.url + "/")
        official = fal_client.AsyncClient(key=emulator.key)
        seen: list[Any] = []
        found = await official.subscribe(
            "fal-ai/flux/dev", {"prompt": "x"}, with_logs=True, on_queue_update=seen.append
        )
        assert found["images"][0]["content_type"] == "image/png"
        assert isinstance(seen[-1], fal_client.Completed)
        handle = await official.submit("fal-ai/flux/dev", {"prompt": "x"})
        emulator.hold()
        state = await handle.status()
        assert isinstance(state, fal_client.Queued)
        assert state.position == 2
        await handle.cancel()
        assert emulator.cancelled(handle.request_id)
        emulator.next("filtered")
        with pytest.raises(client.FalClientHTTPError) as caught:
            await official.submit("fal-ai/flux/dev", {"prompt": "x"})
        assert caught.value.status_code == 422
        await (await official._client).aclose()
