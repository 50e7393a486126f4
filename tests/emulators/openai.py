"""OpenAI's API, as far as the provider uses it: Responses, images, audio, embeddings, files, batches, models, chat.

Shapes and event names are those of the SDK's types (3.52), which the tests let the SDK parse. Every count in a usage
is another number, so that no two can be mistaken for each other.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of, events

TEXT = "The lighthouse turns, and the bay answers."
USAGE = {
    "input_tokens": 131,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 17},
    "output_tokens": 53,
    "output_tokens_details": {"reasoning_tokens": 29},
    "total_tokens": 184,
}
CHAT_USAGE = {
    "prompt_tokens": 131,
    "completion_tokens": 53,
    "total_tokens": 184,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 29},
}
IMAGE_USAGE = {
    "input_tokens": 211,
    "input_tokens_details": {"text_tokens": 17, "image_tokens": 194},
    "output_tokens": 1056,
    "total_tokens": 1267,
}
SPEECH_USAGE = {"input_tokens": 19, "output_tokens": 307, "total_tokens": 326}
HEARD = "one two three"
HEARD_USAGE = {
    "type": "tokens",
    "input_tokens": 83,
    "input_token_details": {"text_tokens": 11, "audio_tokens": 72},
    "output_tokens": 13,
    "total_tokens": 96,
}
COUNTED = 77
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SOUND = b"ID3\x04" + bytes(range(256)) * 8
LIMITS = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-tokens": "29800",
    "x-ratelimit-reset-tokens": "6m0s",
    "x-request-id": "req_0123456789",
}
_SAYS: Mapping[str, tuple[int, str, str, str]] = {
    # status, type, code, message
    "401": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: {key}. Find yours online."),
    "403": (403, "invalid_request_error", "unsupported_country_region_territory", "Country not supported"),
    "404": (404, "invalid_request_error", "model_not_found", "The model `nothing` does not exist"),
    "429": (429, "requests", "rate_limit_exceeded", "Rate limit reached on requests per min (RPM): Limit 500"),
    "429-terminal": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
    "500": (500, "server_error", "server_error", "The server had an error"),
    "503": (503, "service_unavailable", "slow_down", "The engine is currently overloaded"),
    "context": (400, "invalid_request_error", "context_length_exceeded", "Your input exceeds the context window"),
    "invalid": (400, "invalid_request_error", "invalid_value", "Invalid value for 'size'"),
    "moderated": (400, "image_generation_user_error", "moderation_blocked", "Your request was rejected by safety"),
}


class OpenAIEmulator(Emulator):
    """See the module. *polls* is how many looks a batch takes until it is done; *shutdown* the date of a model."""

    service = "openai"
    prefix = "/v1"
    offers = frozenset((*_SAYS, "filtered", "incomplete", "failed", "error-event"))
    garbage = b"data: {broken\n\n"

    def __init__(self) -> None:
        super().__init__()
        self.polls = 2
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.chunks: Sequence[str] = [word + " " for word in TEXT.split(" ")[:-1]] + [TEXT.rsplit(" ", maxsplit=1)[-1]]

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/v1/models", self.models),
            web.post("/v1/responses", self.responses),
            web.post("/v1/responses/input_tokens", self.counted),
            web.post("/v1/chat/completions", self.chat),
            web.post("/v1/images/generations", self.image),
            web.post("/v1/images/edits", self.image),
            web.post("/v1/audio/speech", self.speech),
            web.post("/v1/audio/transcriptions", self.transcription),
            web.post("/v1/embeddings", self.embeddings),
            web.post("/v1/files", self.upload),
            web.get("/v1/files/{id}/content", self.download),
            web.post("/v1/batches", self.batch),
            web.get("/v1/batches/{id}", self.look),
            web.post("/v1/batches/{id}/cancel", self.end),
        ]

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        if fault == "filtered" and "/images/" in call.path:
            fault = "moderated"
        if fault not in _SAYS:
            return None
        status, kind, code, message = _SAYS[fault]
        headers = dict(LIMITS)
        if fault == "429":
            headers |= {"retry-after-ms": str(int(self.retry_after * 1000)), "retry-after": str(int(self.retry_after))}
            headers["x-ratelimit-remaining-requests"] = "0"
        error = {"message": message.format(key=self.key), "type": kind, "param": None, "code": code}
        return self.failure(status, {"error": error}, headers)

    def holds(self, call: Call) -> bool:
        return "/files" not in call.path and "/batches" not in call.path

    def cancelled(self, job: str) -> bool:
        return self.batches[job]["status"] in {"cancelling", "cancelled"}

    # --- models ---

    async def models(self, request: web.Request) -> Any:
        data = [
            {"id": name, "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": date}
            for name, date in (("gpt-6-luna", None), ("gpt-5", "2026-12-12"), ("gpt-9-nova", None), ("sora-2", None))
        ]
        return self.answer(request, {"object": "list", "data": data}, headers=LIMITS)

    # --- text ---

    def response(self, call: Call, status: str, text: str, **more: Any) -> dict[str, Any]:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        if call.fault == "filtered":
            content = [{"type": "refusal", "refusal": "I cannot help with that."}]
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": status,
            "model": call.json.get("model", ""),
            "output": [message],
            "error": None,
            "incomplete_details": None,
            "instructions": call.json.get("instructions"),
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": USAGE,
            **more,
        }

    def said(self, call: Call) -> list[str]:
        form = (call.json.get("text") or {}).get("format") or {}
        return ['{"title": ', '"Bay"}'] if form.get("type") == "json_schema" else list(self.chunks)

    async def responses(self, request: web.Request) -> Any:
        call = call_of(request)
        if not call.json.get("stream"):
            return self.answer(request, self.response(call, "completed", "".join(self.said(call))), headers=LIMITS)
        pieces = events(self.numbered(self.events(call)), named=True)
        endless = next(events([self.delta("x" * 65536)], named=True))
        return self.stream(request, pieces, headers=LIMITS, endless=endless)

    @staticmethod
    def numbered(payloads: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for number, payload in enumerate(payloads):
            yield {**payload, "sequence_number": number}

    @staticmethod
    def delta(text: str) -> dict[str, Any]:
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []}

    def events(self, call: Call) -> Iterator[dict[str, Any]]:
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        begun = self.response(call, "in_progress", "", usage=None, output=[])
        if call.fault == "filtered":
            yield {"type": "response.created", "response": begun}
            yield {"type": "response.refusal.delta", **place, "delta": "I cannot help with that."}
            yield {"type": "response.refusal.done", **place, "refusal": "I cannot help with that."}
            yield {"type": "response.completed", "response": self.response(call, "completed", "")}
            return
        said = self.said(call)
        yield {"type": "response.created", "response": begun}
        if said:
            yield self.delta(said[0])
        yield {"type": "response.in_progress", "response": begun}
        yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        for text in said[1:]:
            yield self.delta(text)
        whole = "".join(said)
        yield {"type": "response.output_text.done", **place, "text": whole, "logprobs": []}
        if call.fault == "incomplete":
            why = {"reason": "max_output_tokens"}
            yield {
                "type": "response.incomplete",
                "response": self.response(call, "incomplete", whole, incomplete_details=why),
            }
        elif call.fault == "failed":
            error = {"code": "server_error", "message": "The model failed"}
            yield {"type": "response.failed", "response": self.response(call, "failed", whole, error=error)}
        elif call.fault == "error-event":
            yield {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down", "param": None}
        else:
            yield {"type": "response.completed", "response": self.response(call, "completed", whole)}

    async def counted(self, request: web.Request) -> Any:
        return self.answer(request, {"object": "response.input_tokens", "input_tokens": COUNTED})

    def usage(self) -> dict[str, Any]:
        """Return the usage of a chat completion."""
        return CHAT_USAGE

    async def chat(self, request: web.Request) -> Any:
        call = call_of(request)
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": call.json["model"]}
        ended = "content_filter" if call.fault == "filtered" else "length" if call.fault == "incomplete" else "stop"
        if not call.json.get("stream"):
            message = {"role": "assistant", "content": TEXT, "refusal": None}
            choice = {"index": 0, "message": message, "finish_reason": ended, "logprobs": None}
            return self.answer(
                request,
                {**chunk, "object": "chat.completion", "choices": [choice], "usage": self.usage()},
                headers=LIMITS,
            )

        def payloads() -> Iterator[dict[str, Any]]:
            parts = ["", *self.chunks] if ended != "content_filter" else [""]
            for number, text in enumerate(parts):
                delta = {"role": "assistant", "content": ""} if not number else {"content": text}
                yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            yield {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": ended}]}
            if (call.json.get("stream_options") or {}).get("include_usage"):
                yield {**chunk, "choices": [], "usage": self.usage()}

        more = {**chunk, "choices": [{"index": 0, "delta": {"content": "x" * 65536}, "finish_reason": None}]}
        return self.stream(request, events(payloads(), done=True), headers=LIMITS, endless=next(events([more])))

    # --- pictures and sound ---

    async def image(self, request: web.Request) -> Any:
        call = call_of(request)
        asked = {name: values[0] for name, values in call.form.items()} if call.form else call.json
        kind = "image_edit" if call.path.endswith("edits") else "image_generation"
        form = asked.get("output_format", "png")
        told = {"background": "opaque", "created_at": 1, "output_format": form, "quality": "low", "size": "1024x1024"}
        picture = base64.b64encode(PNG).decode()
        if str(asked.get("stream")).lower() != "true":
            many = int(asked.get("n", 1))
            payload = {"created": 1, "data": [{"b64_json": picture}] * many, "usage": IMAGE_USAGE}
            return self.answer(request, {**payload, "output_format": form, "size": "1024x1024"}, headers=LIMITS)
        early = [
            {"type": f"{kind}.partial_image", "b64_json": picture, "partial_image_index": number, **told}
            for number in range(int(asked.get("partial_images", 0)))
        ]
        last = {"type": f"{kind}.completed", "b64_json": picture, "usage": IMAGE_USAGE, **told}
        endless = next(events([{**last, "type": "keepalive", "padding": "x" * 65536}], named=True))
        return self.stream(request, events([*early, last], named=True), headers=LIMITS, endless=endless)

    async def speech(self, request: web.Request) -> Any:
        call = call_of(request)
        if call.json.get("stream_format") != "sse":
            return self.content(request, SOUND, "audio/mpeg", headers=LIMITS)
        size = len(SOUND) // 4
        parts = [SOUND[start : start + size] for start in range(0, len(SOUND), size)]
        deltas = [{"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()} for part in parts]
        last = {"type": "speech.audio.done", "usage": SPEECH_USAGE}
        endless = next(events([{"type": "speech.audio.delta", "audio": "AAAA" * 16384}]))
        return self.stream(request, events([*deltas, last]), headers=LIMITS, endless=endless)

    async def transcription(self, request: web.Request) -> Any:
        return self.answer(request, {"text": HEARD, "usage": HEARD_USAGE}, headers=LIMITS)

    # --- vectors ---

    @staticmethod
    def vector(text: str, dimensions: int = 3) -> list[float]:
        return [float(len(text) % 7) / 8 + place for place in range(dimensions)]

    async def embeddings(self, request: web.Request) -> Any:
        asked = call_of(request).json
        data = []
        for place, text in enumerate(asked["input"]):
            vector: Any = self.vector(text, asked.get("dimensions", 3))
            if asked.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            data.append({"object": "embedding", "index": place, "embedding": vector})
        usage = {"prompt_tokens": 23, "total_tokens": 23}
        payload = {"object": "list", "data": data[::-1], "model": asked["model"], "usage": usage}
        return self.answer(request, payload, headers=LIMITS)

    # --- batches ---

    async def upload(self, request: web.Request) -> Any:
        (_, _, content), *_ = call_of(request).form["file"]
        name = f"file-{len(self.files) + 1}"
        self.files[name] = content
        told = {"object": "file", "bytes": len(content), "created_at": 1, "filename": "batch.jsonl"}
        return self.answer(request, {"id": name, **told, "purpose": "batch", "status": "processed"})

    async def download(self, request: web.Request) -> Any:
        return self.content(request, self.files[request.match_info["id"]], "application/jsonl")

    async def batch(self, request: web.Request) -> Any:
        asked = call_of(request).json
        name = f"batch_{len(self.batches) + 1}"
        total = len(self.files[asked["input_file_id"]].splitlines())
        counts = {"total": total, "completed": 0, "failed": 0}
        told = {"object": "batch", "created_at": 1, "status": "validating", "request_counts": counts}
        self.batches[name] = {"id": name, **asked, **told}
        return self.answer(request, self.batches[name], headers=LIMITS)

    async def look(self, request: web.Request) -> Any:
        batch = self.batches[request.match_info["id"]]
        looks = self.looks[batch["id"]] = self.looks.get(batch["id"], 0) + 1
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        if batch["status"] == "in_progress" and looks >= self.polls and not self.held:
            self.finish(batch)
        return web.json_response(batch)

    def finish(self, batch: dict[str, Any]) -> None:
        done, failed = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            asked = json.loads(line)
            told = {"id": "batch_req_1", "custom_id": asked["custom_id"]}
            if "fail" in json.dumps(asked["body"]["input"]):
                error = {"message": "Your input exceeds the context window", "code": "context_length_exceeded"}
                failed.append({**told, "response": {"status_code": 400, "body": {"error": error}}, "error": None})
                continue
            call = Call("POST", "/v1/responses", {}, {}, json.dumps(asked["body"]).encode())
            body = self.response(call, "completed", f"{TEXT} {asked['custom_id']}")
            done.append({**told, "response": {"status_code": 200, "body": body}, "error": None})
        for name, lines in (("output_file_id", done), ("error_file_id", failed)):
            file = f"file-{batch['id']}-{name}"
            self.files[file] = b"\n".join(json.dumps(line).encode() for line in reversed(lines))
            batch[name] = file if lines else None
        batch["status"] = "completed"
        batch["request_counts"] = {"total": len(done) + len(failed), "completed": len(done), "failed": len(failed)}

    async def end(self, request: web.Request) -> Any:
        batch = self.batches[request.match_info["id"]]
        batch["status"] = "cancelling"
        return web.json_response(batch)
