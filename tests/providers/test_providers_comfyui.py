"""ComfyUI against its emulator: the contract, and what only it does."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.emulators.comfyui import CHECKPOINTS, PICTURE, ComfyUI
from tests.providers.contract import Case, Check, Plugin, PluginCheck, contract, plugin_contract, rig

from lightfast.sdk import Artifact, GenerationRequest, Job, Preview, Progress, Session, Usage
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers import comfyui
from lightfast_providers.comfyui.provider import ACCEPTED
from lightfast_providers.comfyui.workflows import SHIPPED, WorkflowMistake, read

PLUGIN = Plugin("lightfast_providers.comfyui", "comfyui", sdk=("httpx2", "websockets"), install="lightfast[comfyui]")
NO_KEY = "it needs no key"
PROMPT = dict.fromkeys(("malformed", "content-type", "disconnect", "stall", "500", "503"), "/prompt")


def provider(folder: str = "/nonexistent") -> comfyui.ComfyUI:
    found = comfyui.ComfyUI(folder)
    found.silence = 0.05
    return found


CASES = (
    Case(
        "image",
        ComfyUI,
        provider,
        request=GenerationRequest("text_to_image", "image", "a red circle", {}, 11),
        answer=PICTURE,
        media_type="image/png",
        usage=Usage(images=1, requests=1, cost_usd=0.0),
        jobs=True,
        path="/prompt",
        faults_on={
            **PROMPT,
            "disconnect-mid": "/view",
            "401": "/prompt",
            "403": "/prompt",
            "404": "/prompt",
            "oversize": "/view",
        },
        without={
            "status_429": "it has no limits",
            "status_429_terminal": "it has no limits",
            "filtered": "it has no policy",
            "job_first": "the id is ours, and told before the prompt is sent: see below",
            "resumes": "the job is told a second time when it was accepted: see below",
        },
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)


@asynccontextmanager
async def joined(folder: str = "/nonexistent") -> AsyncIterator[tuple[ComfyUI, comfyui.ComfyUI, Case]]:
    async with ComfyUI() as emulator:
        one = provider(folder)
        try:
            yield emulator, one, CASES[0]
        finally:
            await one.close()


def ask(emulator: ComfyUI, one: comfyui.ComfyUI, model: str = "text_to_image", **more: Any) -> GenerationRequest:
    found = one.model(model)
    assert found is not None
    output = found.outputs[0]
    base = GenerationRequest(model, output, "a red circle", complete_settings(found), 11)
    return replace(base, **{"session": Session(base_url=emulator.base_url), **more})


async def test_the_job_is_told_before_the_prompt_and_again_when_it_is_accepted() -> None:
    async with joined() as (emulator, one, _):
        emulator.hold()
        jobs, sent = [], []
        steps = one.generate(ask(emulator, one), FakeBench())
        async for step in steps:
            if isinstance(step, Job):
                jobs.append(step.job_id)
                sent.append(len(emulator.calls("/prompt", "POST")))
            if len(jobs) == 2:
                break
        await steps.aclose()  # type: ignore[attr-defined]
        assert jobs[1] == jobs[0] + ACCEPTED
        assert sent == [0, 1]
        assert emulator.calls("/prompt", "POST")[0].json["prompt_id"] == jobs[0]


@pytest.mark.parametrize("accepted", [False, True], ids=["unknown", "accepted"])
@pytest.mark.parametrize("when", ["waiting", "over", "never"])
async def test_a_job_is_taken_up(when: str, accepted: bool) -> None:
    """What ComfyUI has is never sent again; what it lost is said, and what it never had is sent."""
    async with joined() as (emulator, one, _):
        job = "6f0e0f64-0000-4000-8000-00000000000a"
        request = ask(emulator, one, job=job + (ACCEPTED if accepted else ""))
        if when != "never":
            emulator.held = when == "waiting"
            first = provider()
            told = first._workflow("text_to_image").filled({"prompt": "before", "seed": 1})
            await first._post(request.session, "/prompt", json={"prompt": told, "client_id": "x", "prompt_id": job})
            await first.close()
            if when == "over":
                await emulator.until(lambda: job in emulator.history, "the end")
        before = len(emulator.calls("/prompt", "POST"))
        task = asyncio.ensure_future(drained(one, request))
        if when == "waiting":
            await emulator.until(lambda: len(emulator.calls("/queue", "GET")) > 1, "a look into the queue")
            emulator.release()
        if when == "never" and accepted:
            with pytest.raises(Exception, match="neither in its queue nor in its history") as caught:
                await task
            assert not caught.value.retryable  # type: ignore[attr-defined]
            return
        steps = await task
        assert [step.content for step in steps if isinstance(step, Artifact)] == [PICTURE]
        assert len(emulator.calls("/prompt", "POST")) - before == (1 if when == "never" else 0)
        assert emulator.prompts[job]["prompt_id"] == job


async def drained(one: comfyui.ComfyUI, request: GenerationRequest) -> list[object]:
    return [step async for step in one.generate(request, FakeBench())]


async def test_an_answer_that_is_lost_is_found_again_by_the_id() -> None:
    async with joined() as (emulator, one, _):
        emulator.next("disconnect-mid", on="/prompt")  # the prompt was taken in, its answer broke off
        steps = await drained(one, ask(emulator, one))
        assert any(isinstance(step, Artifact) for step in steps)
        assert len(emulator.calls("/prompt", "POST")) == 1


async def test_progress_rises_and_previews_come() -> None:
    async with joined() as (emulator, one, _):
        one.silence = 20.0
        steps = await drained(one, ask(emulator, one))
        fractions = [step.fraction for step in steps if isinstance(step, Progress) and step.fraction >= 0]
        assert fractions == sorted(fractions)
        assert fractions[-1] > 0.8
        assert any("VAEDecode" in step.message for step in steps if isinstance(step, Progress))
        assert [step.content for step in steps if isinstance(step, Preview)] == [emulator.preview]
        assert {"type": "feature_flags", "data": {"supports_preview_metadata": True}} in emulator.features


async def test_a_large_preview_is_made_small_and_a_broken_one_left_out() -> None:
    noise = Image.frombytes("RGB", (900, 900), random.Random(1).randbytes(900 * 900 * 3))
    large = io.BytesIO()
    noise.save(large, "PNG")
    async with joined() as (emulator, one, _):
        one.silence = 20.0
        emulator.with_metadata = True
        emulator.preview = large.getvalue()
        previews = [step for step in await drained(one, ask(emulator, one)) if isinstance(step, Preview)]
        assert len(previews) == 1
        assert len(previews[0].content) <= 256 * 1024
        with Image.open(io.BytesIO(previews[0].content)) as image:
            assert 256 <= max(image.size) <= 512
        emulator.preview = b"\0" * 300_000
        assert not [step for step in await drained(one, ask(emulator, one)) if isinstance(step, Preview)]


@pytest.mark.parametrize("trouble", ["deaf", "drop"])
async def test_it_does_without_the_websocket(trouble: str) -> None:
    async with joined() as (emulator, one, _):
        if trouble == "deaf":
            emulator.deaf = True
        else:
            emulator.drop = 1
        steps = await drained(one, ask(emulator, one))
        assert [step.content for step in steps if isinstance(step, Artifact)] == [PICTURE]


async def test_a_proxy_of_the_environment_is_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with joined() as (emulator, one, _):
        one.silence = 20.0
        steps = await drained(one, ask(emulator, one))
        assert any(isinstance(step, Preview) for step in steps)
        assert any(isinstance(step, Artifact) for step in steps)


@pytest.mark.parametrize("deaf", [False, True], ids=["told", "asked"])
@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("error", r"node 3 \(KSampler\): mat1 and mat2"),
        ("interrupted", "interrupted in ComfyUI"),
        ("vanish", "neither in its queue nor in its history"),
    ],
)
async def test_a_bad_end_is_named(stage: str, words: str, deaf: bool) -> None:
    async with joined() as (emulator, one, _):
        emulator.stage, emulator.deaf = stage, deaf
        with pytest.raises(Exception, match=words) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "failed"  # type: ignore[attr-defined]
        assert not caught.value.retryable  # type: ignore[attr-defined]


async def test_a_workflow_that_is_refused_names_node_input_and_setting() -> None:
    async with joined() as (emulator, one, _):
        emulator.next("invalid", on="/prompt")
        with pytest.raises(
            Exception, match=r"node 4 \(CheckpointLoaderSimple\), input ckpt_name \(the setting checkpo"
        ) as caught:
            await drained(one, ask(emulator, one))
        assert caught.value.kind == "invalid"  # type: ignore[attr-defined]


async def test_what_runs_is_interrupted_and_nobody_else() -> None:
    async with joined() as (emulator, one, _):
        session = ask(emulator, one).session
        nodes = one._workflow("resize").filled({})
        emulator.prompts = {each: {"prompt": nodes} for each in ("mine", "other")}
        emulator.running = ["other"]
        await one.cancel(session, "mine" + ACCEPTED)
        assert not emulator.interrupts
        emulator.running = ["mine"]
        await one.cancel(session, "mine" + ACCEPTED)
        assert emulator.interrupts == ["mine"]


async def test_sources_are_uploaded_and_values_reach_their_nodes() -> None:
    async with joined() as (emulator, one, _):
        request = ask(emulator, one, "image_to_image", sources=(PICTURE,), source_types=("image/png",))
        request = replace(request, settings={**request.settings, "strength": 0.25, "negative": "blur"})
        await drained(one, request)
        nodes = emulator.calls("/prompt", "POST")[0].json["prompt"]
        (name,) = emulator.uploads
        assert emulator.uploads[name] == PICTURE
        assert nodes["10"]["inputs"]["image"] == f"lightfast/{name}"
        assert nodes["3"]["inputs"]["denoise"] == 0.25
        assert nodes["3"]["inputs"]["seed"] == 11
        assert (nodes["6"]["inputs"]["text"], nodes["7"]["inputs"]["text"]) == ("a red circle", "blur")
        assert "lightfast" not in nodes
        with pytest.raises(Exception, match="needs image: a source of image"):
            await drained(one, ask(emulator, one, "image_to_image"))


@pytest.mark.parametrize(
    ("key", "file", "kind"),
    [("gifs", "c.mp4", "video/mp4"), ("audio", "c.flac", "audio/flac"), ("images", "c.webp", "image/webp")],
)
async def test_outputs_of_all_kinds(tmp_path: Path, key: str, file: str, kind: str) -> None:
    output = kind.partition("/")[0]
    workflow = {"1": {"class_type": "SaveAny", "inputs": {}}, "lightfast": {"output": output, "inputs": {}}}
    (tmp_path / "any.json").write_text(json.dumps(workflow))
    async with joined(str(tmp_path)) as (emulator, one, _):
        emulator.outputs = {
            key: [
                {"filename": "t.png", "subfolder": "x", "type": "temp"},
                {"filename": file, "subfolder": "x", "type": "output"},
            ]
        }
        emulator.result_type = "application/octet-stream"
        emulator.result = b"no known beginning"
        made = [step for step in await drained(one, ask(emulator, one, "any")) if isinstance(step, Artifact)]
        assert [(each.name, each.media_type) for each in made] == [(file, kind)]


async def test_workflows_are_seen_when_they_change(tmp_path: Path) -> None:
    async with joined(str(tmp_path)) as (emulator, one, _):
        shipped = {model.name for model in one.models()}
        assert shipped == {"text_to_image", "image_to_image", "upscale", "resize"}
        workflow = json.loads((SHIPPED / "resize.json").read_text())
        workflow.pop("lightfast")
        (tmp_path / "mine.json").write_text(json.dumps(workflow))
        assert one.model("mine") is None
        side = {"description": "Mine.", "inputs": {"wide": {"node": "2", "field": "width", "maximum": 64}}}
        (tmp_path / "mine.lightfast.json").write_text(json.dumps(side))
        session = ask(emulator, one).session
        found = {model.name: model for model in await one.discover(session)}
        assert found["mine"].settings["properties"] == {"wide": {"type": "integer", "maximum": 64, "default": 512}}
        checkpoint = found["text_to_image"].settings["properties"]["checkpoint"]
        assert checkpoint["enum"] == CHECKPOINTS
        assert found["text_to_image"].settings["properties"]["sampler"]["enum"] == ["euler", "heun"]
        assert "enum" not in found["text_to_image"].settings["properties"]["negative"]
        (tmp_path / "mine.lightfast.json").write_text("{broken")
        assert "mine.lightfast.json cannot be read" in (await one.probe(session)).message
        with pytest.raises(Exception, match=r"mine\.json cannot be used"):
            await drained(one, replace(ask(emulator, one, "resize"), model="mine"))
        (tmp_path / "mine.json").unlink()
        assert len(await one.discover(session)) == len(shipped)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([], "no JSON object"),
        ({"nodes": [], "links": []}, "workflow of the editor"),
        ({"1": {"inputs": {}}}, "no class_type"),
        ({"lightfast": {"inputs": {}}}, "no nodes"),
        ({"1": {"class_type": "A", "inputs": {}}}, "names no inputs"),
        ({"1": {"class_type": "A", "inputs": {}}, "lightfast": {"inputs": {"x": {"node": "1"}}}}, "no node and field"),
        (
            {"1": {"class_type": "A", "inputs": {}}, "lightfast": {"inputs": {"x": {"node": 9, "field": "a"}}}},
            "not there",
        ),
        (
            {"1": {"class_type": "A", "inputs": {}}, "lightfast": {"inputs": {"x": {"node": 1, "field": "a"}}}},
            "no type",
        ),
        ({"1": {"class_type": "A", "inputs": {}}, "lightfast": {"output": "text", "inputs": {}}}, "its output"),
    ],
    ids=["list", "editor", "class", "empty", "names", "field", "node", "type", "output"],
)
def test_a_file_that_is_no_workflow_says_why(nodes: object, words: str) -> None:
    with pytest.raises(WorkflowMistake, match=words):
        read("x", nodes)


async def test_a_held_prompt_waits_in_the_queue_with_its_place() -> None:
    async with joined() as (emulator, one, case), rig(case):
        emulator.hold()
        other = asyncio.ensure_future(drained(one, ask(emulator, one)))
        await emulator.until(lambda: emulator.pending, "the first prompt")
        seen: list[str] = []

        async def mine() -> None:
            async for step in one.generate(ask(emulator, one), FakeBench()):
                if isinstance(step, Progress):
                    seen.append(step.message)

        task = asyncio.ensure_future(mine())
        await emulator.until(lambda: "waiting, 1 before it" in seen, "its place")
        emulator.release()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(other, task)
