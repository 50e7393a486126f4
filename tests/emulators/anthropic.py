"""Claude's API, version 2026-10-21, as its SDK 2.11 speaks it: messages, counting, batches, models.

Shapes, errors and headers follow the SDK's types and the documentation of the service (rate limits, errors, prefill).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import DIALECT, Call, Emulator, call_of, events

VERSION = "2026-10-21"
DATE = "Fri, 20 Nov 2026 13:00:00 GMT"
PREFILL = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5")
"""Models that go on from a beginning; all later ones refuse it."""
MODELS = (*PREFILL, "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
OVERALL = {"requests": (1000, 999), "tokens": (600_000, 599_000)}
LIMITS = {**OVERALL, "input-tokens": (500_000, 499_000), "output-tokens": (100_000, 99_000)}
ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
    503: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
SPENT = "Usage limits reached: monthly threshold. You will regain access on 2026-12-01 at 00:00 UTC."


class Anthropic(Emulator):
    """What it answers: *pieces* of text after *thoughts*, ended by *stop_reason*, for *usage*."""

    service = "anthropic"
    offers = frozenset(
        (
            *(*DIALECT, "billing", "413", "timeout", "hold", "blocked", "429-none"),
            *("overloaded-mid", "window", "refusal-begun"),
        )
    )
    garbage = b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 1, "del\n\n'

    def __init__(self) -> None:
        super().__init__()
        self.break_after = 9  # past the thoughts, after the first piece of text
        self.pieces: list[str] = ["The sea ", "is ", "wide."]
        self.thoughts = "Let me think."
        self.stop_reason = "end_turn"
        self.usage: dict[str, Any] = {
            "input_tokens": 21,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 4000,
            "output_tokens": 57,
            "output_tokens_details": {"thinking_tokens": 44},
        }
        self.results: dict[str, dict[str, Any]] = {}
        """Results of a batch by custom identity, where they are not to succeed."""
        self.rounds = 1
        """So many times a batch is told to be in progress."""
        self.batches: dict[str, dict[str, Any]] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the service offers."""
        return [
            web.post("/v1/messages", self.messages),
            web.post("/v1/messages/count_tokens", self.count),
            web.post("/v1/messages/batches", self.create_batch),
            web.get("/v1/messages/batches/{id}", self.get_batch),
            web.post("/v1/messages/batches/{id}/cancel", self.cancel_batch),
            web.get("/v1/messages/batches/{id}/results", self.batch_results),
            web.get("/v1/models", self.models),
        ]

    def authorized(self, call: Call) -> bool:
        """Take the key as a bearer, as version 2026-10-21 sends it, or as `x-api-key`."""
        return f"Bearer {self.key}" == call.headers.get("Authorization") or self.key == call.headers.get("x-api-key")

    def cancelled(self, job: str) -> bool:
        """Say whether a batch is being cancelled."""
        return bool(self.batches.get(job, {}).get("cancel_initiated_at"))

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer a fault in the words of the service."""
        plain = {
            "401": (401, f"invalid x-api-key: {self.key}"),
            "403": (403, "Your API key does not have permission to use the specified resource."),
            "404": (404, "model: claude-unknown"),
            "413": (413, "Request exceeds the maximum size"),
            "500": (500, "Internal server error"),
            "503": (503, "Service unavailable"),
            "overloaded": (529, "Overloaded"),
            "context": (400, "prompt is too long: 1208310 tokens > 1000000 maximum"),
            "invalid": (400, "max_tokens: 900000 > 128000, which is the maximum allowed number of output tokens"),
            "billing": (402, "Your credit balance is too low to access the Claude API."),
            "timeout": (504, "Request timed out."),
            "blocked": (400, "Output blocked by content filtering policy"),
        }
        if fault in plain:
            return self.error(*plain[fault])
        if fault == "hold":
            return self.error(400, "This organization has been disabled.", code="organization_on_hold")
        if fault == "429":
            told = {"retry-after": f"{self.retry_after:g}"} if self.retry_after >= 0 else {}
            used = {name: (most, 0 if name == "output-tokens" else left) for name, (most, left) in LIMITS.items()}
            message = "This request would exceed your organization's rate limit of 100,000 output tokens per minute"
            return self.error(429, message, headers={**rate_headers(used), **told})
        if fault == "429-none":
            return self.error(429, "Too many requests")
        if fault == "429-terminal":
            return self.error(429, SPENT, code="enforced_spend_limit_reached")
        return None

    def error(
        self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """Return an error in the shape of the service."""
        details = {"details": {"error_code": code}} if code else {}
        kind = {"type": ERRORS[status], "message": message, **details}
        payload = {"type": "error", "error": kind, "request_id": "req_018EeWyXxfu5pfWkrYcMdjWG"}
        return self.failure(
            status, payload, {"request-id": "req_018EeWyXxfu5pfWkrYcMdjWG", "Date": DATE} | dict(headers or {})
        )

    # --- messages ---

    def _mistake(self, asked: Mapping[str, Any]) -> web.Response | None:
        model = asked.get("model", "")
        if model not in MODELS:
            return self.error(404, f"model: {model}")
        for name in ("temperature", "top_p", "top_k"):
            if name in asked:
                return self.error(400, f"{name}: Extra inputs are not permitted")
        if not asked.get("messages") or asked["messages"][0]["role"] != "user":
            return self.error(400, "messages: first message must use the user role")
        if any(each["role"] not in {"user", "assistant"} for each in asked["messages"]):
            return self.error(400, "messages: unexpected role")
        last = asked["messages"][-1]
        if last["role"] == "assistant":
            if model not in PREFILL:
                return self.error(
                    400,
                    "This model does not support assistant message prefill. "
                    "The conversation must end with a user message.",
                )
            if last["content"] != last["content"].rstrip():
                return self.error(400, "messages: final assistant content cannot end with trailing whitespace")
        return None

    async def messages(self, request: web.Request) -> Any:
        """Answer a message, as a stream or whole."""
        call = call_of(request)
        asked = call.json
        if wrong := self._mistake(asked):
            return wrong
        if not isinstance(asked.get("max_tokens"), int):
            return self.error(400, "max_tokens: Field required")
        headers = {"request-id": "req_011CSLsW7mFqvHHnzrKdKjAE", "Date": DATE, **rate_headers(LIMITS)}
        if not asked.get("stream"):
            return self.answer(request, self.message(asked), headers=headers)
        pieces = events(self._events(asked, call.fault), named=True)
        endless = next(events([_delta(1, "text_delta", text="x" * 65536)], named=True))
        return self.stream(request, pieces, headers=headers, endless=endless)

    def message(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole message."""
        thinking = [{"type": "thinking", "thinking": self.thoughts, "signature": "c2ln"}] if self.thoughts else []
        return {
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": asked["model"],
            "content": [*thinking, {"type": "text", "text": "".join(self.pieces)}],
            "stop_reason": self.stop_reason, "stop_sequence": None, "usage": self.usage,
        }  # fmt: skip

    def _events(self, asked: Mapping[str, Any], fault: str) -> Iterator[dict[str, Any]]:
        begun = {**self.message(asked), "content": [], "stop_reason": None, "usage": {**self.usage, "output_tokens": 1}}
        begun["usage"].pop("output_tokens_details", None)
        yield {"type": "message_start", "message": begun}
        yield {"type": "ping"}
        index = 0
        if self.thoughts:
            yield _start(index, {"type": "thinking", "thinking": "", "signature": ""})
            yield _delta(index, "thinking_delta", thinking=self.thoughts)
            yield _delta(index, "signature_delta", signature="c2ln")
            yield {"type": "content_block_stop", "index": index}
            index += 1
        reason = {"filtered": "refusal", "refusal-begun": "refusal", "window": "model_context_window_exceeded"}.get(
            fault, self.stop_reason
        )
        if fault != "filtered":
            yield _start(index, {"type": "text", "text": ""})
            for number, piece in enumerate(self.pieces):
                yield _delta(index, "text_delta", text=piece)
                if fault == "overloaded-mid" and number == 0:
                    yield {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
                    return
                yield {"type": "ping"}
            yield {"type": "content_block_stop", "index": index}
        details = {"type": "refusal", "category": "bio", "explanation": None} if reason == "refusal" else None
        delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
        yield {"type": "message_delta", "delta": delta, "usage": self.usage}
        yield {"type": "message_stop"}

    async def count(self, request: web.Request) -> web.Response:
        """Count about four characters as a token."""
        asked = call_of(request).json
        if wrong := self._mistake(asked):
            return wrong
        size = len(json.dumps([asked["messages"], asked.get("system", "")]))
        return web.json_response({"input_tokens": size // 4})

    async def models(self, request: web.Request) -> Any:
        """List models, a deprecated and a retired one among them."""
        data = [
            _model("claude-sonnet-6", "Claude Sonnet 6", 2_000_000, 256_000),
            _model("claude-haiku-4-5", "Claude Haiku 4.5", 200_000, 64_000),
            _model("claude-sonnet-4-5", "Claude Sonnet 4.5", 200_000, 64_000, "deprecated", "2026-11-30T00:00:00Z"),
            _model("claude-opus-4-0", "Claude Opus 4", 200_000, 32_000, "retired", "2026-06-15T00:00:00Z"),
        ]
        page = {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return self.answer(request, page, headers={"Date": DATE})

    # --- batches ---

    async def create_batch(self, request: web.Request) -> Any:
        """Take a batch in."""
        asked = call_of(request).json["requests"]
        for each in asked:
            if wrong := self._mistake(each["params"]):
                return wrong
            if each["params"].get("stream"):
                return self.error(400, "requests: stream is not supported in batches")
        name = f"msgbatch_{len(self.batches) + 1:024d}"
        self.batches[name] = {"requests": asked, "asked": 0, "cancel_initiated_at": None}
        return self._told(request, name)

    def _told(self, request: web.Request, name: str) -> Any:
        return self.stream(request, [json.dumps(self._batch(name)).encode()], media_type="application/json")

    def _batch(self, name: str) -> dict[str, Any]:
        """Tell the state; while the emulator is held, batches go on, but do not end."""
        batch = self.batches[name]
        ended = batch["asked"] > self.rounds and not self.held
        total = len(batch["requests"])
        failed = sum(each["custom_id"] in self.results for each in batch["requests"])
        counts = {"processing": 0 if ended else total, "succeeded": total - failed if ended else 0, "errored": 0}
        status = "canceling" if batch["cancel_initiated_at"] else "in_progress"
        return {
            "id": name, "type": "message_batch", "processing_status": "ended" if ended else status,
            "request_counts": {**counts, "canceled": failed if ended else 0, "expired": 0},
            "created_at": "2026-11-20T13:00:00Z", "expires_at": "2026-11-21T13:00:00Z", "archived_at": None,
            "ended_at": "2026-11-20T13:05:00Z" if ended else None,
            "cancel_initiated_at": batch["cancel_initiated_at"],
            "results_url": f"{self.url}/v1/messages/batches/{name}/results" if ended else None,
        }  # fmt: skip

    async def get_batch(self, request: web.Request) -> Any:
        """Tell the state of a batch."""
        name = request.match_info["id"]
        if name not in self.batches:
            return self.error(404, "batch not found")
        self.batches[name]["asked"] += 1
        return self._told(request, name)

    async def cancel_batch(self, request: web.Request) -> Any:
        """Begin to cancel a batch."""
        self.batches[request.match_info["id"]]["cancel_initiated_at"] = "2026-11-20T13:01:00Z"
        return self._told(request, request.match_info["id"])

    async def batch_results(self, request: web.Request) -> Any:
        """Give the results, the last first: their order is not that of the requests."""
        lines = []
        for each in reversed(self.batches[request.match_info["id"]]["requests"]):
            worked = {"type": "succeeded", "message": self.message(each["params"])}
            result = self.results.get(each["custom_id"], worked)
            lines.append(json.dumps({"custom_id": each["custom_id"], "result": result}).encode() + b"\n")
        return self.stream(request, lines, media_type="application/x-jsonl")


def rate_headers(limits: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Return `anthropic-ratelimit-*`; each is whole again 30 s after `DATE`."""
    found = {}
    for name, (most, left) in limits.items():
        found[f"anthropic-ratelimit-{name}-limit"] = str(most)
        found[f"anthropic-ratelimit-{name}-remaining"] = str(left)
        found[f"anthropic-ratelimit-{name}-reset"] = "2026-11-20T13:00:30Z"
    return found


def _start(index: int, block: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, kind: str, **what: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **what}}


def _model(name: str, title: str, context: int, most: int, stage: str = "active", retires: str = "") -> dict[str, Any]:
    yes, no = {"supported": True}, {"supported": False}
    efforts = dict.fromkeys(("low", "medium", "high"), yes) | dict.fromkeys(("xhigh", "max"), no)
    kinds = dict.fromkeys(("adaptive", "between_tools", "disabled"), yes) | {"enabled": no}
    return {
        "id": name, "type": "model", "display_name": title, "created_at": "2026-10-01T00:00:00Z", "lifecycle": stage,
        "max_input_tokens": context, "max_tokens": most, "deprecated_at": "2026-08-01T00:00:00Z" if retires else None,
        "retires_at": retires or None, "line": None,
        "capabilities": {
            **dict.fromkeys(("batch", "citations", "image_input", "pdf_input", "structured_outputs"), yes),
            "code_execution": no, "context_management": no, "thinking": {**yes, "types": kinds},
            "effort": no | dict.fromkeys(("low", "medium", "high", "max"), no) if "haiku" in name else {**yes, **efforts},
            "server_tools": {**no, "code_execution": no, "web_search": no},
        },
    }  # fmt: skip
