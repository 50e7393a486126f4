"""ComfyUI 0.3: prompts, queue, history, results and the events of its WebSocket, in the order a real one sends them.

It needs no key, has no limits and knows no policy; nodes are checked for their required values as far as the shipped
workflows have them.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import Any

from aiohttp import WSCloseCode, web
from tests.emulators.base import Call, Emulator, call_of

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
CHECKPOINTS = ["dream_xl.safetensors", "sd_xl_base_1.0.safetensors"]


class ComfyUI(Emulator):
    """*stage* is how a prompt ends: `success`, `error`, `interrupted`, or `vanish` (as after a restart)."""

    service = "comfyui"
    offers = frozenset(("401", "403", "404", "500", "503", "invalid"))
    needs_key = False

    def __init__(self) -> None:
        super().__init__()
        self.stage = "success"
        self.pending: list[str] = []
        self.running: list[str] = []
        self.prompts: dict[str, dict[str, Any]] = {}
        self.history: dict[str, Any] = {}
        self.uploads: dict[str, bytes] = {}
        self.ended: set[str] = set()
        self.interrupts: list[str] = []
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.features: list[Any] = []
        self.preview = b"\xff\xd8\xff" + b"p" * 500
        self.with_metadata = False
        self.outputs: dict[str, Any] = {"images": [{"filename": "a b.png", "subfolder": "", "type": "output"}]}
        self.result, self.result_type = PICTURE, "image/png"
        self.deaf = False
        """Whether the WebSocket refuses everybody."""
        self.drop = 0
        """So many times the WebSocket closes in the middle of the work."""
        self._work: set[asyncio.Task[None]] = set()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what the server offers."""
        return [
            web.get("/ws", self.ws),
            web.post("/prompt", self.prompt),
            web.get("/queue", self.queue),
            web.post("/queue", self.delete),
            web.post("/interrupt", self.interrupt),
            web.get("/history/{id}", self.one),
            web.get("/view", self.view),
            web.post("/upload/image", self.upload),
            web.get("/object_info/{kind}", self.object_info),
            web.get("/system_stats", self.stats),
        ]

    async def stop(self) -> None:
        """End all work."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        for socket in list(self.sockets.values()):
            await socket.close(code=WSCloseCode.GOING_AWAY)
        await super().stop()

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer as ComfyUI does, or what stands before it."""
        if fault == "invalid":
            errors = [
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": "ckpt_name: 'x.safetensors' not in ['dream_xl.safetensors']",
                    "extra_info": {"input_name": "ckpt_name", "received_value": "x.safetensors"},
                }
            ]
            node = {"errors": errors, "dependent_outputs": ["9"], "class_type": "CheckpointLoaderSimple"}
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return self.failure(400, {"error": {**error, "details": "", "extra_info": {}}, "node_errors": {"4": node}})
        words = {
            "401": f"bad token in {dict(call.headers)}",
            "403": "no",
            "404": "no page",
            "500": "Internal Server Error",
        }
        return web.Response(status=int(fault), text=words.get(fault, "busy"))

    def authorized(self, call: Call) -> bool:
        """Take everybody in."""
        return True

    def cancelled(self, job: str) -> bool:
        """Say whether it was taken out of the queue or interrupted."""
        return job.partition("/")[0] in self.ended

    async def wait_if_held(self, call: Call) -> None:
        """Answer at once: work is held, answers are not."""

    # --- routes ---

    async def ws(self, request: web.Request) -> Any:
        """Send the events of a client."""
        if self.deaf:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query["clientId"]
        self.sockets[client] = socket
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}
        )
        async for message in socket:
            self.features.append(json.loads(message.data))
        if self.sockets.get(client) is socket:
            del self.sockets[client]
        socket.body = b""  # type: ignore[attr-defined]  # the journal wants to know its length
        return socket

    async def prompt(self, request: web.Request) -> Any:
        """Take a prompt in."""
        told = call_of(request).json
        nodes = told["prompt"]
        assert all("class_type" in node for node in nodes.values()), "the workflow holds what is no node"
        prompt_id = told["prompt_id"]
        self.prompts[prompt_id] = told
        self.pending.append(prompt_id)
        self._start(prompt_id, told)
        return self.answer(request, {"prompt_id": prompt_id, "number": len(self.prompts), "node_errors": {}})

    async def queue(self, request: web.Request) -> Any:
        """Tell who runs and who waits."""

        def entry(number: int, prompt_id: str) -> list[Any]:
            return [number, prompt_id, self.prompts[prompt_id]["prompt"], {}, []]

        running = [entry(number, each) for number, each in enumerate(self.running)]
        pending = [entry(number + 10, each) for number, each in enumerate(self.pending)]
        return self.answer(request, {"queue_running": running, "queue_pending": pending[::-1]})

    async def delete(self, request: web.Request) -> Any:
        """Take prompts out of the queue."""
        for each in call_of(request).json.get("delete", ()):
            self.ended.add(each)
            if each in self.pending:
                self.pending.remove(each)
        return web.Response()

    async def interrupt(self, request: web.Request) -> Any:
        """End what runs."""
        prompt_id = call_of(request).json["prompt_id"]
        self.interrupts.append(prompt_id)
        self.ended.add(prompt_id)
        return web.Response()

    async def one(self, request: web.Request) -> Any:
        """Tell what is known of one prompt that is over."""
        prompt_id = request.match_info["id"]
        found = {prompt_id: self.history[prompt_id]} if prompt_id in self.history else {}
        return self.answer(request, found)

    async def view(self, request: web.Request) -> Any:
        """Give a result."""
        assert request.query["filename"] in json.dumps(self.outputs)
        return self.content(request, self.result, self.result_type)

    async def upload(self, request: web.Request) -> Any:
        """Take a file."""
        form = call_of(request).form
        name, _, content = form["image"][0]
        self.uploads[name] = content
        return self.answer(request, {"name": name, "subfolder": form["subfolder"][0], "type": form["type"][0]})

    async def object_info(self, request: web.Request) -> Any:
        """Tell what a class of nodes takes."""
        kind = request.match_info["kind"]
        found = {
            "CheckpointLoaderSimple": {"required": {"ckpt_name": [CHECKPOINTS, {"tooltip": "…"}]}},
            "KSampler": {"required": {"sampler_name": ["COMBO", {"options": ["euler", "heun"]}], "seed": ["INT", {}]}},
            "CLIPTextEncode": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP", {}]}},
        }
        return self.answer(request, {kind: {"input": found[kind], "name": kind}} if kind in found else {})

    async def stats(self, request: web.Request) -> Any:
        """Tell about the machine."""
        system = {"os": "posix", "comfyui_version": "0.3.64", "python_version": "3.11"}
        return self.answer(request, {"system": system, "devices": [{"name": "cpu", "type": "cpu", "vram_total": 1}]})

    # --- the work ---

    def _start(self, prompt_id: str, told: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._run(prompt_id, told))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _tell(self, client: str, kind: str, **data: Any) -> None:
        socket = self.sockets.get(client)
        if socket is not None and not socket.closed:
            await socket.send_json({"type": kind, "data": data})

    async def _run(self, prompt_id: str, told: dict[str, Any]) -> None:
        client, nodes = told["client_id"], list(told["prompt"])
        while self.held:
            await asyncio.sleep(0.005)
        if prompt_id not in self.pending:
            return
        self.pending.remove(prompt_id)
        if self.stage == "vanish":
            return
        self.running.append(prompt_id)
        await self._tell(client, "execution_start", prompt_id=prompt_id)
        await self._tell(client, "execution_cached", nodes=nodes[:1], prompt_id=prompt_id)
        await self._tell("nobody", "progress", value=1, max=1, prompt_id="another")
        for node in nodes[1:]:
            state = {"value": 0, "max": 2, "state": "running", "node_id": node, "prompt_id": prompt_id}
            await self._tell(client, "progress_state", prompt_id=prompt_id, nodes={node: state})
            await self._tell(client, "executing", node=node, display_node=node, prompt_id=prompt_id)
            await self._tell(client, "progress", value=1, max=2, prompt_id=prompt_id, node=node)
        await self._show(client, prompt_id, nodes[-1])
        if self.drop:
            self.drop -= 1
            await self.sockets[client].close()
        messages: list[Any] = [["execution_start", {"prompt_id": prompt_id}]]
        if self.stage == "error":
            error = {
                "prompt_id": prompt_id, "node_id": "3", "node_type": "KSampler", "executed": [],
                "exception_message": "mat1 and mat2 shapes cannot be multiplied", "exception_type": "RuntimeError",
                "traceback": [], "current_inputs": {}, "current_outputs": [],
            }  # fmt: skip
            messages.append(["execution_error", error])
            await self._tell(client, "execution_error", **error)
        elif self.stage == "interrupted":
            about = {"prompt_id": prompt_id, "node_id": "3", "node_type": "KSampler", "executed": []}
            messages.append(["execution_interrupted", about])
            await self._tell(client, "execution_interrupted", **about)
        else:
            await self._tell(client, "executed", node=nodes[-1], output=self.outputs, prompt_id=prompt_id)
            messages.append(["execution_success", {"prompt_id": prompt_id}])
            await self._tell(client, "execution_success", prompt_id=prompt_id)
        good = self.stage == "success"
        self.history[prompt_id] = {
            "prompt": [1, prompt_id, told["prompt"], {}, []],
            "outputs": {nodes[-1]: self.outputs} if good else {},
            "status": {"status_str": "success" if good else "error", "completed": good, "messages": messages},
            "meta": {},
        }
        self.running.remove(prompt_id)
        await self._tell(client, "executing", node=None, prompt_id=prompt_id)

    async def _show(self, client: str, prompt_id: str, node: str) -> None:
        socket = self.sockets.get(client)
        if socket is None or socket.closed:
            return
        if self.with_metadata:
            about = json.dumps({"prompt_id": prompt_id, "node_id": node, "image_type": "image/jpeg"}).encode()
            await socket.send_bytes(struct.pack(">II", 4, len(about)) + about + self.preview)
        else:
            await socket.send_bytes(struct.pack(">II", 1, 1) + self.preview)
