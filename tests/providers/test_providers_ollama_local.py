"""Ollama point by point: what is sent, what is there, what its errors mean."""

from __future__ import annotations

from typing import Any

import pytest
from tests.emulators.ollama import Ollama as Emulator
from tests.providers.contract import Case, Ran, rig

from lightfast.sdk import EmbeddingRequest, Finish, GenerationRequest, Message, TextDelta, Usage
from lightfast_providers.ollama import Ollama, lightfast_providers

REQUEST = GenerationRequest("llama3.2", "text", "What is the sea?", {}, 2**33 + 5)
SCHEMA = {"type": "object", "properties": {"depth": {"type": "integer"}}}
CASE = Case("text", Emulator, Ollama, request=REQUEST)


async def asked(emulated: dict[str, Any] | None = None, **changes: Any) -> tuple[Ran, Any]:
    async with rig(CASE) as it:
        for name, value in (emulated or {}).items():
            setattr(it.emulator, name, value)
        ran = await it.run(**changes)
        return ran, it.emulator.journal[-1]


async def failed(fault: str, **changes: Any) -> Ran:
    async with rig(CASE) as it:
        return await it.fail(fault, **changes)


async def test_a_plain_request() -> None:
    ran, call = await asked()
    assert call.json == {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "What is the sea?"}],
        "tools": [],
        "stream": True,
        "options": {"seed": 5},  # the runner keeps 32 bits
    }
    assert [type(step) for step in ran.steps] == [*[TextDelta] * 3, Usage, Finish]


async def test_a_conversation_with_everything() -> None:
    settings = {"temperature": 0.5, "num_ctx": 8192, "keep_alive": "10m", "think": "low", "stop": ["END"]}
    ran, call = await asked(
        {"thoughts": ["Let me ", "think."]},
        system="Be brief.",
        messages=(Message("user", "Hello."), Message("assistant", "Yes?")),
        sources=(b"\x89PNG",),
        source_types=("image/png",),
        schema=SCHEMA,
        settings=settings,
        max_output_tokens=77,
    )
    body = call.json
    assert [each["role"] for each in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][-1]["images"] == ["iVBORw=="]
    options = {"seed": 5, "num_predict": 77, "temperature": 0.5, "num_ctx": 8192, "stop": ["END"]}
    assert body["options"] == options
    assert (body["format"], body["keep_alive"], body["think"]) == (SCHEMA, "10m", "low")
    assert ran.text == "The sea is wide."  # and nothing of what it thought
    _, call = await asked(settings={"keep_alive": "-1"})
    assert call.json["keep_alive"] == -1


async def test_a_source_that_is_no_picture_is_not_sent() -> None:
    async with rig(CASE) as it:
        (await it.run(sources=(b"%PDF",), source_types=("application/pdf",))).failed("invalid")
        assert not it.emulator.journal


async def test_an_answer_that_was_cut_and_counts_that_are_missing() -> None:
    ran, _ = await asked({"done_reason": "length", "counted": False})
    assert ran.steps[-1] == Finish("length")
    assert ran.usage == Usage(input_tokens=0, output_tokens=298, requests=1)


async def test_no_key_is_sent_but_that_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "of-the-environment")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    ran, call = await asked()
    assert ran.error is None
    assert "Authorization" not in call.headers
    _, call = await asked({"needs_key": True})
    assert call.headers["Authorization"] == f"Bearer {Emulator().key}"


async def test_a_model_that_is_missing_says_how_to_get_it() -> None:
    ran, _ = await asked(model="missing")
    assert "ollama pull missing" in str(ran.failed("not_found"))
    assert "model 'missing' not found" in str(ran.error)


async def test_nobody_there_says_how_to_start_it() -> None:
    async with rig(CASE) as it:
        await it.emulator.stop()
        assert "ollama serve" in str((await it.run()).failed("unavailable"))
        case = Case("vectors", Emulator, Ollama, embedding=EmbeddingRequest("nomic-embed-text", ("sea",)))
    async with rig(case) as it:
        await it.emulator.stop()
        assert "ollama serve" in str((await it.run()).failed("unavailable"))


async def test_an_error_in_the_middle_of_an_answer_of_status_200() -> None:
    ran = await failed("error-mid")
    error = ran.failed("unavailable")
    assert "CUDA error" in str(error)
    assert error.retryable
    assert ran.text == "The sea "


@pytest.mark.parametrize(
    ("fault", "kind"), [("502", "unavailable"), ("overloaded", "overloaded"), ("invalid", "invalid"), ("403", "denied")]
)
async def test_what_errors_mean(fault: str, kind: str) -> None:
    assert not (await failed(fault)).failed(kind).terminal


async def test_a_text_beyond_the_window_is_refused_and_not_cut() -> None:
    case = Case("vectors", Emulator, Ollama, embedding=EmbeddingRequest("nomic-embed-text", ("sea",)))
    async with rig(case) as it:
        (await it.fail("context")).failed("context")
        assert it.emulator.journal[-1].json == {
            "model": "nomic-embed-text",
            "input": ["sea"],
            "truncate": False,
        }


async def test_the_models_that_are_there() -> None:
    async with rig(CASE) as it:
        found = await it.provider.discover(it.session)
        assert (await it.provider.probe(it.session)).message == "4 models are there"
    assert found is not None
    by_name = {model.name: model for model in found}
    plain, seeing = by_name["llama3.2:latest"], by_name["gemma3:4b"]
    assert (plain.context_tokens, plain.inputs, plain.free) == (131_072, ("text",), True)
    assert seeing.inputs == ("text", "image")
    assert "think" not in plain.settings["properties"]
    assert "think" in by_name["qwen3:8b"].settings["properties"]
    assert "continue" not in plain.capabilities  # it depends on the template of the model
    vectors = by_name["nomic-embed-text:latest"]
    assert (vectors.outputs, vectors.context_tokens) == (("embedding",), 2048)
    assert "768" in vectors.description


async def test_a_model_that_cannot_be_asked_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(CASE) as it:
        it.emulator.next("500", on="/api/show")
        found = await it.provider.discover(it.session)
        assert found is not None
        assert [model.context_tokens for model in found] == [0, 131_072, 40_960, 2048]
        monkeypatch.setattr("lightfast_providers.ollama.provider.DISCOVERY_S", -1.0)  # too late for all
        found = await it.provider.discover(it.session)
        assert found is not None
        assert [(model.context_tokens, model.outputs[0]) for model in found] == [(0, "text")] * 3 + [(0, "embedding")]


def test_a_model_nobody_has_asked_about_is_guessed_by_its_name() -> None:
    provider = Ollama()
    assert provider.models() == ()
    text, vectors = provider.model("llama9"), provider.model("mxbai-embed-large")
    assert text is not None
    assert vectors is not None
    assert (text.outputs, vectors.outputs, text.free) == (("text",), ("embedding",), True)
    cloud = provider.model("gpt-oss:120b-cloud")
    assert cloud is not None
    assert not cloud.free


@pytest.mark.parametrize(
    ("where", "local"),
    [("", True), ("http://localhost:11434", True), ("http://[::1]:11434", True), ("https://ollama.com", False)],
)
def test_only_what_runs_here_is_local_and_free(where: str, local: bool) -> None:
    (provider,) = lightfast_providers(config={"base_url": where})
    assert provider.local is local
    model = provider.model("llama3.2")
    assert model is not None
    assert model.free is local


async def test_models_of_the_cloud_are_neither_local_nor_free() -> None:
    async with rig(CASE) as it:
        it.emulator.cloud = {  # type: ignore[attr-defined]
            "gpt-oss:120b-cloud": ("gpt-oss:120b", "https://ollama.com:443"),
            "mine:latest": ("kimi-k2:1t", "https://ollama.com:443"),
        }
        found = {model.name: model for model in await it.provider.discover(it.session) or ()}
        assert {name for name, model in found.items() if model.remote} == {"gpt-oss:120b-cloud", "mine:latest"}
        assert {name for name, model in found.items() if not model.free} == {"gpt-oss:120b-cloud", "mine:latest"}
        assert "https://ollama.com:443 (not on this machine)" in found["mine:latest"].description
        assert "think" in found["mine:latest"].settings["properties"]
        for name, remote in (("glm-5:cloud", True), ("qwen4:72b-cloud", True), ("cloudy:8b", False)):
            guessed = it.provider.model(name)
            assert guessed is not None
            assert (guessed.remote, guessed.free) == (remote, not remote)
