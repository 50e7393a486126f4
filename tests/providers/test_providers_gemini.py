"""Gemini's provider keeps the contract, against the emulator of its service."""

from __future__ import annotations

import struct

import pytest
from tests.emulators.gemini import PCM, PNG
from tests.emulators.gemini import Gemini as Emulator
from tests.providers.contract import Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import EmbeddingRequest, GenerationRequest, Usage
from lightfast_providers.gemini import Gemini

PLUGIN = Plugin("lightfast_providers.gemini", "gemini", sdk=("google.genai",), install="lightfast[gemini]")
WAV = (
    b"RIFF" + struct.pack("<I", 36 + len(PCM)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24000, 48000, 2, 16)
    + b"data" + struct.pack("<I", len(PCM)) + PCM
)  # fmt: skip
REQUEST = GenerationRequest("gemini-3.8-flash", "text", "What is the sea?", {}, 1)
CASES = (
    Case(
        "text",
        Emulator,
        Gemini,
        request=REQUEST,
        answer="The sea is wide.",
        usage=Usage(input_tokens=1021, output_tokens=12 + 45, cached_tokens=900, reasoning_tokens=45, requests=1),
        path="/models/",
        tokens=14,
    ),
    Case(
        "image",
        Emulator,
        Gemini,
        request=GenerationRequest("gemini-nano-banana-2.1", "image", "a banana", {}, 1),
        answer=PNG,
        media_type="image/png",
        usage=Usage(
            input_tokens=270,
            output_tokens=1120 + 80,
            reasoning_tokens=80,
            image_input_tokens=258,
            image_output_tokens=1120,
            images=1,
            requests=1,
        ),
        path="/models/",
    ),
    Case(
        "speech",
        Emulator,
        Gemini,
        request=GenerationRequest("gemini-3.8-flash-tts", "audio", "Hello.", {}, 1),
        answer=WAV,
        media_type="audio/wav",
        usage=Usage(input_tokens=8, output_tokens=5, audio_output_tokens=5, seconds=0.1, requests=1),
        path="/models/",
    ),
    Case(
        "vectors",
        Emulator,
        Gemini,
        embedding=EmbeddingRequest("gemini-embedding-2", ("sea", "shore"), dimensions=3),
        vectors=((0.03, 0.13, 0.23), (0.05, 0.15, 0.25)),
        usage=Usage(input_tokens=6, requests=1),
        path="/models/",
    ),
    Case(
        "batch",
        Emulator,
        lambda: Gemini(polls=(0.005, 0.005)),
        batch=(REQUEST, GenerationRequest("gemini-3.8-flash", "text", "And the shore?", {}, 2)),
        batch_answers=(("The sea is wide.", ""), ("The sea is wide.", "")),
        path=":batchGenerateContent",
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)
