"""Renders templates: speaks to the process of `sandbox`, and ends it where it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from lightfast.core.errors import DeadlineExceeded, Exhausted, InvalidArgument, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.prompts.sandbox import MOST_LINE, MOST_OUTPUT, MOST_TEXT
from lightfast_link.value import Asset, Value

log = structlog.get_logger("lightfast.gateway")

RENDER_S = 5.0
"""How long one template may take."""
START_S = 30.0
"""How long the process may take to start."""
IDLE_S = 60.0
"""It ends when nothing was asked of it for so long."""
MOST_WAITING = 64
"""So many templates wait; one more is refused."""
MOST_ARGUMENTS = 256 * 1024
"""All arguments together, as JSON, in bytes."""
_STREAM_LIMIT = 8 * MOST_OUTPUT * 6
_REASONS = {
    "syntax": "TEMPLATE_SYNTAX",
    "undefined": "TEMPLATE_ARGUMENT",
    "forbidden": "TEMPLATE_FORBIDDEN",
    "too_much": "TEMPLATE_TOO_MUCH",
    "failed": "TEMPLATE_FAILED",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a template has made of its text and its system text."""

    text: str
    system: str


class Renderer:
    """Keeps one process while it is needed; one template at a time."""

    def __init__(self, tasks: TaskGroup, *, render_s: float = RENDER_S, idle_s: float = IDLE_S) -> None:
        self._tasks = tasks
        self._render_s = render_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._numbers = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pid(self) -> int:
        """The process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    async def names(self, text: str, system: str) -> tuple[str, ...]:
        """Return the arguments that a template takes; raise `InvalidArgument` (TEMPLATE_SYNTAX) with the line."""
        found = await self._ask({"do": "names", "text": text, "system": system})
        return tuple(found["names"])

    async def optional(self, text: str, system: str) -> tuple[str, ...]:
        """Return the arguments that may be left out: the template has a default for them, or asks whether they are."""
        found = await self._ask({"do": "names", "text": text, "system": system})
        return tuple(found["optional"])

    async def render(self, text: str, system: str, arguments: Mapping[str, Value]) -> Parts:
        """Return what a template makes of *arguments*.

        Raises `InvalidArgument` with the line (TEMPLATE_SYNTAX, TEMPLATE_ARGUMENT, TEMPLATE_FORBIDDEN, TEMPLATE_FAILED,
        TEMPLATE_TOO_MUCH), `DeadlineExceeded` (TEMPLATE_TOO_SLOW), `Exhausted`, `Unavailable`.
        """
        plain = {name: plain_value(value, name) for name, value in arguments.items()}
        size = len(json.dumps(plain))
        if size > MOST_ARGUMENTS:
            raise InvalidArgument(
                f"the arguments take {size} bytes, the most is {MOST_ARGUMENTS}",
                reason="TEMPLATE_ARGUMENT",
                field="arguments",
            )
        found = await self._ask({"do": "render", "text": text, "system": system, "arguments": plain})
        return Parts(found["texts"]["text"], found["texts"]["system"])

    async def close(self) -> None:
        """End the process."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        await self._end()

    # ---- one request
    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        for field in ("text", "system"):
            if len(request[field]) > MOST_TEXT:
                raise InvalidArgument(
                    f"the template has {len(request[field])} characters, the most is {MOST_TEXT}",
                    reason="TEMPLATE_TOO_MUCH",
                    field=field,
                )
        if self._waiting >= MOST_WAITING:
            raise Exhausted(f"{MOST_WAITING} templates wait already", reason="TEMPLATES_BUSY", retry_after=1.0)
        self._waiting += 1
        try:
            async with self._turn:
                answer = await self._exchange(request)
        finally:
            self._waiting -= 1
        if "error" in answer:
            raise _wrong(answer["error"])
        return answer

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._closed:
            raise Unavailable("the daemon is stopping", reason="STOPPING")
        if self._idle is not None:
            self._idle.cancel()
        number = next(self._numbers)
        line = json.dumps({"id": number, **request}).encode() + b"\n"
        if len(line) > MOST_LINE:
            raise InvalidArgument("the template and its arguments are too long", reason="TEMPLATE_TOO_MUCH")
        done = False
        try:
            process = await self._started()
            assert process.stdin is not None  # noqa: S101 — they are pipes
            assert process.stdout is not None  # noqa: S101
            async with asyncio.timeout(self._render_s):
                process.stdin.write(line)
                await process.stdin.drain()
                answer: dict[str, Any] = json.loads(await process.stdout.readline())
            done = answer["id"] == number
        except TimeoutError:
            raise DeadlineExceeded(
                f"the template was not done after {self._render_s:g} s: it may loop too much",
                reason="TEMPLATE_TOO_SLOW",
            ) from None
        except (OSError, ValueError, KeyError) as error:
            log.info("the process of templates ended at work", reason=repr(error))
            raise InvalidArgument(
                "the template broke the process that renders it: it may need too much memory, or nest too deep",
                reason="TEMPLATE_TOO_MUCH",
                field="text",
            ) from None
        finally:
            # Whatever went wrong, a cancelled wait included: its answer would be taken for the next one's.
            if done:
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
            else:
                await self._end()
        if not done:
            raise Unavailable("the process of templates answered another question: try again", reason="TEMPLATES_AWAY")
        return answer

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(Path(__file__).with_name("sandbox.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_STREAM_LIMIT,
            env=_environment(),
            start_new_session=os.name == "posix",
        )
        self._process = process
        assert process.stdout is not None  # noqa: S101 — it is a pipe
        try:
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self._end()
            raise Unavailable(
                "the process that renders templates does not start: is jinja2 installed?", reason="TEMPLATES_AWAY"
            )
        return process

    def _retire(self) -> None:
        if not self._turn.locked() and not self._closed:
            self._tasks.start(self._retired(), "templates")

    async def _retired(self) -> None:
        async with self._turn:
            if self._idle is None or self._idle.when() <= asyncio.get_running_loop().time():
                await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _environment() -> dict[str, str]:
    """Return the environment of the process: no keys, and what Windows cannot start without."""
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}


def plain_value(value: Value, name: str) -> Any:
    """Return *value* as JSON has it; an asset is a map of `uri`, `media_type`, `sha256` and `size`."""
    if isinstance(value, Asset):
        return {"uri": value.uri, "media_type": value.media_type, "sha256": value.sha256, "size": value.size}
    if isinstance(value, bytes | bytearray | memoryview):
        raise InvalidArgument(
            f"the argument {name!r} is bytes, which have no place in a text",
            reason="TEMPLATE_ARGUMENT",
            field=f"arguments.{name}",
        )
    if isinstance(value, dict):
        return {key: plain_value(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    return [plain_value(item, name) for item in value]


def _wrong(told: Mapping[str, Any]) -> InvalidArgument:
    where = f" in line {told['line']}" if told["line"] else ""
    if told["side"] == "system":
        where += " of the system text"
    return InvalidArgument(
        f"the template is wrong{where}: {told['message']}",
        reason=_REASONS.get(told["kind"], "TEMPLATE_FAILED"),
        field=told["side"],
        metadata={"line": str(told["line"])},
    )
