"""The provider for servers that speak OpenAI's protocol, against their emulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from tests.emulators.compatible import (
    COST,
    EMBEDS,
    FREE,
    LLAMA,
    OPENROUTER,
    VARIES,
    VLLM,
    CompatibleEmulator,
    PaidEmulator,
)
from tests.emulators.openai import TEXT, OpenAIEmulator
from tests.providers.contract import Case, Plugin, contract, plugin_contract, rig

from lightfast.sdk import (
    EmbeddingRequest,
    Finish,
    GenerationRequest,
    Message,
    PluginError,
    Price,
    ProviderError,
    Secret,
    Session,
    Usage,
)
from lightfast.sdk.contract import PluginMistake, check_models
from lightfast.sdk.testing import FakeBench
from lightfast_providers import compatible
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server, servers_of

PLUGIN = Plugin(
    "lightfast_providers.compatible",
    "llama",
    sdk=("openai",),
    install="lightfast[compatible]",
    config={"servers": {"llama": "http://127.0.0.1:8080/v1", "router": {"base_url": "https://router.example/v1"}}},
)
USAGE = Usage(input_tokens=131, output_tokens=53, cached_tokens=64, reasoning_tokens=29, requests=1)
ASKED = GenerationRequest("tiny", "text", "Describe the bay.", {"temperature": 0.5}, 7, system="Be brief.")
LIMITS = frozenset(("requests", "tokens"))
MODELS = ("tiny", "embedder")


def provider() -> Compatible:
    return Compatible(Server("compatible", models=MODELS))


CASES = (
    Case("text", CompatibleEmulator, provider, request=ASKED, answer=TEXT, usage=USAGE, path="/chat", limits=LIMITS),
    Case(
        "keyed",
        OpenAIEmulator,
        lambda: Compatible(Server("router", needs_key=True, models=MODELS)),
        request=dataclasses.replace(ASKED, messages=(Message("user", "Hello"), Message("assistant", "Hi"))),
        answer=TEXT,
        usage=USAGE,
    ),
    Case(
        "cost",
        lambda: PaidEmulator(OPENROUTER),
        provider,
        request=ASKED,
        answer=TEXT,
        usage=dataclasses.replace(USAGE, cost_usd=COST),
    ),
    Case(
        "embedding",
        CompatibleEmulator,
        provider,
        embedding=EmbeddingRequest("embedder", ("a", "bc")),
        vectors=tuple(tuple(OpenAIEmulator.vector(text)) for text in ("a", "bc")),
        usage=Usage(input_tokens=23, requests=1),
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Any, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: Any) -> None:
    await check(PLUGIN)


async def found(*items: dict[str, Any]) -> dict[str, Any]:
    async with CompatibleEmulator(*items) as emulator:
        one = provider()
        try:
            models = await one.discover(Session(base_url=emulator.base_url))
        finally:
            await one.close()
    assert models is not None
    return {model.name: model for model in models}


async def test_discovery_reads_what_llama_cpp_tells() -> None:
    (model,) = (await found(LLAMA)).values()
    assert model.name == "tiny-random.gguf"
    assert model.context_tokens == 8192, "the window it was started with, not the one it was made for"
    assert model.free
    assert model.inputs == ("text", "image")
    assert {"continue", "seed", "count_tokens", "stream", "schema"} <= set(model.capabilities)


async def test_discovery_reads_what_vllm_tells() -> None:
    (model,) = (await found(VLLM)).values()
    assert (model.name, model.context_tokens) == ("org/model-8b", 32768)
    assert "continue" in model.capabilities


async def test_discovery_reads_the_prices_of_openrouter() -> None:
    models = await found(OPENROUTER, FREE, VARIES, EMBEDS)
    paid = models["maker/model-1"]
    told = {price.unit: price.usd for price in paid.prices}
    assert told == {"input_token": 3e-6, "output_token": 1.5e-5, "cached_token": 3e-7, "request": 0.0}
    assert (paid.context_tokens, paid.max_output_tokens) == (200_000, 64_000)
    assert paid.description == "Maker: Model 1"
    assert models["maker/auto"].prices == (), "-1 means that it depends: that is no price"
    assert models["maker/vectors"].outputs == ("embedding",)


async def test_a_name_that_is_not_listed_may_be_known_to_a_service_and_not_to_a_local_server() -> None:
    for item, known in ((OPENROUTER, True), (LLAMA, False), (VLLM, False)):
        async with CompatibleEmulator(item) as emulator:
            one = Compatible(Server("one", emulator.base_url))
            try:
                assert one.model("maker/model-1:nitro") is None, "nobody has asked the server yet"
                await one.discover(Session())
                assert (one.model("maker/model-1:nitro") is not None) is known
                assert one.model("/no/name") is None
            finally:
                await one.close()


async def test_models_of_this_machine_are_free_and_others_only_when_told_so() -> None:
    local = Compatible(Server("llama", "http://127.0.0.1:9/v1", models=("a",)))
    remote = Compatible(Server("far", "https://far.example/v1", models=("a",)))
    assert local.local
    assert check_models(local)[0].free
    assert not remote.local
    assert not check_models(remote)[0].free
    assert isinstance(Price("input_token", 0.0), Price)


async def test_a_local_server_is_not_asked_elsewhere() -> None:
    one = Compatible(Server("llama", "http://127.0.0.1:9/v1"))
    with pytest.raises(ProviderError, match="a name of its own") as caught:
        await one.probe(Session(base_url="https://far.example/v1"))
    assert caught.value.kind == "invalid"


async def test_without_an_address_it_says_what_to_set() -> None:
    one = provider()
    assert await one.discover(Session()) is None
    with pytest.raises(ProviderError, match=r"set base_urls of \[providers.compatible\]"):
        [step async for step in one.generate(ASKED, FakeBench())]


@pytest.mark.parametrize("echoes", [True, False], ids=["echoes", "silent"])
async def test_a_beginning_is_continued_and_not_repeated(echoes: bool) -> None:
    case = dataclasses.replace(CASES[0], emulator=lambda: CompatibleEmulator(LLAMA, echoes=echoes))
    async with rig(case) as it:
        if not echoes:
            it.emulator.chunks = ["turns, and ", "the bay answers."]  # type: ignore[attr-defined]
        ran = await it.run(prefix="The lighthouse ")
        assert ran.error is None
        assert ran.text == "turns, and the bay answers."
        asked = it.asked()[0].json
        assert asked["messages"][-1] == {"role": "assistant", "content": "The lighthouse "}
        assert asked["seed"] == 7


async def test_vllm_is_told_to_go_on() -> None:
    async with rig(dataclasses.replace(CASES[0], emulator=lambda: CompatibleEmulator(VLLM))) as it:
        await it.run(prefix="The lighthouse ")
        asked = it.asked()[0].json
        assert asked["continue_final_message"] is True
        assert asked["add_generation_prompt"] is False


async def test_what_only_looked_like_the_beginning_is_not_lost() -> None:
    def emulator() -> CompatibleEmulator:
        made = CompatibleEmulator(LLAMA)
        made.chunks = ["The ", "light"]
        return made

    async with rig(dataclasses.replace(CASES[0], emulator=emulator)) as it:
        assert (await it.run(prefix="The lighthouse ")).text == "The light"


async def test_a_schema_settings_and_additions_are_sent() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    server = Server("mercury", models=MODELS, body={"reasoning_effort": "instant"})
    case = dataclasses.replace(CASES[0], provider=lambda: Compatible(server))
    async with rig(case) as it:
        await it.run(schema=schema, max_output_tokens=9, session=Session(base_url=it.emulator.base_url))
        asked = it.asked()[0].json
        form = {"name": "answer", "schema": schema, "strict": False}
        assert asked["response_format"] == {"type": "json_schema", "json_schema": form}
        assert (asked["max_tokens"], asked["temperature"], asked["reasoning_effort"]) == (9, 0.5, "instant")
        assert asked["stream_options"] == {"include_usage": True}
        assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
        assert "Authorization" not in it.asked()[0].headers, "no key, no header"


async def test_the_end_says_why() -> None:
    async with rig(CASES[0]) as it:
        ran = await it.fail("incomplete")
        assert [step.reason for step in ran.steps if isinstance(step, Finish)] == ["length"]


async def test_pictures_are_sent_and_film_is_refused() -> None:
    async with rig(CASES[0]) as it:
        await it.run(sources=(b"\x89PNG",), source_types=("image/png",))
        parts = it.asked()[0].json["messages"][-1]["content"]
        assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,")
        assert parts[1] == {"type": "text", "text": "Describe the bay."}
        ran = await it.run(sources=(b"\0",), source_types=("video/mp4",))
        assert not ran.failed("invalid").retryable
        assert len(it.asked()) == 1


async def test_tokens_are_counted_by_the_server() -> None:
    async with rig(CASES[0]) as it:
        assert await it.provider.count_tokens(it.request()) == len("system: Be brief.\nuser: Describe the bay.")


async def test_organization_of_the_environment_goes_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else-entirely")
    async with rig(CASES[0]) as it:
        await it.run()
        sent = it.asked()[0].headers
        assert "OpenAI-Organization" not in sent
        assert "somebody" not in str(sent)


def test_servers_of_the_settings() -> None:
    table = {"servers": {"llama": "http://127.0.0.1:8080/v1/", "far": {"base_url": "https://a.example/v1"}}}
    own, llama, far = compatible.lightfast_providers(config=table)
    assert (own.name, llama.name, far.name) == ("compatible", "llama", "far")
    assert llama.local
    assert not far.local
    assert far.key_names == ("FAR_API_KEY",)
    assert [server.base_url for server in servers_of(table)] == ["", "http://127.0.0.1:8080/v1", "https://a.example/v1"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"servers": {"x": "ftp://a"}}, "has the base_url"),
        ({"servers": {"X y": "http://a/v1"}}, "no name for a provider"),
        ({"servers": {"compatible": "http://a/v1"}}, "no name for a provider"),
        ({"servers": {"x": {"url": "http://a/v1"}}}, "no setting 'url'"),
        ({"servers": {"x": 3}}, "write an address"),
        ({"servers": []}, "no table"),
        ({"servers": {"x": {"base_url": "http://a/v1", "models": "m"}}}, "no list of names"),
    ],
    ids=["scheme", "name", "taken", "key", "number", "list", "models"],
)
def test_a_wrong_setting_is_named(table: Mapping[str, Any], says: str) -> None:
    with pytest.raises(PluginError, match=says) as caught:
        servers_of(table)
    assert not isinstance(caught.value, PluginMistake)


async def test_a_key_is_sent_to_its_own_server_only() -> None:
    async with rig(CASES[0]) as it:
        await it.run(session=dataclasses.replace(it.session, key=Secret(it.emulator.key)))
        await it.run(session=Session(base_url=it.emulator.base_url))
        first, second = it.asked()
        assert first.headers["Authorization"] == f"Bearer {it.emulator.key}"
        assert "Authorization" not in second.headers
