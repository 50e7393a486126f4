"""The process of an isolated plugin as the daemon sees it: started, spoken to, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import structlog

from lightfast.core.tasks import TaskGroup
from lightfast.host.discover import Candidate
from lightfast.host.pipe import (
    CREDIT,
    MOST_CALL,
    PipeError,
    frame,
    length,
    message,
    pack_request,
    pieces,
    unpack_error,
    unpack_result,
    unpack_step,
)
from lightfast.host.priority import CREATION_FLAGS, process_steps_back
from lightfast.host.spool import Place, Spool
from lightfast.sdk import GenerationRequest, PluginError, ProviderError, Step

log = structlog.get_logger("lightfast.host")

LOAD_TIMEOUT = 30.0
"""How long a child may take to load its plugin, in seconds."""
CANCEL_TIMEOUT = 5.0
"""A child that has not given a generation up by then is killed, in seconds."""
HANGUP_TIMEOUT = 1.0
"""How long a child may take to end after its input was closed, in seconds."""
GONE_TIMEOUT = 5.0
"""How long the end of a killed child is waited for, in seconds."""
MAX_ARTIFACT = 1 << 30
"""The largest artifact a child may send, in bytes."""
_LOG_LINE = 4096


class ChildFailed(PluginError):
    """The child could not load its plugin; *missing*: something has to be installed, *died*: its process did."""

    def __init__(self, reason: str, trace: str = "", *, missing: bool = False, died: bool = False) -> None:
        super().__init__(reason)
        self.trace = trace
        self.missing = missing
        self.died = died


class _Job:
    """One generation in the child, or one call of *method*. The credit bounds its queue; who exceeds it is ended.

    There is always room for the end itself, or whoever waits for that would wait for ever.
    """

    def __init__(self, method: str = "") -> None:
        self.method = method
        self.result: Any = None
        self.steps: asyncio.Queue[Step | ProviderError | None] = asyncio.Queue()
        self.content = bytearray()
        self.done = asyncio.Event()

    def add(self, step: Step) -> None:
        if self.steps.qsize() >= CREDIT + 2:
            raise PipeError(f"it sent more than the {CREDIT} steps it has credit for")
        self.steps.put_nowait(step)

    def end(self, error: ProviderError | None) -> None:
        if not self.done.is_set():
            self.done.set()
            self.steps.put_nowait(error)


class ChildProcess:
    """One child process; *ended* is set when it is gone, and `reason` then says why.

    A *heavy* one does one generation at a time; large contents go through a spool, not through the pipe.
    """

    def __init__(self, candidate: Candidate, config: Mapping[str, Any], *, heavy: bool = False) -> None:
        self._candidate = candidate
        self._config = config
        self._heavy = heavy
        self._spool: Spool | None = None
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

    @property
    def free(self) -> bool:
        """Say whether it is there and has nothing to do."""
        return not self._jobs and not self.ended.is_set()

    async def settled(self) -> None:
        """Wait until all that was under way has ended, or been given up."""
        for job in list(self._jobs.values()):
            await job.done.wait()

    async def start(self, tasks: TaskGroup) -> None:
        """Start it and wait until the plugin is loaded; raise `ChildFailed`."""
        name = self._candidate.name
        try:
            self._process = await self._spawn()
            if self._heavy:
                process_steps_back(self.pid)  # at once: to start takes a processor, too
            tasks.start(self._log(), f"log of {name}")
            answer = await self._hear_of_load()
        except BaseException as error:
            await self.kill()
            if isinstance(error, OSError):
                raise ChildFailed(f"its process cannot be started: {error}") from None
            raise
        if answer["t"] != "loaded":
            await self.kill()
            missing = bool(answer.get("missing"))
            raise ChildFailed(str(answer.get("reason", "")), str(answer.get("trace", "")), missing=missing)
        self.loaded = answer["providers"]
        if not self._heavy and any(fields.get("heavy") for fields in self.loaded):
            process_steps_back(self.pid)
        try:
            tasks.start(self._serve(), f"read from {name}")
        except RuntimeError:  # all was closed meanwhile
            await self.kill()
            raise

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._spool = Spool.opened() if self._heavy else None
        inherited = (self._spool.descriptor,) if self._spool is not None else ()
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "lightfast.host.child",
            *map(str, inherited),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            creationflags=CREATION_FLAGS if self._heavy else 0,
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
            raise ChildFailed(f"its process ended while it loaded ({self._exit()})", died=True) from None

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
                received = await self._read()
                if "spooled" in received:
                    received["content"] = await self._fetched(*received["spooled"])
                self._receive(received)
        except (PipeError, AttributeError, KeyError, TypeError, ValueError) as error:
            self.reason = f"it broke the protocol: {error}"
        except (asyncio.IncompleteReadError, OSError):
            pass  # it ended
        finally:
            try:
                await self.kill()
            finally:  # also where that is cut short: somebody may wait for these
                reason = self.reason = self.reason or f"its process ended ({self._exit()})"
                said = f"{reason}: it is restarted, try again"
                self.ended.set()
                for job in self._jobs.values():
                    job.end(ProviderError(said, retryable=True, reason="PLUGIN_CRASHED"))

    async def _fetched(self, at: int, size: int) -> bytes:
        if self._spool is None or not 0 <= size <= MAX_ARTIFACT:
            raise PipeError(f"it has no place for {size} bytes")
        return await asyncio.to_thread(self._spool.read, at, size)

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
            content, job.content = received.get("content") or bytes(job.content), bytearray()
            job.add(unpack_step(received["step"], content))
        elif kind == "result":
            job.result = unpack_result(job.method, received.get("value"))
        elif kind == "done":
            error = unpack_error(received) if "error" in received else None
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

    async def call(self, provider: str, method: str, args: Mapping[str, Any], timeout: float, tasks: TaskGroup) -> Any:
        """Call *method* of a provider in the child; raise `ProviderError`, `timeout` after *timeout* seconds."""
        if len(self._jobs) >= MOST_CALL:
            raise ProviderError(f"{MOST_CALL} calls are under way already: try again", kind="overloaded")
        number = next(self._numbers)
        job = self._jobs[number] = _Job(method)
        try:
            async with asyncio.timeout(timeout):
                self._send(t="call", id=number, provider=provider, method=method, args=args)
                error = await job.steps.get()
        except TimeoutError:
            if not job.done.is_set():
                raise ProviderError(f"{method} was not done after {timeout:g} s", kind="timeout") from None
            error = job.steps.get_nowait()  # it came with the deadline, as after a standstill
        finally:
            if job.done.is_set():
                del self._jobs[number]
            else:
                self._send(t="cancel", id=number)
                tasks.start(self._await_end(number, job), f"cancel {number}")
        if isinstance(error, ProviderError):
            raise error
        return job.result

    async def _order(self, number: int, provider: str, request: GenerationRequest) -> None:
        assert self._process is not None  # noqa: S101 — started
        assert self._process.stdin is not None  # noqa: S101 — it is a pipe
        places: list[Place | None] = [None] * len(request.sources)
        if self._spool is not None:
            places = await asyncio.to_thread(self._spool.begin, request.sources)
        self._send(t="generate", id=number, provider=provider, request=pack_request(request))
        try:
            for source, place in zip(request.sources, places, strict=True):
                if place is not None:
                    self._send(t="source", id=number, content=b"", last=True, spooled=place)
                    continue
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
            if not job.done.is_set():  # else it came with the deadline, as after a standstill
                self.reason = f"it did not give up a cancelled generation within {CANCEL_TIMEOUT:g} s"
                await self.kill()
        finally:
            job.done.set()  # for `settled`: from here on nobody else would
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
        """Hang up, and wait for its end; one that does not end by itself is killed, with what it has started."""
        process = self._process
        try:
            if process is not None:
                if process.stdin is not None:
                    process.stdin.close()
                try:
                    # A signal to a child that has just ended would lose its exit code, so it may end first.
                    async with asyncio.timeout(HANGUP_TIMEOUT):
                        await process.wait()
                except TimeoutError:
                    await _kill(process)
        except asyncio.CancelledError:  # whoever closes has a deadline, and what is closed must not outlive it
            if process is not None:
                _strike(process)
            raise
        finally:
            if self._spool is not None:
                await asyncio.to_thread(self._spool.close)


def _strike(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
            else:
                process.kill()


async def _kill(process: asyncio.subprocess.Process) -> None:
    _strike(process)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GONE_TIMEOUT):
            while process.returncode is None:  # noqa: ASYNC110 — there is no event for that alone
                await asyncio.sleep(0.01)
    # `wait` also waits for the pipes, and asyncio never sees the end of one that nobody reads any more, or that is held
    # open by something the plugin has started: without this it would wait for ever.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 — there is no public way to it
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GONE_TIMEOUT):
            await process.wait()
