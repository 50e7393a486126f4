"""Gemini's text, counting and embeddings point by point: what is sent, what the counts come to, how answers end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulators.gemini import Gemini as Emulator
from tests.emulators.gemini import camel
from tests.providers.contract import Case, Ran, rig

from lightfast.sdk import EmbeddingRequest, Finish, GenerationRequest, Message, Usage
from lightfast_providers.gemini import Gemini
from lightfast_providers.gemini.answers import usage
from lightfast_providers.gemini.models import LISTED, named

REQUEST = GenerationRequest("gemini-3.8-flash", "text", "What is the sea?", {}, 2**40 + 7)
SCHEMA = {"type": "object", "properties": {"depth": {"type": "integer"}}, "required": ["depth"]}
CASE = Case("text", Emulator, Gemini, request=REQUEST)


async def asked(emulated: dict[str, Any] | None = None, **changes: Any) -> tuple[Ran, Any]:
    """Return what came of a request with *changes*, and the request."""
    async with rig(CASE) as it:
        for name, value in (emulated or {}).items():
            setattr(it.emulator, name, value)
        ran = await it.run(**changes)
        return ran, it.emulator.journal[-1]


async def failed(fault: str) -> Ran:
    async with rig(CASE) as it:
        return await it.fail(fault)


async def test_a_conversation_with_everything() -> None:
    ran, call = await asked(
        system="Be brief.",
        messages=(Message("user", "Hello."), Message("system", "Rhyme."), Message("assistant", "Yes?")),
        sources=(b"\x89PNG", b"ID3"),
        source_types=("image/png", "audio/mpeg"),
        schema=SCHEMA,
        settings={"thinking": "low", "stop": ["END"]},
        max_output_tokens=77,
    )
    assert ran.error is None
    assert call.path == "/v1/models/gemini-3.8-flash:streamGenerateContent"
    body = camel(call.json)
    assert [each["text"] for each in body["systemInstruction"]["parts"]] == ["Be brief.\n\nRhyme."]
    assert [(each["role"], each["parts"][-1]["text"]) for each in body["contents"]] == [
        ("user", "Hello."),
        ("model", "Yes?"),
        ("user", "What is the sea?"),
    ]
    picture, sound = (each["inlineData"] for each in body["contents"][2]["parts"][:2])
    assert (picture["mimeType"], picture["data"], sound["mimeType"]) == ("image/png", "iVBORw==", "audio/mpeg")
    assert body["generationConfig"] == {
        "seed": 7,  # the service keeps 32 bits
        "maxOutputTokens": 77,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
        "thinkingConfig": {"thinkingLevel": "LOW"},
        "stopSequences": ["END"],
    }


async def test_models_in_preview_are_asked_at_v1beta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.emulators.gemini.MODELS", ("gemini-9-preview", "gemini-3.8-flash"))
    _, call = await asked(model="gemini-9-preview")
    assert call.path.startswith("/v1beta/models/gemini-9-preview:")
    _, call = await asked()
    assert call.path.startswith("/v1/models/")


async def test_only_the_key_of_the_account_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v9")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    ran, call = await asked()
    assert ran.error is None
    assert call.headers["x-goog-api-key"] == Emulator().key
    assert call.path.startswith("/v1/")


@pytest.mark.parametrize(("said", "reason"), [("STOP", "stop"), ("MAX_TOKENS", "length"), ("CONTINUATION", "length")])
async def test_how_an_answer_ends(said: str, reason: str) -> None:
    async with rig(CASE) as it:
        emulator: Any = it.emulator
        emulator.finish = said
        ran = await it.run()
        assert ran.steps[-1] == Finish(reason)
        assert "think" not in ran.text
        assert len(emulator.journal) == 1  # nothing is asked for a second time to make an answer longer


@pytest.mark.parametrize("said", ["SAFETY", "RECITATION", "SPII", "BLOCKLIST", "PROHIBITED_CONTENT"])
async def test_an_answer_that_policy_ends_is_filtered_and_paid_for(said: str) -> None:
    ran, _ = await asked({"finish": said})
    assert said in str(ran.failed("filtered"))
    assert ran.usage.output_tokens == 57
    ran, _ = await asked({"finish": "MALFORMED_RESPONSE"})
    assert ran.failed("failed").retryable


async def test_a_prompt_that_is_blocked_and_an_answer_that_is_stopped() -> None:
    ran = await failed("blocked")
    assert "PROHIBITED_CONTENT" in str(ran.failed("filtered"))
    assert ran.usage == Usage(input_tokens=9, requests=1)
    ran = await failed("safety-begun")
    assert "RECITATION" in str(ran.failed("filtered"))
    assert ran.text == "The sea is wide."


async def test_an_error_in_the_middle_of_a_stream() -> None:
    ran = await failed("error-mid")
    assert ran.failed("overloaded").retryable
    assert ran.text == "The sea "
    assert ran.usage == Usage(input_tokens=1021, output_tokens=1, requests=1)  # what was told so far


async def test_counting_takes_the_system_prompt_in() -> None:
    async with rig(CASE) as it:
        without = await it.provider.count_tokens(it.request())
        more = await it.provider.count_tokens(it.request(system="Be as brief as you can, and rhyme."))
        assert more > without
        assert it.emulator.journal[-1].path == "/v1/models/gemini-3.8-flash:countTokens"


@pytest.mark.parametrize("model", ["gemini-embedding-2", "gemini-embedding-001"])
async def test_each_text_has_its_own_vector(model: str) -> None:
    texts = ("sea", "shore", "salt and sand")
    case = Case("vectors", Emulator, Gemini, embedding=EmbeddingRequest(model, texts))
    async with rig(case) as it:
        ran = await it.run()
        assert [vector[0] for vector in ran.steps[0].vectors] == [0.03, 0.05, 0.13]
        body = it.emulator.journal[-1].json["requests"]
        assert [each["content"]["parts"][0]["text"] for each in body] == list(texts)
        assert not any("outputDimensionality" in each for each in body)


# --- models ---


async def test_the_models_of_an_account() -> None:
    async with rig(CASE) as it:
        found = await it.provider.discover(it.session)
    assert found is not None
    by_name = {model.name: model for model in found}
    assert set(by_name) == {"gemini-3.8-flash", "gemini-5-neon", "gemini-embedding-3"}  # none that only talks live
    new = by_name["gemini-5-neon"]
    assert (new.context_tokens, new.max_output_tokens, new.outputs) == (2_097_152, 131_072, ("text",))
    assert "batch" in new.capabilities
    assert by_name["gemini-embedding-3"].outputs == ("embedding",)


def test_every_listed_model_has_a_price() -> None:
    from genai_prices import data_snapshot

    prices = data_snapshot.get_snapshot()
    for model in LISTED:
        _, found = prices.find_provider_model(model.price_name or model.name, None, Gemini.price_provider, None)
        assert found.id.removesuffix("-preview") == model.name
        assert model.context_tokens == 0 or (found.context_window or 0) <= model.context_tokens


@pytest.mark.parametrize(
    ("name", "outputs", "temperature"),
    [
        ("gemini-2.5-pro", ("text",), True),
        ("gemma-4-31b-it", ("text",), True),
        ("gemini-6-flash", ("text",), False),
        ("gemini-6-flash-image", ("image",), False),
        ("gemini-6-flash-tts-preview", ("audio",), False),
        ("gemini-embedding-7", ("embedding",), False),
    ],
)
def test_an_unknown_model_is_what_its_name_says(name: str, outputs: tuple[str, ...], temperature: bool) -> None:
    found = named(name)
    assert found is not None
    assert found.outputs == outputs
    assert ("temperature" in found.settings.get("properties", {})) is temperature


def test_models_that_end_and_models_of_others() -> None:
    ending = named("gemini-2.5-flash")
    assert ending is not None
    assert ending.retirement_date == "2026-12-01"
    assert named("claude-opus-5-5") is None


# --- arithmetic ---

COUNT = st.one_of(st.none(), st.integers(0, 10**7))


@given(COUNT, COUNT, COUNT, COUNT, COUNT)
def test_thoughts_and_tools_are_added_and_the_cache_is_included(
    prompt: int | None, cached: int | None, candidates: int | None, thoughts: int | None, tools: int | None
) -> None:
    from google.genai.types import GenerateContentResponseUsageMetadata

    told = GenerateContentResponseUsageMetadata(
        prompt_token_count=prompt,
        cached_content_token_count=cached,
        candidates_token_count=candidates,
        thoughts_token_count=thoughts,
        tool_use_prompt_token_count=tools,
    )
    assert usage(told) == Usage(
        input_tokens=(prompt or 0) + (tools or 0),
        output_tokens=(candidates or 0) + (thoughts or 0),
        cached_tokens=cached or 0,
        reasoning_tokens=thoughts or 0,
        requests=1,
    )
    assert usage(None) is None
