"""Ollama's own API: chat as lines of JSON, embeddings, tags and what they can do; as documented and as SDK 0.6 reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of

MODELS = {
    "llama3.2:latest": ("llama", 131_072, 3072, ["completion", "tools"]),
    "gemma3:4b": ("gemma3", 131_072, 2560, ["completion", "vision"]),
    "qwen3:8b": ("qwen3", 40_960, 4096, ["completion", "tools", "thinking"]),
    "nomic-embed-text:latest": ("nomic-bert", 2048, 768, ["embedding"]),
}
"""Architecture, context length, embedding length and capabilities of each model that is there."""


class Ollama(Emulator):
    """What it answers: *pieces* after *thoughts*; *counted* is whether it tells the tokens of the prompt."""

    service = "ollama"
    offers = frozenset(
        ("401", "403", "404", "429", "500", "503", "overloaded", "context", "invalid", "error-mid", "502")
    )
    needs_key = False
    garbage = b'{"model": "llama3.2", "mess\n'

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = ["The sea ", "is ", "wide."]
        self.thoughts: list[str] = []
        self.done_reason = "stop"
        self.counted = True
        self.cloud: dict[str, tuple[str, str]] = {}
        """Names that stand for a model elsewhere: what it is called there, and where that is."""
        self.counts = {"prompt_eval_count": 26, "eval_count": 298}

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the service offers."""
        return [
            web.post("/api/chat", self.chat),
            web.post("/api/embed", self.embed),
            web.get("/api/tags", self.tags),
            web.post("/api/show", self.show),
            web.get("/api/version", self.version),
        ]

    def authorized(self, call: Call) -> bool:
        """Take everybody in, or only who has the key, as ollama.com does."""
        return not self.needs_key or super().authorized(call)

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer a fault in the words of the service."""
        plain = {
            "401": (401, f"unauthorized: {self.key}"),
            "403": (403, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade"),
            "404": (404, "model 'missing' not found"),
            "429": (429, "you have reached your hourly usage limit"),
            "500": (500, "llama runner process has terminated: exit status 2"),
            "502": (502, "upstream unavailable"),
            "503": (503, "server busy, please try again.  maximum pending requests exceeded"),
            "overloaded": (503, "server busy, please try again.  maximum pending requests exceeded"),
            "context": (400, "the input length exceeds the context length"),
            "invalid": (400, '"llama3.2" does not support thinking'),
        }
        if fault not in plain:
            return None
        status, message = plain[fault]
        told = {"retry-after": f"{self.retry_after:g}"} if status == 429 and self.retry_after >= 0 else {}
        return self.failure(status, {"error": message}, told)

    def _missing(self, asked: Any) -> web.Response | None:
        name = asked["model"] if ":" in asked["model"] else asked["model"] + ":latest"
        return None if name in MODELS else self.failure(404, {"error": f"model '{asked['model']}' not found"})

    async def chat(self, request: web.Request) -> Any:
        """Answer as lines of JSON, which is no event stream."""
        call = call_of(request)
        asked = call.json
        if wrong := self._missing(asked):
            return wrong
        assert asked["stream"] is True
        lines = (json.dumps(line).encode() + b"\n" for line in self._lines(asked, call.fault))
        endless = json.dumps(_said(asked, "x" * 65536)).encode() + b"\n"
        return self.stream(request, lines, media_type="application/x-ndjson", endless=endless)

    def _lines(self, asked: Any, fault: str) -> Iterator[dict[str, Any]]:
        for thought in self.thoughts:
            yield _said(asked, "", thinking=thought)
        for number, piece in enumerate(self.pieces):
            yield _said(asked, piece)
            if fault == "error-mid" and number == 0:
                yield {"error": "an error was encountered while running the model: CUDA error"}
                return
        counts = dict(self.counts) if self.counted else {"eval_count": self.counts["eval_count"]}
        durations = {"total_duration": 4883583458, "load_duration": 1334875, "eval_duration": 4535599000}
        yield {**_said(asked, ""), "done": True, "done_reason": self.done_reason, **durations, **counts}

    async def embed(self, request: web.Request) -> Any:
        """Return one vector a text, which differs with the text."""
        asked = call_of(request).json
        if wrong := self._missing(asked):
            return wrong
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        size = asked.get("dimensions") or 4
        vectors = [[len(text) / 100 + index / 10 for index in range(size)] for text in texts]
        told = {"total_duration": 14143917, "load_duration": 1019500, "prompt_eval_count": 8 * len(texts)}
        return self.answer(request, {"model": asked["model"], "embeddings": vectors, **told})

    async def tags(self, request: web.Request) -> Any:
        """List what is there."""
        models = [
            {
                "name": name, "model": name, "modified_at": "2026-11-01T10:00:00Z", "size": 2_019_393_189,
                "digest": "a80c4f17acd5", "details": {"format": "gguf", "family": kind, "parameter_size": "3.2B"},
            }
            for name, (kind, *_) in MODELS.items()
        ]  # fmt: skip
        models += [
            {"name": name, "model": name, "remote_model": there, "remote_host": host, "size": 384, "details": {}}
            for name, (there, host) in self.cloud.items()
        ]
        return self.answer(request, {"models": models})

    async def show(self, request: web.Request) -> Any:
        """Tell what one can do."""
        asked = call_of(request).json
        if asked["model"] in self.cloud:
            there, host = self.cloud[asked["model"]]
            told = {"remote_model": there, "remote_host": host, "capabilities": ["completion", "thinking"]}
            return self.answer(request, {"details": {}, "model_info": {}, **told})
        if wrong := self._missing(asked):
            return wrong
        kind, context, size, capabilities = MODELS[asked["model"]]
        info = {"general.architecture": kind, f"{kind}.context_length": context, f"{kind}.embedding_length": size}
        return self.answer(request, {"details": {"family": kind}, "model_info": info, "capabilities": capabilities})

    async def version(self, request: web.Request) -> Any:
        """Tell the version."""
        return self.answer(request, {"version": "0.13.1"})


def _said(asked: Any, text: str, **more: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more}
    return {"model": asked["model"], "created_at": "2026-11-20T13:00:00.1Z", "message": message, "done": False}
