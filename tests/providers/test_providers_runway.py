"""Runway against its emulator, which the official SDK reads: the contract, and what only it does."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.emulators.runway import FILM
from tests.emulators.runway import Runway as Emulated
from tests.providers.contract import STALLS, Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import Artifact, GenerationRequest, Limit, Limits, Progress, ProviderError, Secret, Session, Usage
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers._common.bounded import TOLD
from lightfast_providers.runway import Runway

PLUGIN = Plugin("lightfast_providers.runway", "runway", sdk=("runwayml",), install="lightfast[runway]")
LOST = "a submission that may have arrived is paid for, and not called retryable: see below"
PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 100


def provider() -> Runway:
    found = Runway()
    found.pauses = (0.005, 0.01)
    return found


CASES = (
    Case(
        "video",
        Emulated,
        provider,
        request=GenerationRequest("gen4.5", "video", "a red circle", {}, 11),
        answer=FILM,
        media_type="video/mp4",
        usage=Usage(credits=60.0, requests=1),
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
async def joined() -> AsyncIterator[tuple[Emulated, Runway]]:
    async with Emulated() as emulator:
        one = provider()
        try:
            yield emulator, one
        finally:
            await one.close()


def ask(emulator: Emulated, one: Runway, name: str = "gen4.5", **more: Any) -> GenerationRequest:
    model = next(each for each in one.models() if each.name == name)
    session = Session(key=Secret(emulator.key), base_url=emulator.base_url)
    request = GenerationRequest(name, model.outputs[0], "a red circle", complete_settings(model), 11, session=session)
    return replace(request, **more)


async def drained(one: Runway, request: GenerationRequest) -> list[Any]:
    return [step async for step in one.generate(request, FakeBench())]


async def into(steps: list[Any], one: Runway, request: GenerationRequest) -> None:
    async for step in one.generate(request, FakeBench()):
        steps.append(step)


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


@pytest.mark.parametrize("waiting", ["PENDING", "THROTTLED"])
async def test_progress_is_that_of_the_task(waiting: str) -> None:
    async with joined() as (emulator, one):
        emulator.waiting = waiting
        emulator.hold()
        seen = []
        async for step in one.generate(ask(emulator, one), FakeBench()):
            if isinstance(step, Progress):
                seen.append(step)
                emulator.release()
        assert seen[0].message.startswith("waiting")
        assert seen[0].message.endswith("about 60 credits")
        assert seen[1] == Progress(0.25, "running")


@pytest.mark.parametrize(
    ("name", "sources", "path", "expected"),
    [
        ("gen4.5", 0, "/v1/text_to_video", {"promptText": "a red circle", "ratio": "1280:720", "duration": 5, "seed": 11}),
        ("gen4.5", 1, "/v1/image_to_video", {"promptImage": "P"}),
        ("gen4_turbo", 1, "/v1/image_to_video", {"promptImage": "P", "model": "gen4_turbo"}),
        ("veo3.1_fast", 0, "/v1/text_to_video", {"duration": 8, "audio": True}),
        ("gen4_image", 2, "/v1/text_to_image", {"referenceImages": [{"uri": "P", "tag": "image1"}, {"uri": "P", "tag": "image2"}]}),
        ("eleven_text_to_sound_v2", 0, "/v1/sound_effect", {"loop": False}),
        ("eleven_multilingual_v2", 0, "/v1/text_to_speech", {"voice": {"type": "runway-preset", "presetId": "Maya"}}),
    ],
    ids=["text", "image", "turbo", "veo", "pictures", "effect", "speech"],
)  # fmt: skip
async def test_what_is_sent(name: str, sources: int, path: str, expected: dict[str, Any]) -> None:
    async with joined() as (emulator, one):
        request = ask(emulator, one, name, sources=(PNG,) * sources, source_types=("image/png",) * sources)
        emulator.file_type = f"{request.output}/mp4"
        steps = await drained(one, request)
        (call,) = emulator.calls(method="POST")
        assert call.path == path
        uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        sent = {key: call.json.get(key) for key in expected}
        assert repr(sent).replace(uri, "P") == repr(expected)
        assert ("seed" in call.json) is not name.startswith("eleven")
        assert [step.content for step in steps if isinstance(step, Artifact)] == [FILM]


async def test_a_large_source_is_uploaded() -> None:
    async with joined() as (emulator, one):
        large = PNG + b"\0" * 4_000_000
        await drained(one, ask(emulator, one, "gen4_turbo", sources=(large,), source_types=("image/png",)))
        assert emulator.calls("/image_to_video")[0].json["promptImage"] == "runway://file-1"
        assert emulator.uploads == [large]


@pytest.mark.parametrize(("name", "sources"), [("gen4_turbo", 0), ("eleven_multilingual_v2", 1)])
async def test_a_model_that_is_asked_for_what_it_cannot(name: str, sources: int) -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match="image") as caught:
            await drained(one, ask(emulator, one, name, sources=(PNG,) * sources))
        assert caught.value.kind == "invalid"
        assert not emulator.journal


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("SAFETY.OUTPUT.VIDEO", "filtered"),
        ("INPUT_PREPROCESSING.SAFETY.TEXT", "filtered"),
        ("THIRD_PARTY.SAFETY", "filtered"),
        ("INTERNAL.BAD_OUTPUT.CODE01", "unavailable"),
        ("INPUT_PREPROCESSING.INTERNAL", "unavailable"),
        ("THIRD_PARTY.UNAVAILABLE", "unavailable"),
        ("ASSET.INVALID", "invalid"),
        ("NEW.CODE", "failed"),
    ],
)
async def test_a_task_that_fails(code: str, kind: str) -> None:
    async with joined() as (emulator, one):
        emulator.failure_code = code
        steps: list[Any] = []
        with pytest.raises(ProviderError, match=code) as caught:
            await into(steps, one, ask(emulator, one))
        assert caught.value.kind == kind
        assert not caught.value.retryable, "the task is over: to ask about it again would never end"
        assert steps[-1] == Usage(credits=0.0, requests=1)


async def test_a_task_that_is_gone_or_cancelled_or_names_nothing() -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match="has no task") as caught:
            await drained(one, ask(emulator, one, job="gone"))
        assert not caught.value.retryable
        emulator.tasks["mine"] = {"turn": 9, "code": ""}
        emulator.ended.add("mine")
        with pytest.raises(ProviderError, match="was cancelled at Runway"):
            await drained(one, ask(emulator, one, job="mine"))
        emulator.output = []
        with pytest.raises(ProviderError, match="names no result"):
            await drained(one, ask(emulator, one))


@pytest.mark.parametrize(("fault", "kind"), [("no-credits", "spend"), ("429-terminal", "requests")])
async def test_limits_that_waiting_does_not_help(fault: str, kind: str) -> None:
    async with joined() as (emulator, one):
        emulator.next(fault)
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.terminal
        assert isinstance(caught.value.limits, Limits)
        assert [each.kind for each in caught.value.limits.limits] == [kind]


async def test_a_wrong_input_is_named() -> None:
    async with joined() as (emulator, one):
        emulator.next("invalid")
        with pytest.raises(ProviderError, match="duration: Number must be less") as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "invalid"


async def test_the_account_tells_its_credits_and_limits() -> None:
    async with joined() as (emulator, one):
        found = await one.probe(ask(emulator, one).session)
        expected = (Limit("concurrency", 0.0, 3.0), Limit("requests", 86400.0, 500.0))
        assert found.limits == Limits(expected, 1200.0, "credits")


async def test_a_question_that_fails_now_and_then() -> None:
    async with joined() as (emulator, one):
        emulator.turns = 6
        for fault in ("500", "disconnect", "malformed", "content-type"):
            emulator.next(fault, on="/tasks/")
        assert [step for step in await drained(one, ask(emulator, one)) if isinstance(step, Artifact)]


async def test_nothing_is_told_about_this_machine() -> None:
    async with joined() as (emulator, one):
        assert await drained(one, ask(emulator, one))
        assert emulator.journal
        for call in emulator.journal:
            assert [name for name in call.headers if name.lower() in TOLD or "stainless-os" in name.lower()] == []
