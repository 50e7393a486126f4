"""Stability's REST API v2beta: forms in, results or jobs out; as its reference describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
SOUND = b"ID3\x04" + bytes(range(256)) * 8


class Stability(Emulator):
    """A job runs for *turns* questions; while the emulator is held it goes on, and so do answers without a job."""

    service = "stability"
    offers = frozenset(("401", "403", "404", "429", "429-terminal", "500", "503", "filtered", "moderated", "invalid"))

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.turns = 2
        self.finish = "SUCCESS"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the API offers."""
        return [
            web.get("/v1/user/balance", self.balance),
            web.get("/v2beta/results/{id}", self.result),
            web.get("/v2beta/audio/results/{id}", self.result),
            web.post("/v2beta/stable-image/upscale/creative", self.job),
            web.post("/v2beta/stable-image/edit/replace-background-and-relight", self.job),
            web.post("/v2beta/audio/stable-audio/{kind}", self.job),
            web.post("/v2beta/stable-image/{kind}/{name}", self.make),
            web.post("/v2beta/audio/stable-audio-2/text-to-audio", self.make),
        ]

    async def wait_if_held(self, call: Call) -> None:
        """Hold results, not what is said about jobs."""
        if "results/" not in call.path and call.form and not self._deferred(call):
            await super().wait_if_held(call)

    @staticmethod
    def _deferred(call: Call) -> bool:
        return call.path.endswith(("/creative", "-relight")) or "/stable-audio/" in call.path

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer as Stability does."""
        if fault == "filtered":
            return None
        words = {
            "401": (401, "unauthorized", f"authorization: invalid or missing header value {self.key}"),
            "403": (403, "permission_denied", "this organization may not use this model"),
            "404": (404, "not_found", "Resource not found"),
            "429": (429, "rate_limit_exceeded", "You have exceeded the rate limit (150 requests within a 10 second period)"),
            "429-terminal": (402, "payment_required", "You lack sufficient credits to make this request."),
            "500": (500, "internal_error", "An unexpected server error has occurred"),
            "503": (503, "service_unavailable", "try again later"),
            "moderated": (403, "content_moderation", "Your request was flagged by our content moderation system."),
            "invalid": (400, "bad_request", "strength: cannot be blank"),
        }  # fmt: skip
        status, name, text = words[fault]
        return self.failure(status, {"id": "4212a4b66fbe1cedca4bf2133d35dca5", "name": name, "errors": [text]})

    def _checked(self, call: Call) -> bool:
        assert call.headers["Content-Type"].startswith("multipart/form-data"), "forms are multipart"
        assert "Accept" in call.headers
        return "audio" in call.path

    def _bytes(self, request: web.Request, *, sound: bool) -> Any:
        headers = {"finish-reason": self.finish, "seed": "343940597", "x-request-id": "r"}
        if call_of(request).fault == "filtered":
            headers["finish-reason"] = "CONTENT_FILTERED"
        return self.content(
            request, SOUND if sound else PICTURE, "audio/mpeg" if sound else "image/png", headers=headers
        )

    async def make(self, request: web.Request) -> Any:
        """Answer with a result."""
        return self._bytes(request, sound=self._checked(call_of(request)))

    async def job(self, request: web.Request) -> Any:
        """Answer with a job."""
        call = call_of(request)
        sound = self._checked(call)
        job_id = f"a6dc6c6e20acda010fe14d71f180658f2896ed9b4ec25aa99a6ff06c{len(self.jobs):08d}"
        self.jobs[job_id] = {"turn": 0, "sound": sound, "filtered": call.fault == "filtered"}
        return self.answer(request, {"id": job_id}, status=202 if sound else 200)

    async def result(self, request: web.Request) -> Any:
        """Tell that it goes on, or give the result."""
        job_id = request.match_info["id"]
        job = self.jobs.get(job_id)
        if job is None:
            return self.failure(404, {"id": "x", "name": "not_found", "errors": ["Generation not found or expired."]})
        if not self.held:
            job["turn"] += 1
        if self.held or job["turn"] < self.turns:
            return web.json_response({"id": job_id, "status": "in-progress"}, status=202)
        if job["filtered"]:
            call_of(request).fault = "filtered"
        return self._bytes(request, sound=job["sound"])

    async def balance(self, request: web.Request) -> Any:
        """Tell the credits that are left."""
        return self.answer(request, {"credits": 631.5})
