"""Runway's tasks: made by endpoint, asked about, deleted; uploads and results; as runwayml 5 reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of

FILM = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 8


class Runway(Emulator):
    """A task runs for *turns* questions; while the emulator is held it is *waiting*."""

    service = "runway"
    offers = frozenset(("401", "403", "404", "429", "429-terminal", "no-credits", "500", "503", "filtered", "invalid"))

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        self.turns = 2
        self.waiting = "THROTTLED"
        self.failure_code = ""
        self.cost = 60
        self.uploads: list[bytes] = []
        self.file, self.file_type = FILM, "video/mp4"
        self.output: list[str] | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the endpoints that are used."""
        makers = ("text_to_video", "image_to_video", "text_to_image", "sound_effect", "text_to_speech")
        return [
            *(web.post(f"/v1/{name}", self.make) for name in makers),
            web.get("/v1/tasks/{id}", self.task),
            web.delete("/v1/tasks/{id}", self.delete),
            web.get("/v1/organization", self.organization),
            web.post("/v1/uploads", self.upload),
            web.post("/storage", self.store),
            web.get("/files/{name}", self.files),
        ]

    def authorized(self, call: Call) -> bool:
        """Look for key and version; results and storage are open to all."""
        if call.path.startswith(("/files/", "/storage")):
            assert "Authorization" not in call.headers, "the key went to where files are"
            return True
        assert call.headers.get("X-Runway-Version") == "2024-11-06"
        return super().authorized(call)

    def cancelled(self, job: str) -> bool:
        """Say whether a task was cancelled."""
        return job in self.ended

    async def wait_if_held(self, call: Call) -> None:
        """Answer at once: tasks wait, answers do not."""

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer as Runway does; what is filtered fails as a task."""
        if fault == "filtered":
            return None
        issues = [{"code": "too_big", "path": ["duration"], "message": "Number must be less than or equal to 10"}]
        words: dict[str, tuple[int, dict[str, Any]]] = {
            "401": (401, {"error": f"The API key {self.key} is not valid."}),
            "403": (403, {"error": "This organization may not use this model."}),
            "404": (404, {"error": "Not found."}),
            "429": (429, {"error": "Too many requests."}),
            "429-terminal": (429, {"error": "You have reached your daily task limit for this model."}),
            "no-credits": (400, {"error": "You do not have enough credits to run this task."}),
            "500": (500, {"error": "Internal server error."}),
            "503": (503, {"error": "Shedding load."}),
            "invalid": (400, {"error": "Validation of body failed", "issues": issues, "docUrl": "https://docs.dev"}),
        }
        status, body = words[fault]
        headers = {"retry-after": f"{self.retry_after:g}"} if fault == "429" and self.retry_after >= 0 else {}
        return self.failure(status, body, headers)

    async def make(self, request: web.Request) -> Any:
        """Make a task."""
        call = call_of(request)
        task_id = f"17f20503-6c24-4c16-946b-{len(self.tasks):012d}"
        code = "SAFETY.INPUT.TEXT" if call.fault == "filtered" else self.failure_code
        self.tasks[task_id] = {"body": call.json, "turn": 0, "code": code}
        return self.answer(request, {"id": task_id})

    async def task(self, request: web.Request) -> Any:
        """Tell how far a task is."""
        task_id = request.match_info["id"]
        task = self.tasks.get(task_id)
        if task is None:
            return self.failure(404, {"error": "Task not found."})
        told: dict[str, Any] = {"id": task_id, "createdAt": "2026-11-20T13:00:00.000Z"}
        estimate = {"estimatedCost": {"credits": self.cost}}
        if task_id in self.ended:
            return self.answer(request, told | {"status": "CANCELLED", "cost": {"credits": 0}})
        if self.held:
            return self.answer(request, told | {"status": self.waiting} | estimate)
        task["turn"] += 1
        if task["turn"] < self.turns:
            return self.answer(request, told | {"status": "RUNNING", "progress": 0.25} | estimate)
        if task["code"]:
            failed = {"failure": "It failed.", "failureCode": task["code"], "cost": {"credits": 0}}
            return self.answer(request, told | {"status": "FAILED"} | failed)
        output = [f"{self.url}/files/made.mp4?_jwt=x"] if self.output is None else self.output
        return self.answer(request, told | {"status": "SUCCEEDED", "output": output, "cost": {"credits": self.cost}})

    async def delete(self, request: web.Request) -> Any:
        """Cancel or delete a task."""
        self.ended.add(request.match_info["id"])
        return web.Response(status=204)

    async def organization(self, request: web.Request) -> Any:
        """Tell about the account."""
        models = {
            "gen4.5": {"maxConcurrentGenerations": 3, "maxDailyGenerations": 500},
            "gen4_image": {"maxConcurrentGenerations": 5, "maxDailyGenerations": 1000},
            "free": {"maxConcurrentGenerations": None, "maxDailyGenerations": None},
        }
        tier = {"maxMonthlyCreditSpend": 50_000, "models": models}
        usage = {"models": {"gen4.5": {"dailyGenerations": 3}}}
        return self.answer(request, {"creditBalance": 1200, "tier": tier, "usage": usage})

    async def upload(self, request: web.Request) -> Any:
        """Say where a file may go."""
        told = {"uploadUrl": f"{self.url}/storage", "fields": {"policy": "p"}, "runwayUri": "runway://file-1"}
        return self.answer(request, told)

    async def store(self, request: web.Request) -> Any:
        """Take a file."""
        self.uploads.append(call_of(request).form["file"][0][2])
        return web.Response(status=204)

    async def files(self, request: web.Request) -> Any:
        """Give a result."""
        return self.content(request, self.file, self.file_type)
