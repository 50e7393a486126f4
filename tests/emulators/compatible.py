"""Servers that speak OpenAI's protocol as llama.cpp, vLLM and OpenRouter do: their lists of models and their errors."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from tests.emulators.base import Call, call_of
from tests.emulators.openai import CHAT_USAGE, LIMITS, OpenAIEmulator

LLAMA = {
    "id": "/srv/models/tiny random.gguf",
    "object": "model",
    "created": 1,
    "owned_by": "llamacpp",
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    "meta": {"n_ctx": 8192, "n_ctx_train": 131072, "n_embd": 64},
}
VLLM = {"id": "org/model-8b", "object": "model", "created": 1, "owned_by": "vllm", "max_model_len": 32768}
OPENROUTER = {
    "id": "maker/model-1",
    "name": "Maker: Model 1",
    "created": 1,
    "context_length": 200_000,
    "architecture": {"input_modalities": ["text", "image", "file"], "output_modalities": ["text"]},
    "pricing": {"prompt": "0.000003", "completion": "0.000015", "input_cache_read": "0.0000003", "request": "0"},
    "top_provider": {"context_length": 200_000, "max_completion_tokens": 64_000},
}
FREE = {
    **OPENROUTER,
    "id": "maker/free:free",
    "name": "Free",
    "pricing": {"prompt": "0", "completion": "0"},
}
VARIES = {**OPENROUTER, "id": "maker/auto", "name": "Auto", "pricing": {"prompt": "-1", "completion": "-1"}}
EMBEDS = {**OPENROUTER, "id": "maker/vectors", "architecture": {"output_modalities": ["embeddings"]}}
COST = 0.00042


class CompatibleEmulator(OpenAIEmulator):
    """*items* is its list of models; *echoes* makes it repeat a given beginning, as llama.cpp does."""

    service = "compatible"

    def __init__(self, *items: dict[str, Any], echoes: bool = False) -> None:
        super().__init__()
        self.items = items or (LLAMA,)
        self.echoes = echoes

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/apply-template", self.template), web.post("/tokenize", self.tokens), *super().routes()]

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        if fault == "context":
            error = {
                "code": 400,
                "message": "request (6018 tokens) exceeds the available context size (512 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 6018,
                "n_ctx": 512,
            }
            return self.failure(400, {"error": error})
        return super().refusal(fault, call)

    def authorized(self, call: Call) -> bool:
        return call.headers.get("Authorization") in {None, f"Bearer {self.key}"}

    async def models(self, request: web.Request) -> Any:
        return self.answer(request, {"object": "list", "data": list(self.items)}, headers=LIMITS)

    async def chat(self, request: web.Request) -> Any:
        last = call_of(request).json["messages"][-1]
        if self.echoes and last["role"] == "assistant":
            whole = last["content"] + "turns, and the bay answers."
            self.chunks = [whole[:3], whole[3:9], whole[9:]]
        return await super().chat(request)

    async def template(self, request: web.Request) -> Any:
        said = [f"{each['role']}: {each['content']}" for each in call_of(request).json["messages"]]
        return self.answer(request, {"prompt": "\n".join(said)})

    async def tokens(self, request: web.Request) -> Any:
        return self.answer(request, {"tokens": list(call_of(request).json["content"].encode())})


class PaidEmulator(CompatibleEmulator):
    """As OpenRouter: it tells what an answer has cost."""

    def usage(self) -> dict[str, Any]:
        return {**CHAT_USAGE, "cost": COST}
