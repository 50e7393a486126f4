"""A small service that works on jobs, and counts how often each was handed in; and a plugin that talks to it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PLUGIN = """
import asyncio, json, urllib.request
from lightfast.sdk import Artifact, Job, Model, Progress, Provider, ProviderError, Usage, hookimpl

BASE = "{base}"


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(BASE + path, data), timeout=60) as answer:
        return answer.read()


class Films(Provider):
    name = "films"
    description = "makes films by jobs"
    local = True

    def models(self):
        return [Model("slow", outputs=("video",), capabilities=("jobs",), free=True)]

    async def generate(self, request, bench):
        job = request.job
        if not job:
            key = request.idempotency_key
            job = (await bench.run(ask, "/submit", {{"prompt": request.prompt, "key": key}})).decode()
            yield Job(job)
        while True:
            try:
                state = json.loads(await bench.run(ask, "/poll/" + job))
            except OSError as error:
                raise ProviderError(str(error), kind="unavailable") from None
            yield Progress(state["fraction"], "rendering")
            if state["done"]:
                break
            await asyncio.sleep(0.02)
        yield Artifact("video/mp4", await bench.run(ask, "/film/" + job), "film.mp4")
        yield Usage(seconds=2.0)

    async def cancel(self, session, job):
        ask("/cancel/" + job, {{}})


@hookimpl
def lightfast_providers(config):
    return [Films()]
"""


class JobServer:
    """Runs in threads of this process; a job is done once `release` was called."""

    def __init__(self) -> None:
        self.submissions: list[dict[str, Any]] = []
        self.polls: Counter[str] = Counter()
        self.cancelled: list[str] = []
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _answer(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                if self.path == "/submit":
                    server.submissions.append(body)
                    self._answer(f"job-{len(server.submissions)}".encode())
                else:
                    server.cancelled.append(self.path.rpartition("/")[2])
                    self._answer(b"ok")

            def do_GET(self) -> None:
                _, what, job = self.path.split("/")
                if what == "poll":
                    server.polls[job] += 1
                    done = server.released.is_set()
                    self._answer(json.dumps({"fraction": 1.0 if done else 0.4, "done": done}).encode())
                else:
                    self._answer(b"film of " + job.encode())

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def plugin(self) -> str:
        """Return the source of the plugin that talks to it."""
        return PLUGIN.format(base=f"http://127.0.0.1:{self._http.server_address[1]}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(60)
