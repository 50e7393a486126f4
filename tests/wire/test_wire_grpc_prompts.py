"""Models, tokens and prompt templates over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from tests.support.grpc_daemon import Daemon, refused, running
from tests.support.routing import Accounts, Moving, Still, Tariffs, text

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.api.v1 import generation_pb2_grpc
from lightfast.api.values import to_message
from lightfast.app.gateway_settings import GatewaySettings
from lightfast.app.routing_joints import join_routing
from lightfast.core.clock import SYSTEM
from lightfast.core.tokens import Estimate
from lightfast.sdk import GenerationRequest, Model, Price


class Counting(Still):
    """Counts words."""

    async def count_tokens(self, request: GenerationRequest) -> int:
        return len(request.prompt.split())


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Daemon, Any, Accounts]]:
    """Run a daemon with two providers that stand still and one that is asked for its models."""
    async with running(folder) as daemon:
        gateway = daemon.services.gateway
        options = GatewaySettings(aliases=(("mine", ("moving/found", "still/a")),))
        routing, prompts = join_routing(gateway, options, gateway.operations._db, SYSTEM)
        daemon.stack.push_async_callback(prompts.close)
        accounts = Accounts(keyless={"keyed"})
        routing.join(accounts, Tariffs({"still/a": 0.1}))
        models = [
            Model(
                "a",
                ("text",),
                capabilities=("count_tokens", "system"),
                context_tokens=8000,
                max_output_tokens=500,
                tags=("fast",),
                prices=(Price("input_token", 1e-6, "here", "2026-01-02"),),
                limits=(("requests", 60.0, 100.0),),
                deprecation_date="2020-01-01",
                retirement_date="2999-01-01",
            ),
            text("gone", retirement_date="2020-01-01"),
        ]
        gateway.register(Counting("still", models), "stills")
        gateway.register(Moving("moving", [text("found")], local=True), "movings")
        gateway.register(Still("keyed", [text("b")], needs_key=True), "keyeds")
        yield daemon, generation_pb2_grpc.GenerationServiceStub(await daemon.channel()), accounts


async def test_models_are_listed_with_what_is_known_of_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, stub, _):
        found = {model.name: model for model in (await stub.ListModels(pb.ListModelsRequest())).models}
        assert list(found) == ["keyed/b", "moving/found", "still/a", "still/gone"]
        model = found["still/a"]
        assert (model.context_tokens, model.max_output_tokens) == (8000, 500)
        assert (model.deprecation_date, model.retirement_date) == ("2020-01-01", "2999-01-01")
        assert list(model.capabilities) == ["count_tokens", "system"]
        assert list(model.tags) == ["fast"]
        assert list(model.aliases) == ["best", "cheap", "fast", "mine"]
        assert (model.available, model.reason) == (True, "")
        assert [(each.kind, each.window_s, each.limit) for each in model.limits] == [("requests", 60.0, 100.0)]
        assert [(price.unit, price.usd) for price in found["moving/found"].prices] == [("request", 0.0)]
        assert list(found["moving/found"].aliases) == ["best", "local", "mine"]
        assert (found["keyed/b"].available, found["keyed/b"].reason) == (False, "keyed has no key")
        assert (found["still/gone"].available, found["still/gone"].reason) == (False, "retired on 2020-01-01")
        assert (await stub.ListModels(pb.ListModelsRequest(output="embedding"))).models == []
        wrong = await refused(stub.ListModels(pb.ListModelsRequest(output="smell")))
        assert wrong.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_providers_are_listed_with_what_they_need(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, stub, _):
        found = {each.name: each for each in (await stub.ListProviders(pb.ListProvidersRequest())).providers}
        assert (found["keyed"].available, found["keyed"].reason) == (False, "keyed has no key")
        assert found["keyed"].needs_key
        assert found["keyed"].plugin == "keyeds"
        assert (found["still"].available, found["still"].reason) == (True, "")
        assert found["moving"].local


async def test_tokens_are_counted_by_the_service_or_estimated(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, stub, _):

        async def count(**fields: Any) -> pb.CountTokensResponse:
            request = pb.CountTokensRequest(request=pb.GenerateRequest(**fields))
            return await stub.CountTokens(request)  # type: ignore[no-any-return]

        exact = await count(model="still/a", prompt="one two three")
        assert (exact.tokens, exact.counter, exact.model, exact.context_tokens) == (3, "still", "still/a", 8000)
        by_alias = await count(model="fast", prompt="one two")
        assert (by_alias.tokens, by_alias.model) == (2, "still/a")
        estimated = await count(model="moving/found", prompt="one two three")
        assert (estimated.counter, estimated.model) == ("estimate", "moving/found")
        assert estimated.tokens >= Estimate().count("one two three")
        longer = await count(
            model="moving/found", prompt="one two three", messages=[pb.Message(role="user", text="four five")]
        )
        assert longer.tokens > estimated.tokens
        without_key = await count(model="keyed/b", prompt="one")
        assert (without_key.model, without_key.counter) == ("keyed/b", "estimate")
        await stub.SavePrompt(pb.SavePromptRequest(prompt=pb.Prompt(name="twice", text="{{ prompt }} {{ prompt }}")))
        assert (await count(model="still/a", prompt="one two", template="twice")).tokens == 4
        wrong = await refused(count(model="still/zz", prompt="x"))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_templates_are_saved_shown_listed_rendered_and_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, stub, _):
        prompt = pb.Prompt(
            name="caption", text="A {{ tone }}  caption:\n\n\n{{ prompt }}", system="Be {{ tone }}.", description="d"
        )
        saved = (await stub.SavePrompt(pb.SavePromptRequest(prompt=prompt, request_id="r1"))).prompt
        assert (saved.version, list(saved.arguments), saved.description) == (1, ["prompt", "tone"], "d")
        assert saved.create_time.seconds
        assert (await stub.SavePrompt(pb.SavePromptRequest(prompt=prompt, request_id="r1"))).prompt == saved
        assert (await stub.SavePrompt(pb.SavePromptRequest(prompt=prompt))).prompt == saved
        prompt.text += "!"
        assert (await stub.SavePrompt(pb.SavePromptRequest(prompt=prompt))).prompt.version == 2
        assert (await stub.GetPrompt(pb.GetPromptRequest(name="caption@1"))).prompt == saved

        request = pb.GetPromptRequest(name="caption@1", render=True)
        to_message("dry", request.arguments["tone"])
        to_message("a cube", request.arguments["prompt"])
        shown = await stub.GetPrompt(request)
        assert (shown.rendered, shown.rendered_system) == ("A dry  caption:\n\n\na cube", "Be dry.")
        assert (shown.tokens > 0, shown.tokens_saved) == (True, 0)
        request.compact = True
        compacted = await stub.GetPrompt(request)
        assert compacted.rendered == "A dry caption:\n\na cube"
        assert compacted.tokens_saved == shown.tokens - compacted.tokens > 0

        listed = (await stub.ListPrompts(pb.ListPromptsRequest())).prompts
        assert [(each.name, each.version) for each in listed] == [("caption", 2)]
        assert len((await stub.ListPrompts(pb.ListPromptsRequest(name="caption"))).prompts) == 2
        assert (await stub.DeletePrompt(pb.DeletePromptRequest(name="caption"))).versions == 2
        assert (await stub.ListPrompts(pb.ListPromptsRequest())).prompts == []


async def test_what_is_wrong_with_a_template_is_told_with_its_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, stub, _):

        async def save(text: str) -> Any:
            return await stub.SavePrompt(pb.SavePromptRequest(prompt=pb.Prompt(name="x", text=text)))

        wrong = await refused(save("one\n{% if %}"))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TEMPLATE_SYNTAX")
        assert "in line 2" in wrong.message
        assert wrong.metadata["line"] == "2"
        gone = await refused(stub.GetPrompt(pb.GetPromptRequest(name="nobody")))
        assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "PROMPT_NOT_FOUND")
        await save("{{ ''.__class__ }}{{ a }}")
        missing = await refused(stub.GetPrompt(pb.GetPromptRequest(name="x", render=True)))
        assert (missing.reason, missing.fields) == ("TEMPLATE_ARGUMENT", ["arguments.a"])
        request = pb.GetPromptRequest(name="x", render=True)
        to_message(1, request.arguments["a"])
        forbidden = await refused(stub.GetPrompt(request))
        assert forbidden.reason == "TEMPLATE_FORBIDDEN"


async def test_a_daemon_without_the_rooms_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.services.gateway.prompts = daemon.services.gateway.candidates = None
        stub = generation_pb2_grpc.GenerationServiceStub(await daemon.channel())
        assert (await refused(stub.CountTokens(pb.CountTokensRequest()))).reason == "NO_PROMPTS"
        assert (await refused(stub.ListPrompts(pb.ListPromptsRequest()))).reason == "NO_PROMPTS"
        assert (await stub.ListModels(pb.ListModelsRequest())).models == []
