"""Ollama's provider keeps the contract, against the emulator of its service."""

from __future__ import annotations

import pytest
from tests.emulators.ollama import Ollama as Emulator
from tests.providers.contract import Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import EmbeddingRequest, GenerationRequest, Usage
from lightfast_providers.ollama import Ollama

PLUGIN = Plugin("lightfast_providers.ollama", "ollama", sdk=("ollama",), install="lightfast[ollama]")


class Cloud(Emulator):
    """As at ollama.com, which wants a key."""

    needs_key = True


TERMINAL = {"status_429_terminal": "it documents no limit that lasts"}
CASES = (
    Case(
        "text",
        Cloud,
        Ollama,
        request=GenerationRequest("llama3.2", "text", "What is the sea?", {}, 1),
        answer="The sea is wide.",
        usage=Usage(input_tokens=26, output_tokens=298, requests=1),
        path="/api/chat",
        without={**TERMINAL, "filtered": "it has no policy"},
    ),
    Case(
        "vectors",
        Cloud,
        Ollama,
        embedding=EmbeddingRequest("nomic-embed-text", ("sea", "shore"), dimensions=3),
        vectors=((0.03, 0.13, 0.23), (0.05, 0.15, 0.25)),
        usage=Usage(input_tokens=16, requests=1),
        path="/api/embed",
        without=TERMINAL,
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)
