"""fal's queue: submit, state with logs, result, cancel, and files; as fal-client 1.0 reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


class Fal(Emulator):
    """A job runs for *turns* questions; while the emulator is held it waits in the queue."""

    service = "fal"
    offers = frozenset(("401", "403", "404", "429", "429-terminal", "500", "503", "filtered", "invalid", "timeout"))

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        self.turns = 2
        self.result: dict[str, Any] | None = None
        self.late: dict[str, str] = {}
        self.late_fault = ""
        self.file, self.file_type = PICTURE, "image/png"

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the queue and the files."""
        job = r"/{root:.+}/requests/{id}"
        return [
            web.get("/files/{name}", self.files),
            web.get(job + "/status", self.status),
            web.put(job + "/cancel", self.cancel),
            web.get(job, self.response),
            web.post("/{app:.+}", self.submit),
        ]

    def authorized(self, call: Call) -> bool:
        """Look for the key; files are open to all."""
        if call.path.startswith("/files/"):
            assert "Authorization" not in call.headers, "the key went to where files are"
            return True
        return call.headers.get("Authorization") == f"Key {self.key}"

    def cancelled(self, job: str) -> bool:
        """Say whether a job was cancelled."""
        return job.rpartition("/")[2] in self.ended

    async def wait_if_held(self, call: Call) -> None:
        """Answer at once: jobs wait in the queue, answers do not."""

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer as fal does."""
        if fault == "filtered":
            detail = {
                "loc": ["body", "prompt"], "msg": "The content could not be processed because it contained material "
                "flagged by a content checker.", "type": "content_policy_violation", "input": {},
                "url": "https://docs.fal.ai/errors/#content_policy_violation",
            }  # fmt: skip
            return self.failure(422, {"detail": [detail]}, {"x-fal-retryable": "false"})
        if fault == "invalid":
            detail = {
                "loc": ["body", "num_images"],
                "msg": "Input should be less than or equal to 4",
                "type": "less_than_equal",
            }
            return self.failure(422, {"detail": [detail]})
        if fault == "timeout":
            told = {"detail": "Request timed out", "error_type": "request_timeout"}
            return self.failure(504, told, {"x-fal-error-type": "request_timeout"})
        words = {
            "401": (401, f"No user found for Key ID and Secret {self.key}"),
            "403": (403, "Access to this application is denied"),
            "404": (404, "Application not found"),
            "429": (429, "Too many requests"),
            "429-terminal": (403, "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."),
            "500": (500, "Internal Server Error"),
            "503": (503, "No runner could be allocated"),
        }  # fmt: skip
        status, detail_text = words[fault]
        headers = {"retry-after": f"{self.retry_after:g}"} if fault == "429" and self.retry_after >= 0 else {}
        body = {"detail": detail_text}
        if fault == "503":
            body["error_type"] = headers["x-fal-error-type"] = "runner_scheduling_failure"
        return self.failure(status, body, headers)

    async def submit(self, request: web.Request) -> Any:
        """Take a job in."""
        app = request.match_info["app"]
        job_id = f"764cabcf-b745-4b3e-ae38-{len(self.jobs):012d}"
        self.jobs[job_id] = {"app": app, "input": call_of(request).json, "turn": 0}
        parts = app.split("/")
        base = f"{self.url}/{'/'.join(parts[: 3 if parts[0] in ('workflows', 'comfy') else 2])}/requests/{job_id}"
        told: dict[str, Any] = {
            "status": "IN_QUEUE", "request_id": job_id, "response_url": base, "status_url": base + "/status",
            "cancel_url": base + "/cancel", "logs": None, "metrics": {}, "queue_position": 0,
        }  # fmt: skip
        return self.answer(request, told)

    async def status(self, request: web.Request) -> Any:
        """Tell how far it is."""
        job_id = request.match_info["id"]
        job = self.jobs.get(job_id)
        if job is None:
            return self.failure(404, {"detail": "Request not found"})
        if self.held:
            return self.answer(request, {"status": "IN_QUEUE", "request_id": job_id, "queue_position": 2})
        job["turn"] += 1
        logs = [
            {
                "message": f" {50 * job['turn']}%|███   | {job['turn']}/4",
                "level": "INFO",
                "timestamp": "2026-11-20T00:00:00",
            }
        ]
        if job["turn"] < self.turns:
            return self.answer(request, {"status": "IN_PROGRESS", "request_id": job_id, "logs": logs})
        told = {"status": "COMPLETED", "request_id": job_id, "logs": logs, "metrics": {"inference_time": 1.25}}
        return self.answer(request, told | self.late)

    async def response(self, request: web.Request) -> Any:
        """Give the result."""
        job = self.jobs[request.match_info["id"]]
        if self.late_fault and (refused := self.refusal(self.late_fault, call_of(request))) is not None:
            return refused
        picture = {
            "url": f"{self.url}/files/made.png", "content_type": self.file_type, "width": 1024, "height": 768,
            "file_name": "made.png", "file_size": len(self.file),
        }  # fmt: skip
        told: dict[str, Any] = self.result or {
            "images": [picture], "timings": {"inference": 1.25}, "seed": job["input"].get("seed", 5),
            "has_nsfw_concepts": [False], "prompt": job["input"]["prompt"],
        }  # fmt: skip
        return self.answer(request, told, headers={"x-fal-billable-units": "1", "x-fal-request-id": "r"})

    async def cancel(self, request: web.Request) -> Any:
        """End a job."""
        self.ended.add(request.match_info["id"])
        return self.failure(202, {"status": "CANCELLATION_REQUESTED"})

    async def files(self, request: web.Request) -> Any:
        """Give a file."""
        return self.content(request, self.file, self.file_type)
