"""The Gemini API (v1 and v1beta) as google-genai 3 speaks it: text, images, speech, embeddings, counting, batches.

Shapes follow the SDK's types; errors are those of google.rpc as the service sends them (no headers tell of limits).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import DIALECT, Call, Emulator, call_of, events

DATE = "Fri, 20 Nov 2026 13:00:00 GMT"
"""05:00 of the same day in California."""
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PCM = b"\x00\x00\x10\x27\xf0\xd8\xff\x7f" * 600
"""4800 samples of 16 bits: 0.2 s at 24 kHz."""
RPC = "type.googleapis.com/google.rpc."
METRIC = "generativelanguage.googleapis.com/generate_content_"
TEXT_MODELS = ("gemini-3.8-flash", "gemini-4-argon", "gemini-3.5-flash-lite", "gemini-2.5-flash-lite")
IMAGE_MODELS = ("gemini-nano-banana-2.1", "gemini-3-pro-image")
SPEECH_MODELS = ("gemini-3.8-flash-tts", "gemini-3.8-flash-lite-tts")
EMBEDDING_MODELS = ("gemini-embedding-001", "gemini-embedding-2")
MODELS = (*TEXT_MODELS, *IMAGE_MODELS, *SPEECH_MODELS, *EMBEDDING_MODELS)


class Gemini(Emulator):
    """What it answers: *pieces* after *thoughts*; *image*, *sound* and *sound_type* from the models for them."""

    service = "gemini"
    offers = frozenset(
        (
            *(*DIALECT, "429-day", "429-never", "429-plain", "key", "region", "timeout"),
            *("blocked", "safety-begun", "error-mid", "no-image"),
        )
    )
    garbage = b'data: {"candidates": [{"content"\n\n'

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = ["The sea ", "is ", "wide."]
        self.thoughts = "Let me think."
        self.finish = "STOP"
        self.usage: dict[str, Any] = {
            "promptTokenCount": 1021,
            "cachedContentTokenCount": 900,
            "candidatesTokenCount": 12,
            "thoughtsTokenCount": 45,
            "totalTokenCount": 1078,
        }
        self.image = PNG
        self.sound = PCM
        self.sound_type = "audio/L16;codec=pcm;rate=24000"
        self.failing: dict[int, dict[str, Any]] = {}
        """Errors of the requests of a batch, by index."""
        self.rounds = 1
        """So many times a batch is told to be running."""
        self.batches: dict[str, dict[str, Any]] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the service offers."""
        return [
            web.post("/{version}/models/{call}", self.model_call),
            web.get("/{version}/models", self.list_models),
            web.get("/{version}/batches/{id}", self.get_batch),
            web.post("/{version}/batches/{call}", self.cancel_batch),
        ]

    def authorized(self, call: Call) -> bool:
        """Look at the key in its header."""
        return call.headers.get("x-goog-api-key") == self.key

    def cancelled(self, job: str) -> bool:
        """Say whether a batch was cancelled."""
        return bool(self.batches.get(job, {}).get("cancelled"))

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer a fault in the words of the service."""
        plain = {
            "403": (403, "PERMISSION_DENIED", "The caller does not have permission"),
            "404": (404, "NOT_FOUND", "models/gemini-unknown is not found for API version v1"),
            "500": (500, "INTERNAL", "An internal error has occurred."),
            "503": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            "timeout": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
            "invalid": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
            "region": (400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
            "429-plain": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
            "context": (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
        }
        if fault in plain:
            return self.error(*plain[fault])
        if fault == "401":
            return self.error(401, "UNAUTHENTICATED", f"Request had invalid authentication credentials: {self.key}")
        if fault == "key":
            info = {"@type": RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            return self.error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [info])
        if fault == "429":
            return self.quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "free_tier_requests", "10")
        if fault in {"429-day", "429-terminal"}:
            return self.quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "free_tier_requests", "250")
        if fault == "429-never":
            return self.quota(
                "GenerateContentInputTokensPerModelPerMinute-FreeTier", "free_tier_input_token_count", "0"
            )
        return None

    def error(self, status: int, code: str, message: str, details: Sequence[Any] = ()) -> web.Response:
        """Return an error of google.rpc."""
        told = {"code": status, "message": message, "status": code, **({"details": list(details)} if details else {})}
        return self.failure(status, {"error": told}, {"Date": DATE})

    def quota(self, quota: str, metric: str, value: str) -> web.Response:
        """Return a 429 with what it is about; it tells no headers."""
        message = (
            f"Quota exceeded.\n* Quota exceeded for metric: {METRIC}{metric}, limit: {value}, model: gemini-3.8-flash"
        )
        violation = {
            "quotaMetric": METRIC + metric, "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": "gemini-3.8-flash"},
        }  # fmt: skip
        if value != "0":
            violation["quotaValue"] = value
        details: list[dict[str, Any]] = [
            {"@type": RPC + "Help", "links": [{"description": "Learn more", "url": "https://ai.google.dev"}]},
            {"@type": RPC + "QuotaFailure", "violations": [violation]},
        ]
        if self.retry_after >= 0:
            message += f"\nPlease retry in {self.retry_after}s."
            details.append({"@type": RPC + "RetryInfo", "retryDelay": f"{self.retry_after:g}s"})
        return self.error(429, "RESOURCE_EXHAUSTED", message, details)

    # --- models ---

    async def model_call(self, request: web.Request) -> Any:
        """Do one of the methods of a model."""
        name, _, method = request.match_info["call"].partition(":")
        if name not in MODELS:
            return self.error(404, "NOT_FOUND", f"models/{name} is not found for API version v1")
        asked = call_of(request).json
        if method == "countTokens":
            return self.answer(request, {"totalTokens": len(json.dumps(asked["contents"])) // 4})
        if method == "batchEmbedContents":
            return self._embed(request, asked)
        if method == "batchGenerateContent":
            return self._create_batch(request, name, asked)
        assert asked["contents"], "no contents"
        assert all(each["role"] in {"user", "model"} for each in asked["contents"])
        fault = call_of(request).fault
        if method == "generateContent":
            if fault in {"blocked", "filtered", "no-image"}:
                return self.answer(request, self._stopped(fault, name))
            return self.answer(request, self.whole(name), headers={"Date": DATE})
        if request.query.get("alt") != "sse":
            return self.error(400, "INVALID_ARGUMENT", "alt")
        endless = next(events([_chunk(name, [{"text": "x" * 65536}])]))
        return self.stream(request, events(self._chunks(name, fault)), headers={"Date": DATE}, endless=endless)

    def _stopped(self, fault: str, name: str) -> dict[str, Any]:
        told = {"usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}, "modelVersion": name}
        if fault == "blocked":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **told}
        reason = "NO_IMAGE" if fault == "no-image" else "IMAGE_SAFETY" if name in IMAGE_MODELS else "SAFETY"
        return {"candidates": [{"index": 0, "finishReason": reason}], **told}

    def whole(self, name: str) -> dict[str, Any]:
        """Return a whole answer."""
        if name in IMAGE_MODELS:
            parts: list[dict[str, Any]] = [
                {"thought": True, "inlineData": {"mimeType": "image/png", "data": _encoded(self.image)}},
                {"inlineData": {"mimeType": "image/png", "data": _encoded(self.image)}},
            ]
            usage = {
                "promptTokenCount": 270, "candidatesTokenCount": 1120, "thoughtsTokenCount": 80,
                "totalTokenCount": 1470,
                "promptTokensDetails": [_counted("TEXT", 12), _counted("IMAGE", 258)],
                "candidatesTokensDetails": [_counted("IMAGE", 1120)],
            }  # fmt: skip
        elif name in SPEECH_MODELS:
            parts = [{"inlineData": {"mimeType": self.sound_type, "data": _encoded(self.sound)}}]
            usage = {
                "promptTokenCount": 8, "candidatesTokenCount": 5, "totalTokenCount": 13,
                "promptTokensDetails": [_counted("TEXT", 8)], "candidatesTokensDetails": [_counted("AUDIO", 5)],
            }  # fmt: skip
        else:
            parts = [{"text": "".join(self.pieces)}]
            usage = self.usage
        return {**_chunk(name, parts, self.finish), "usageMetadata": usage}

    def _chunks(self, name: str, fault: str) -> Iterator[dict[str, Any]]:
        if fault in {"blocked", "filtered"}:
            yield self._stopped("blocked", name)
            return
        so_far = {"promptTokenCount": self.usage["promptTokenCount"], "totalTokenCount": 1025}
        if self.thoughts:
            yield {**_chunk(name, [{"text": self.thoughts, "thought": True}]), "usageMetadata": so_far}
        for number, piece in enumerate(self.pieces):
            yield {**_chunk(name, [{"text": piece}]), "usageMetadata": {**so_far, "candidatesTokenCount": number + 1}}
            if fault == "error-mid" and number == 0:
                yield {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
                return
        reason = "RECITATION" if fault == "safety-begun" else self.finish
        yield {**_chunk(name, [{"text": ""}], reason), "usageMetadata": self.usage}

    def _embed(self, request: web.Request, asked: Mapping[str, Any]) -> Any:
        vectors = []
        for each in asked["requests"]:
            assert each["model"].startswith("models/")
            text = "".join(part["text"] for part in each["content"]["parts"])
            size = each.get("outputDimensionality", 4)
            vectors.append({"values": [len(text) / 100 + index / 10 for index in range(size)]})
        usage = {"promptTokenCount": 3 * len(vectors), "totalTokenCount": 3 * len(vectors)}
        return self.answer(request, {"embeddings": vectors, "usageMetadata": usage})

    async def list_models(self, request: web.Request) -> Any:
        """List models, among them one that is new and one that this gateway has no use for."""
        models = [
            _model("gemini-3.8-flash", "Gemini 3.8 Flash", 1_048_576, 65_536, "generateContent", "countTokens"),
            _model("gemini-5-neon", "Gemini 5 Neon", 2_097_152, 131_072, "generateContent", "batchGenerateContent"),
            _model("gemini-embedding-3", "Gemini Embedding 3", 16_384, 1, "embedContent"),
            _model("gemini-3.8-live", "Gemini 3.8 Live", 131_072, 8192, "bidiGenerateContent"),
        ]
        return self.answer(request, {"models": models})

    # --- batches ---

    def _create_batch(self, request: web.Request, model: str, asked: Mapping[str, Any]) -> Any:
        requests = asked["batch"]["inputConfig"]["requests"]["requests"]
        assert all(each["request"]["contents"] for each in requests)
        name = f"batches/{len(self.batches) + 1:032x}"
        self.batches[name] = {"requests": requests, "model": model, "asked": 0, "cancelled": False}
        return self._told(request, name)

    def _told(self, request: web.Request, name: str) -> Any:
        return self.stream(request, [json.dumps(self._batch(name)).encode()], media_type="application/json")

    def _batch(self, name: str) -> dict[str, Any]:
        """Tell the state; while the emulator is held, batches go on, but do not end."""
        batch = self.batches[name]
        done = batch["asked"] > self.rounds and not self.held
        state = (
            "BATCH_STATE_CANCELLED"
            if batch["cancelled"]
            else "BATCH_STATE_SUCCEEDED"
            if done
            else "BATCH_STATE_RUNNING"
        )
        metadata: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": f"models/{batch['model']}", "displayName": "lightfast", "name": name, "state": state,
            "createTime": "2026-11-20T13:00:00Z", "updateTime": "2026-11-20T13:01:00Z",
            "batchStats": {"requestCount": str(len(batch["requests"]))},
        }  # fmt: skip
        if done and not batch["cancelled"]:
            answers = []
            for index, each in enumerate(batch["requests"]):
                kept = {"metadata": each["metadata"]} if "metadata" in each else {}
                if index in self.failing:
                    answers.append({"error": self.failing[index], **kept})
                else:
                    answers.append({"response": self.whole(batch["model"]), **kept})
            metadata["output"] = {"inlinedResponses": {"inlinedResponses": answers}}
        return {"name": name, "metadata": metadata, "done": done}

    async def get_batch(self, request: web.Request) -> Any:
        """Tell the state of a batch."""
        name = "batches/" + request.match_info["id"]
        if name not in self.batches:
            return self.error(404, "NOT_FOUND", f"{name} is not found")
        self.batches[name]["asked"] += 1
        return self._told(request, name)

    async def cancel_batch(self, request: web.Request) -> Any:
        """Cancel a batch."""
        name, _, method = request.match_info["call"].partition(":")
        assert method == "cancel"
        self.batches["batches/" + name]["cancelled"] = True
        return self.stream(request, [b"{}"], media_type="application/json")


def camel(found: Any) -> Any:
    """Return a request with all names as the service documents them; it takes those with underscores, too, which the
    SDK sends in some places."""
    if isinstance(found, list):
        return [camel(each) for each in found]
    if not isinstance(found, dict):
        return found
    words = {name: name.split("_") for name in found}
    return {first + "".join(map(str.capitalize, more)): camel(found[name]) for name, (first, *more) in words.items()}


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _counted(modality: str, count: int) -> dict[str, Any]:
    return {"modality": modality, "tokenCount": count}


def _chunk(name: str, parts: Sequence[Any], finish: str = "") -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": name, "responseId": "8hnqaI7_EsqvkdUP"}


def _model(name: str, title: str, context: int, most: int, *methods: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}", "version": "001", "displayName": title, "description": f"{title}.",
        "inputTokenLimit": context, "outputTokenLimit": most, "supportedGenerationMethods": list(methods),
    }  # fmt: skip
