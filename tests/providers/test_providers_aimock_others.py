"""Claude, Gemini and Ollama against aimock, where it keeps to their protocols: an emulator that others wrote.

It knows Gemini's API as `v1beta` only, so a model in preview is asked. It has no batches or counting of Claude's, and
no headers of its limits: those are for our own emulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.emulators.aimock import Running, aimock

from lightfast.sdk import Finish, GenerationRequest, Message, Provider, ProviderError, Secret, Session, TextDelta, Usage
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.anthropic import Anthropic
from lightfast_providers.gemini import Gemini
from lightfast_providers.ollama import Ollama

pytestmark = pytest.mark.real_app

TEXT = "The lighthouse turns, and the bay answers."
USAGE = {"input_tokens": 31, "output_tokens": 11, "prompt_tokens": 31, "completion_tokens": 11}
GEMINI_USAGE = {"promptTokenCount": 31, "candidatesTokenCount": 11, "totalTokenCount": 42}
FIXTURES: list[dict[str, Any]] = [
    {"match": {"userMessage": "bay"}, "response": {"content": TEXT, "usage": {**USAGE, **GEMINI_USAGE}}},
    {"match": {"userMessage": "deep"}, "response": {"content": TEXT, "reasoning": "Let me think."}},
    {
        "match": {"userMessage": "limited"},
        "response": {"error": {"message": "Slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 7},
    },
    {
        "match": {"userMessage": "busy"},
        "response": {"error": {"message": "Overloaded", "type": "overloaded_error"}, "status": 529},
    },
    {
        "match": {"userMessage": "strange key"},
        "response": {"error": {"message": "invalid key", "type": "authentication_error"}, "status": 401},
    },
]
SERVICES = {
    "anthropic": (Anthropic, "claude-opus-5-5", True),
    "gemini": (Gemini, "gemini-9-preview", True),
    "ollama": (Ollama, "llama3.2", False),
}
PARAMETERS = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with aimock(tmp_path_factory.mktemp("aimock"), FIXTURES) as running:
        yield running


async def generated(server: Running, service: str, prompt: str, **more: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the steps, and what was sent."""
    make, model, _ = SERVICES[service]
    provider: Provider = make()
    known = provider.model(model)
    assert known is not None
    session = Session(key=Secret("sk-aimock-0123456789"), base_url=server.url)
    request = GenerationRequest(model, "text", prompt, complete_settings(known, {}), 1, session=session, **more)
    before = len(server.journal())
    try:
        return [step async for step in provider.generate(request, FakeBench())], server.journal()[before:]
    finally:
        await provider.close()


@PARAMETERS
async def test_text_with_its_usage(server: Running, service: str) -> None:
    conversation = (Message("user", "Hello."), Message("assistant", "Yes?"))
    steps, sent = await generated(server, service, "the bay", system="Be brief.", messages=conversation)
    assert "".join(step.text for step in steps if isinstance(step, TextDelta)) == TEXT
    assert len([step for step in steps if isinstance(step, TextDelta)]) > 1
    (usage,) = [step for step in steps if isinstance(step, Usage)]
    if SERVICES[service][2]:
        assert (usage.input_tokens, usage.output_tokens) == (31, 11)
    assert steps[-1] == Finish("stop")
    assert len(sent) == 1


@pytest.mark.parametrize("service", ["anthropic", "gemini"])
async def test_thoughts_are_left_out(server: Running, service: str) -> None:
    steps, _ = await generated(server, service, "deep")
    assert "".join(step.text for step in steps if isinstance(step, TextDelta)) == TEXT


@PARAMETERS
async def test_a_429_is_a_limit_and_is_not_tried_again(server: Running, service: str) -> None:
    before = len(server.journal())
    with pytest.raises(ProviderError) as caught:
        await generated(server, service, "limited")
    assert (caught.value.kind, caught.value.terminal, caught.value.retryable) == ("limit", False, True)
    if service != "gemini":  # it tells of the wait in details, which aimock does not send
        assert caught.value.retry_after == 7.0
    assert len(server.journal()) == before + 1


async def test_an_overloaded_service_and_a_key_that_is_refused(server: Running) -> None:
    for prompt, kind in (("busy", "overloaded"), ("strange key", "auth")):
        with pytest.raises(ProviderError) as caught:
            await generated(server, "anthropic", prompt)
        assert caught.value.kind == kind
