"""Stability against its emulator: the contract for results and for jobs, and what only it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.emulators.stability import PICTURE, SOUND
from tests.emulators.stability import Stability as Emulated
from tests.providers.contract import STALLS, Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import Artifact, GenerationRequest, Limits, ProviderError, Secret, Session, Usage
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.stability import Stability
from lightfast_providers.stability.offers import OFFERS

PLUGIN = Plugin("lightfast_providers.stability", "stability", sdk=("httpx2",), install="lightfast[stability]")
LOST = "what may have been made is paid for, and not called retryable: see below"
PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 100
WITHOUT = {"disconnect": LOST, "timeout": LOST, "malformed": "see below: a result is no JSON"}


def provider() -> Stability:
    found = Stability()
    found.pauses = (0.005, 0.01)
    return found


def quick() -> Emulated:
    found = Emulated()
    found.turns = 1  # so that the first question about a job brings its result
    return found


CASES = (
    Case(
        "image",
        Emulated,
        provider,
        request=GenerationRequest("core", "image", "a red circle", {}, 11),
        answer=PICTURE,
        media_type="image/png",
        usage=Usage(credits=3.0, images=1, requests=1),
        told=False,
        without=WITHOUT,
    ),
    Case(
        "audio-job",
        quick,
        provider,
        request=GenerationRequest("stable-audio-3", "audio", "rain", {}, 11),
        answer=SOUND,
        media_type="audio/mpeg",
        usage=Usage(credits=26.0, requests=1),
        jobs=True,
        told=False,
        faults_on={"oversize": "/results/", "disconnect-mid": "/v2beta/audio/stable-audio/"},
        without={"disconnect": LOST, "timeout": LOST, "cancel": "Stability cannot end a job"},
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Emulated, Stability]]:
    async with Emulated() as emulator:
        one = provider()
        try:
            yield emulator, one
        finally:
            await one.close()


def ask(emulator: Emulated, one: Stability, name: str = "core", **more: Any) -> GenerationRequest:
    model = next(each for each in one.models() if each.name == name)
    session = Session(key=Secret(emulator.key), base_url=emulator.base_url)
    request = GenerationRequest(name, model.outputs[0], "a red circle", complete_settings(model), 11, session=session)
    return replace(request, **more)


async def drained(one: Stability, request: GenerationRequest) -> list[Any]:
    return [step async for step in one.generate(request, FakeBench())]


@pytest.mark.parametrize("name", ["core", "upscale-creative"])
@pytest.mark.parametrize("fault", ["disconnect", "disconnect-mid", "malformed", "content-type", "stall"])
async def test_what_may_have_been_made_is_not_made_twice(fault: str, name: str) -> None:
    sources = (PNG,) if name != "core" else ()
    for timeout in STALLS if fault == "stall" else (20.0,):
        async with joined() as (emulator, one):
            emulator.next(fault)
            with pytest.raises(ProviderError) as caught:
                await drained(one, ask(emulator, one, name, sources=sources, timeout=timeout))
            if not emulator.calls(method="POST"):
                continue
            assert not caught.value.retryable
            kinds = {"malformed": "malformed", "content-type": "malformed", "stall": "timeout"}
            assert caught.value.kind == kinds.get(fault, "unavailable")
            assert len(emulator.calls(method="POST")) == 1
            await emulator.stop()
            with pytest.raises(ProviderError, match="cannot be reached") as caught:
                await drained(one, ask(emulator, one, name, sources=sources))
            assert caught.value.retryable
            return
    raise AssertionError("it was never asked")


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.model.name)
async def test_every_model_sends_its_form_and_brings_its_result(offer: Any) -> None:
    async with joined() as (emulator, one):
        sources = (SOUND if "audio" in offer.files else PNG,) * offer.needed
        kinds = ("audio/mpeg" if "audio" in offer.files else "image/png",) * offer.needed
        steps = await drained(one, ask(emulator, one, offer.model.name, sources=sources, source_types=kinds))
        (artifact,) = [step for step in steps if isinstance(step, Artifact)]
        assert artifact.content == (PICTURE if offer.model.outputs == ("image",) else SOUND)
        assert artifact.settings["seed"] == "343940597"
        (usage,) = [step for step in steps if isinstance(step, Usage)]
        assert usage.credits == offer.credits
        (call,) = emulator.calls(method="POST")
        assert call.path == f"/v2beta/{offer.path}"
        if offer.prompt:
            assert call.form[offer.prompt] == ["a red circle"]
        for name in offer.files[: offer.needed]:
            assert call.form[name][0][2] == sources[0]
        for name, value in offer.fixed.items():
            assert call.form[name] == [value]


async def test_an_image_beside_the_text_changes_the_form() -> None:
    async with joined() as (emulator, one):
        await drained(one, ask(emulator, one, "sd3.5-large"))
        await drained(one, ask(emulator, one, "sd3.5-large", sources=(PNG,), source_types=("image/png",)))
        plain, pictured = (call.form for call in emulator.calls(method="POST"))
        assert plain["aspect_ratio"] == ["1:1"]
        assert "strength" not in plain
        assert "aspect_ratio" not in pictured
        assert pictured["strength"] == ["0.7"]
        assert pictured["mode"] == ["image-to-image"]
        assert pictured["image"] == [("source.png", "image/png", PNG)]


@pytest.mark.parametrize(("name", "count"), [("inpaint", 0), ("inpaint", 3), ("core", 1)])
async def test_too_few_or_too_many_sources(name: str, count: int) -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match="sources") as caught:
            await drained(one, ask(emulator, one, name, sources=(PNG,) * count))
        assert caught.value.kind == "invalid"
        assert not emulator.journal


async def test_what_is_moderated_before_it_is_made() -> None:
    async with joined() as (emulator, one):
        emulator.next("moderated")
        with pytest.raises(ProviderError, match="content moderation") as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "filtered"
        emulator.next("invalid")
        with pytest.raises(ProviderError, match="strength: cannot be blank") as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "invalid"


async def test_a_429_means_a_minute() -> None:
    async with joined() as (emulator, one):
        emulator.next("429")
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.retry_after == 60.0


async def test_a_job_that_is_gone_and_a_question_that_fails_now_and_then() -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match="has no job gone") as caught:
            await drained(one, ask(emulator, one, "stable-audio-3", job="gone"))
        assert not caught.value.retryable
        emulator.turns = 5
        for fault in ("500", "disconnect", "503"):
            emulator.next(fault, on="results/")
        assert [step for step in await drained(one, ask(emulator, one, "stable-audio-3")) if isinstance(step, Artifact)]


async def test_the_account_tells_its_credits() -> None:
    async with joined() as (emulator, one):
        found = await one.probe(ask(emulator, one).session)
        assert found.limits == Limits((), 631.5, "credits")
