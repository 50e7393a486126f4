"""The process of one isolated plugin: `python -m lightfast.host.child`, spoken to over stdin and stdout.

Reading happens in a thread: when the daemon is gone the process ends, even while the plugin
blocks its own loop. What the plugin prints goes to stderr, which the daemon logs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from lightfast.host.discover import Candidate
from lightfast.host.guard import failure_of, guarded, guarded_await
from lightfast.host.loader import call_hooks, import_plugin, manager
from lightfast.host.pipe import (
    CREDIT,
    PipeError,
    frame,
    length,
    message,
    pack_model,
    pack_step,
    pieces,
    unpack_settings,
)
from lightfast.sdk import Artifact, GenerationRequest, Provider, ProviderError, Step

T = TypeVar("T")


class Bench:
    """The workbench of this process: the loop's own threads."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run *function* in a thread."""
        return await asyncio.to_thread(function, *args)


class Child:
    """Serves the daemon until it hangs up."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._providers: dict[str, Provider] = {}
        self._requests: dict[int, tuple[dict[str, Any], list[bytearray]]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._loop = asyncio.new_event_loop()

    def serve(self) -> None:
        """Load the plugin that the first message names, then generate until the end of input."""
        first = self._read()
        if first is None or first["t"] != "load":
            raise PipeError("the first message must be load")
        self._load(first)
        threading.Thread(target=self._listen, name="lightfast-listen", daemon=True).start()
        self._loop.run_forever()

    def _read(self) -> dict[str, Any] | None:
        head = self._source.read(4)
        if len(head) < 4:
            return None
        body = self._source.read(length(head))
        return message(body)

    def _listen(self) -> None:
        while (received := self._read()) is not None:
            self._loop.call_soon_threadsafe(self._receive, received)
        os._exit(0)  # the daemon is gone: nothing here is of use to anybody

    def _send(self, **fields: Any) -> None:
        # A full pipe blocks here: the daemon reads all the time, and grants credit for steps.
        self._sink.write(frame(fields))
        self._sink.flush()

    def _load(self, order: dict[str, Any]) -> None:
        path = Path(order["target"]) if order["is_file"] else None
        candidate = Candidate(order["name"], order["target"], module="" if path else order["target"], path=path)
        plugins = manager()

        def load() -> list[dict[str, Any]]:
            module = import_plugin(candidate, 1)
            plugins.register(module, candidate.name)
            brought = call_hooks(plugins, module, order["config"])
            self._providers = {provider.name: provider for provider, _ in brought.providers}
            return [
                {
                    "name": provider.name,
                    "description": provider.description,
                    "local": provider.local,
                    "models": [pack_model(model) for model in models],
                }
                for provider, models in brought.providers
            ]

        outcome = guarded(load)
        if outcome.error is not None:
            failure = failure_of(outcome.error)
            self._send(t="failed", reason=failure.reason, trace=failure.trace, missing=failure.missing)
            sys.exit(1)
        self._send(t="loaded", providers=outcome.value)

    def _receive(self, received: dict[str, Any]) -> None:
        kind, number = received["t"], received.get("id", 0)
        if kind == "generate":
            self._requests[number] = (received, [bytearray()])
        elif kind == "source":
            sources = self._requests[number][1]
            sources[-1] += received["content"]
            if received["last"]:
                sources.append(bytearray())
        elif kind == "go":
            order, sources = self._requests.pop(number)
            self._credit[number] = asyncio.Semaphore(CREDIT)
            work = self._generate(number, order, tuple(bytes(source) for source in sources[:-1]))
            self._running[number] = self._loop.create_task(work)
        elif kind == "credit" and number in self._credit:
            self._credit[number].release()
        elif kind == "cancel" and number in self._running:
            self._running[number].cancel()

    async def _generate(self, number: int, order: dict[str, Any], sources: tuple[bytes, ...]) -> None:
        fields = order["request"]
        request = GenerationRequest(**{**fields, "settings": unpack_settings(fields["settings"]), "sources": sources})
        error: BaseException | None = None
        try:
            outcome = await guarded_await(self._drive(number, self._providers[order["provider"]], request))
            error = outcome.error
        except asyncio.CancelledError as cancelled:
            error = cancelled
        finally:
            del self._running[number], self._credit[number]
        self._done(number, error)

    async def _drive(self, number: int, provider: Provider, request: GenerationRequest) -> None:
        steps: AsyncIterator[Step] = provider.generate(request, Bench())
        try:
            async for step in steps:
                await self._credit[number].acquire()
                if isinstance(step, Artifact):
                    for piece in pieces(step.content):
                        self._send(t="piece", id=number, content=piece)
                self._send(t="step", id=number, step=pack_step(step))
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                await close()

    def _done(self, number: int, error: BaseException | None) -> None:
        if error is None:
            self._send(t="done", id=number)
        elif isinstance(error, ProviderError):
            self._send(t="done", id=number, error=str(error), retryable=error.retryable, reason=error.reason)
        elif isinstance(error, asyncio.CancelledError):
            self._send(t="done", id=number, error="it was cancelled", retryable=True, reason="CANCELLED")
        else:
            reason = failure_of(error).reason
            self._send(t="done", id=number, error=reason, retryable=False, reason="PROVIDER_FAILED")


def main() -> None:
    """Keep the real stdout for the daemon, give the plugin stderr instead, and serve."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Child(sys.stdin.buffer, sink).serve()


if __name__ == "__main__":
    main()
