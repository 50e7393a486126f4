"""Replicate's predictions: made by model or version, asked about, cancelled; models, files, as SDK 1.0 reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of

PICTURE = b"RIFF\x10\0\0\0WEBPVP8 " + bytes(range(256)) * 8
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
FIELDS = {
    "prompt": {"type": "string", "title": "Prompt", "x-order": 0, "description": "Prompt"},
    "aspect_ratio": {"allOf": [{"$ref": "#/components/schemas/aspect_ratio"}], "default": "1:1", "x-order": 1},
    "go_fast": {"type": "boolean", "default": True, "x-order": 5},
    "seed": {"type": "integer", "x-order": 3},
    "mask": {"type": "string", "format": "uri", "x-order": 7},
    "image": {"type": "string", "format": "uri", "x-order": 6},
}


class Replicate(Emulator):
    """A prediction runs for *turns* questions; while the emulator is held it starts."""

    service = "replicate"
    prefix = "/v1"
    offers = frozenset(("401", "403", "404", "429", "429-terminal", "429-low", "500", "503", "filtered", "invalid"))

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        self.turns = 2
        self.output: Any = None
        self.failure_text = ""
        self.metrics: dict[str, Any] = {"predict_time": 1.75, "total_time": 2.5}
        self.more: dict[str, Any] = {}
        self.uploads: list[bytes] = []
        self.file, self.file_type = PICTURE, "image/webp"
        self.official = ("black-forest-labs/flux-schnell", "black-forest-labs/flux-dev")

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the API and the files."""
        return [
            web.get("/files/{name}", self.files),
            web.post("/v1/files", self.upload),
            web.get("/v1/account", self.account),
            web.get("/v1/models/{owner}/{name}", self.model),
            web.get("/v1/models/{owner}/{name}/versions/{version}", self.version),
            web.post("/v1/models/{owner}/{name}/predictions", self.by_model),
            web.post("/v1/predictions", self.by_version),
            web.get("/v1/predictions/{id}", self.prediction),
            web.post("/v1/predictions/{id}/cancel", self.cancel),
        ]

    def authorized(self, call: Call) -> bool:
        """Look for the key; files are open to all."""
        if call.path.startswith("/files/"):
            assert "Authorization" not in call.headers, "the key went to where files are"
            return True
        return super().authorized(call)

    def cancelled(self, job: str) -> bool:
        """Say whether a prediction was cancelled."""
        return job in self.ended

    async def wait_if_held(self, call: Call) -> None:
        """Answer at once: predictions start slowly, answers do not."""

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer as Replicate does."""
        wait = f"{self.retry_after:g}"
        low = (
            "Request was throttled. Your rate limit for creating predictions is reduced to 6 requests per minute with a "
            f"burst of 1 requests while you have less than $5.0 in credit. Your rate limit resets in ~{wait}s."
        )
        words = {
            "401": (401, "Unauthenticated", f"You did not pass a valid authentication token: {self.key}"),
            "403": (403, "Forbidden", "You do not have permission to use this model"),
            "404": (404, "", "The requested resource could not be found."),
            "429": (429, "", f"Request was throttled. Your rate limit resets in ~{wait}s."),
            "429-low": (429, "Too many requests", low),
            "429-terminal": (402, "Insufficient credit", "You have insufficient credit to run this model."),
            "500": (500, "", "Internal server error"),
            "503": (503, "", "Service unavailable"),
            "filtered": (422, "Input rejected", "The input was flagged as sensitive. Please try again with different inputs. (E005)"),
            "invalid": (422, "Input validation failed", "- input.num_outputs: Must be less than or equal to 4\n"),
        }  # fmt: skip
        status, title, detail = words[fault]
        return self.failure(status, {"title": title, "detail": detail, "status": status, "type": ""})

    async def account(self, request: web.Request) -> Any:
        """Tell whose key it is."""
        return self.answer(request, {"type": "user", "username": "painter", "name": "P", "github_url": None})

    def _version(self) -> dict[str, Any]:
        schemas = {
            "Input": {"type": "object", "properties": FIELDS},
            "aspect_ratio": {"type": "string", "enum": ["1:1", "16:9"], "title": "aspect_ratio"},
        }
        return {
            "id": VERSION, "created_at": "2026-01-01T00:00:00Z", "cog_version": "0.9",
            "openapi_schema": {"openapi": "3.0.2", "components": {"schemas": schemas}},
        }  # fmt: skip

    async def model(self, request: web.Request) -> Any:
        """Tell about a model."""
        owner, name = request.match_info["owner"], request.match_info["name"]
        told = {
            "url": f"https://replicate.com/{owner}/{name}", "owner": owner, "name": name, "description": "",
            "visibility": "public", "run_count": 1, "cover_image_url": None, "default_example": None,
            "is_official": f"{owner}/{name}" in self.official, "latest_version": self._version(),
        }  # fmt: skip
        return self.answer(request, told)

    async def version(self, request: web.Request) -> Any:
        """Tell about a version."""
        return self.answer(request, {**self._version(), "id": request.match_info["version"]})

    async def by_model(self, request: web.Request) -> Any:
        """Make a prediction with an official model; others have to be asked for by version."""
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        if name not in self.official:
            return self.failure(404, {"detail": "The requested resource could not be found.", "status": 404})
        return self._predicted(request, name, "hidden")

    async def by_version(self, request: web.Request) -> Any:
        """Make a prediction with a version."""
        return self._predicted(request, "", call_of(request).json["version"])

    def _predicted(self, request: web.Request, model: str, version: str) -> Any:
        job_id = f"gm3qorzdhgbfurvjtvhg{len(self.jobs):06d}"
        assert "Prefer" not in call_of(request).headers
        self.jobs[job_id] = {"model": model, "version": version, "input": call_of(request).json["input"], "turn": 0}
        return self.answer(request, self._told(job_id, "starting"), status=201)

    def _told(self, job_id: str, status: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        done = status in ("succeeded", "failed")
        output = [f"{self.url}/files/out-0.webp"] if self.output is None else self.output
        return {
            "id": job_id, "model": job["model"], "version": job["version"], "input": job["input"],
            "logs": "" if status == "starting" else f" {50 * job['turn']}%|████  | 2/4 [00:01<00:01]",
            "output": output if status == "succeeded" else None,
            "error": self.failure_text or None if done else None, "status": status,
            "created_at": "2026-11-20T00:00:00Z", "started_at": None, "completed_at": None, "data_removed": False,
            "metrics": self.metrics if done else None,
            "urls": {"get": f"{self.base_url}/predictions/{job_id}", "cancel": f"{self.base_url}/predictions/{job_id}/cancel"},
        } | (self.more if done else {})  # fmt: skip

    async def prediction(self, request: web.Request) -> Any:
        """Tell how far a prediction is."""
        job_id = request.match_info["id"]
        job = self.jobs.get(job_id)
        if job is None:
            return self.failure(404, {"detail": "The requested resource could not be found.", "status": 404})
        if job_id in self.ended:
            return self.answer(request, self._told(job_id, "canceled"))
        if self.held:
            return self.answer(request, self._told(job_id, "starting"))
        job["turn"] += 1
        status = "processing" if job["turn"] < self.turns else "failed" if self.failure_text else "succeeded"
        return self.answer(request, self._told(job_id, status))

    async def cancel(self, request: web.Request) -> Any:
        """End a prediction."""
        job_id = request.match_info["id"]
        self.ended.add(job_id)
        return self.answer(request, self._told(job_id, "canceled") if job_id in self.jobs else {})

    async def upload(self, request: web.Request) -> Any:
        """Take a file."""
        (name, kind, content) = call_of(request).form["content"][0]
        self.uploads.append(content)
        place = {"get": f"{self.base_url}/files/{len(self.uploads)}"}
        return self.answer(
            request, {"id": "f", "name": name, "content_type": kind, "size": len(content), "urls": place}
        )

    async def files(self, request: web.Request) -> Any:
        """Give a file."""
        return self.content(request, self.file, self.file_type)
