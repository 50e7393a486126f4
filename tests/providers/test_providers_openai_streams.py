"""How OpenAI's protocol is spoken: what is sent of this machine, which events are read, what a stream leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from tests.emulators import Emulator
from tests.emulators.base import call_of, drained, events
from tests.emulators.compatible import CompatibleEmulator
from tests.emulators.openai import TEXT, USAGE, OpenAIEmulator

from lightfast.sdk import (
    Finish,
    GenerationRequest,
    Provider,
    ProviderError,
    Secret,
    Session,
    Step,
    TextDelta,
    Usage,
)
from lightfast.sdk.testing import FakeBench
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server
from lightfast_providers.openai.provider import OpenAI

SERVICES = [
    pytest.param(OpenAIEmulator, OpenAI, id="responses"),
    pytest.param(CompatibleEmulator, lambda: Compatible(Server("compatible", "")), id="chat"),
]


@pytest.mark.parametrize(("service", "made"), SERVICES)
async def test_a_stream_leaves_nothing_to_close(
    service: Callable[[], Emulator], made: Callable[[], Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    hooks = sys.get_asyncgen_hooks()
    provider = made()
    async with service() as emulator:
        session = Session("a", Secret(emulator.key), base_url=emulator.base_url)
        request = GenerationRequest("gpt-6-luna", "text", "hi", {}, 1, session=session, timeout=20.0)
        try:
            for _ in range(2):  # the first loads the SDK
                left.clear()
                sys.set_asyncgen_hooks(finalizer=lambda generator: left.append(repr(generator)))
                try:
                    steps = [step async for step in provider.generate(request, FakeBench())]
                finally:
                    sys.set_asyncgen_hooks(*hooks)
                assert isinstance(steps[-1], Finish)
                assert any(isinstance(step, TextDelta) for step in steps)
        finally:
            await provider.close()
    assert left == []


@pytest.mark.parametrize(("service", "made"), SERVICES)
async def test_nothing_is_told_about_this_machine(
    service: Callable[[], Emulator], made: Callable[[], Provider]
) -> None:
    provider = made()
    async with service() as emulator:
        session = Session("a", Secret(emulator.key), base_url=emulator.base_url)
        request = GenerationRequest("gpt-6-luna", "text", "hi", {}, 1, session=session, timeout=20.0)
        try:
            assert [step async for step in provider.generate(request, FakeBench())]
            await provider.discover(session)
        finally:
            await provider.close()
        assert {call.method for call in emulator.journal} == {"POST", "GET"}
        for call in emulator.journal:
            sent = {name.lower(): value for name, value in call.headers.items()}
            assert sent["authorization"] == f"Bearer {emulator.key}"
            assert "python" in sent["user-agent"].lower()  # that it is the SDK, and its version, is no secret
            assert [name for name in sent if name.startswith("x-stainless")] == []


class Talkative(OpenAIEmulator):
    """Wraps its answer in events that nobody can read."""

    names: tuple[str, ...] = (
        "response.created",
        "response.in_progress",
        "response.output_text.done",
        "response.output_item.done",
    )

    async def responses(self, request: web.Request) -> Any:
        said = list(events(self.events(call_of(request)), named=True))
        noise = [f"event: {name}\ndata: {{broken\n\n".encode() for name in self.names]
        return self.stream(request, iter([*noise[:2], *said[:-1], *noise[2:], said[-1]]))


@pytest.mark.parametrize("name", ["", "response.output_text.delta", "response.news", "response.completed"])
async def test_events_of_no_use_are_not_decoded_and_all_others_are(name: str) -> None:
    async with Talkative() as emulator:
        emulator.names = (*Talkative.names, name) if name else Talkative.names
        provider = OpenAI()
        session = Session("a", Secret(emulator.key), base_url=emulator.base_url)
        request = GenerationRequest("gpt-6-luna", "text", "hi", {}, 1, session=session, timeout=20.0)
        steps: list[Step] = []
        try:
            if not name:
                steps = [step async for step in provider.generate(request, FakeBench())]
            else:
                with pytest.raises(ProviderError) as raised:
                    await drained(provider.generate(request, FakeBench()))
                assert raised.value.kind == "malformed"
        finally:
            await provider.close()
    if not name:
        assert "".join(step.text for step in steps if isinstance(step, TextDelta)) == TEXT
        assert [step.input_tokens for step in steps if isinstance(step, Usage)] == [USAGE["input_tokens"]]
        assert isinstance(steps[-1], Finish)
