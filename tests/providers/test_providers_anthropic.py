"""Claude's provider keeps the contract, against the emulator of its service."""

from __future__ import annotations

import pytest
from tests.emulators.anthropic import Anthropic as Emulator
from tests.providers.contract import Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import GenerationRequest, Usage
from lightfast_providers.anthropic import Anthropic

LIMITS = frozenset(("requests", "tokens", "input_tokens", "output_tokens"))
USAGE = Usage(
    input_tokens=21 + 300 + 4000,
    output_tokens=57,
    cached_tokens=4000,
    cache_write_tokens=300,
    reasoning_tokens=44,
    requests=1,
)
REQUEST = GenerationRequest("claude-opus-5-5", "text", "What is the sea?", {}, 1)
PLUGIN = Plugin("lightfast_providers.anthropic", "anthropic", sdk=("anthropic",), install="lightfast[anthropic]")
CASES = (
    Case(
        "text",
        Emulator,
        Anthropic,
        request=REQUEST,
        answer="The sea is wide.",
        usage=USAGE,
        limits=LIMITS,
        path="/v1/messages",
        tokens=13,
    ),
    Case(
        "batch",
        Emulator,
        lambda: Anthropic(polls=(0.005, 0.005)),
        batch=(REQUEST, GenerationRequest("claude-haiku-4-5", "text", "And the shore?", {}, 2)),
        batch_answers=(("The sea is wide.", ""), ("The sea is wide.", "")),
        path="/v1/messages/batches",
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)
