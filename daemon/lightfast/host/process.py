"""The process of an isolated plugin as the daemon sees it: started, spoken to, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import structlog

from lightfast.core.tasks import TaskGroup
from lightfast.host.discover import Candidate
from lightfast.host.pipe import (
    CREDIT,
    PipeError,
    frame,
    length,
    message,
    pack_settings,
    pieces,
    unpack_step,
)
from lightfast.sdk import GenerationRequest, PluginError, ProviderError, Step

log = structlog.get_logger("lightfast.host")

LOAD_TIMEOUT = 30.0
"""How long a child may take to load its plugin, in seconds."""
CANCEL_TIMEOUT = 5.0
"""A child that has not given a generation up by then is killed, in seconds."""
HANGUP_TIMEOUT = 1.0
"""How long a child may take to end after its input was closed, in seconds."""
MAX_ARTIFACT = 1 << 30
"""The largest artifact a child may send, in bytes."""
_LOG_LINE = 4096


class ChildFailed(PluginError):
    """The child could not load its plugin; *missing* says that something has to be installed."""

    def __init__(self, reason: str, trace: str = "", *, missing: bool = False) -> None:
        super().__init__(reason)
        self.trace = trace
        self.missing = missing


class _Job:
    """One generation in the child. Its queue is bounded by the credit, so it never fills."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Step | ProviderError | None] = asyncio.Queue(CREDIT + 2)
        self.content = bytearray()
        self.done = asyncio.Event()

    def end(self, error: ProviderError | None) -> None:
        if not self.done.is_set():
            self.done.set()
            self.steps.put_nowait(error)


class ChildProcess:
    """One child process; *ended* is set when it is gone, and `reason` then says why."""

    def __init__(self, candidate: Candidate, config: Mapping[str, Any]) -> None:
        self._candidate = candidate
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count(1)
        self.reason = ""
        self.loaded: list[dict[str, Any]] = []
        self.ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    async def start(self, tasks: TaskGroup) -> None:
        """Start it and wait until the plugin is loaded; raise `ChildFailed`."""
        name = self._candidate.name
        try:
            self._process = await self._spawn()
        except OSError as error:
            raise ChildFailed(f"its process cannot be started: {error}") from None
        tasks.start(self._log(), f"log of {name}")
        try:
            answer = await self._hear_of_load()
        except BaseException:
            await self.kill()
            raise
        if answer["t"] != "loaded":
            await self.kill()
            missing = bool(answer.get("missing"))
            raise ChildFailed(str(answer.get("reason", "")), str(answer.get("trace", "")), missing=missing)
        self.loaded = answer["providers"]
        tasks.start(self._serve(), f"read from {name}")

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "lightfast.host.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=os.name == "posix",  # an interrupt at the terminal is for the daemon to handle
        )

    async def _hear_of_load(self) -> dict[str, Any]:
        target = self._candidate.path or self._candidate.module
        is_file = self._candidate.path is not None
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                self._send(
                    t="load",
                    name=self._candidate.name,
                    target=str(target),
                    is_file=is_file,
                    config=dict(self._config),
                )
                return await self._read()
        except TimeoutError:
            raise ChildFailed(f"it did not load within {LOAD_TIMEOUT:g} s") from None
        except (PipeError, OSError, asyncio.IncompleteReadError):
            await self.kill()
            raise ChildFailed(f"its process ended while it loaded ({self._exit()})") from None

    async def _read(self) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101 — started
        assert self._process.stdout is not None  # noqa: S101 — it is a pipe
        size = length(await self._process.stdout.readexactly(4))
        return message(await self._process.stdout.readexactly(size))

    def _send(self, **fields: Any) -> None:
        if self._process is not None and self._process.stdin is not None and not self.ended.is_set():
            self._process.stdin.write(frame(fields))

    async def _serve(self) -> None:
        try:
            while True:
                self._receive(await self._read())
        except (PipeError, asyncio.QueueFull, KeyError, TypeError, ValueError) as error:
            self.reason = f"it broke the protocol: {error}"
        except (asyncio.IncompleteReadError, OSError):
            pass  # it ended
        finally:
            await self.kill()
            reason = self.reason or f"its process ended ({self._exit()})"
            self.reason = reason
            self.ended.set()
            for job in self._jobs.values():
                job.end(ProviderError(f"{reason}: it is restarted, try again", retryable=True, reason="PLUGIN_CRASHED"))

    def _receive(self, received: dict[str, Any]) -> None:
        job = self._jobs.get(received.get("id", 0))
        if job is None:
            return  # given up meanwhile
        kind = received["t"]
        if kind == "piece":
            job.content += received["content"]
            if len(job.content) > MAX_ARTIFACT:
                raise PipeError(f"an artifact exceeds {MAX_ARTIFACT} bytes")
        elif kind == "step":
            content, job.content = bytes(job.content), bytearray()
            job.steps.put_nowait(unpack_step(received["step"], content))
        elif kind == "done":
            error = None
            if "error" in received:
                error = ProviderError(
                    received["error"], retryable=bool(received["retryable"]), reason=str(received["reason"])
                )
            job.end(error)

    async def generate(self, provider: str, request: GenerationRequest, tasks: TaskGroup) -> AsyncGenerator[Step, None]:
        """Run one generation in the child; closing the iterator cancels it there."""
        number = next(self._numbers)
        job = self._jobs[number] = _Job()
        try:
            await self._order(number, provider, request)
            while (step := await job.steps.get()) is not None:
                if isinstance(step, ProviderError):
                    raise step
                self._send(t="credit", id=number)
                yield step
        finally:
            if job.done.is_set():
                del self._jobs[number]
            else:
                self._send(t="cancel", id=number)
                tasks.start(self._await_end(number, job), f"cancel {number}")

    async def _order(self, number: int, provider: str, request: GenerationRequest) -> None:
        assert self._process is not None  # noqa: S101 — started
        assert self._process.stdin is not None  # noqa: S101 — it is a pipe
        fields = {
            "model": request.model,
            "output": request.output,
            "prompt": request.prompt,
            "settings": pack_settings(request.settings),
            "seed": request.seed,
        }
        self._send(t="generate", id=number, provider=provider, request=fields)
        try:
            for source in request.sources:
                parts = list(pieces(source))
                for index, part in enumerate(parts):
                    self._send(t="source", id=number, content=part, last=index == len(parts) - 1)
                    await self._process.stdin.drain()
            self._send(t="go", id=number)
            await self._process.stdin.drain()
        except OSError as error:
            raise ProviderError(
                f"its process does not listen: {error}", retryable=True, reason="PLUGIN_CRASHED"
            ) from None

    async def _await_end(self, number: int, job: _Job) -> None:
        # Steps that are still on their way need room, or a late one would look like a broken protocol.
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT):
                while not job.done.is_set():
                    await job.steps.get()
        except TimeoutError:
            self.reason = f"it did not give up a cancelled generation within {CANCEL_TIMEOUT:g} s"
            await self.kill()
        finally:
            self._jobs.pop(number, None)

    async def _log(self) -> None:
        assert self._process is not None  # noqa: S101 — started
        assert self._process.stderr is not None  # noqa: S101 — it is a pipe
        while chunk := await self._process.stderr.read(_LOG_LINE):
            for line in chunk.decode("utf-8", "replace").splitlines():
                log.info("an isolated plugin says", plugin=self._candidate.name, line=line)

    def _exit(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return "exit code unknown"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def kill(self) -> None:
        """Hang up, and wait for its end; one that does not end by itself is killed."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            # A signal to a child that has just ended would lose its exit code, so it may end first.
            async with asyncio.timeout(HANGUP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
