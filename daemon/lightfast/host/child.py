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
from typing import Any, BinaryIO, NoReturn, TypeVar

from lightfast.host.discover import Candidate
from lightfast.host.guard import failure_of, guarded, guarded_await
from lightfast.host.loader import call_hooks, import_plugin, manager
from lightfast.host.pipe import (
    CREDIT,
    PipeError,
    frame,
    length,
    message,
    pack_error,
    pack_model,
    pack_step,
    pieces,
    unpack_embedding,
    unpack_request,
    unpack_session,
)
from lightfast.host.spool import Spool
from lightfast.sdk import Artifact, GenerationRequest, PluginError, Provider, ProviderError, Step

T = TypeVar("T")


class Bench:
    """The workbench of this process: the loop's own threads."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run *function* in a thread."""
        return await asyncio.to_thread(function, *args)


class Child:
    """Serves the daemon until it hangs up."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, spool: Spool | None = None) -> None:
        self._source, self._sink, self._spool = source, sink, spool
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
        threading.Thread(target=self._listen, name="lightfast-listen", daemon=True).start()
        self._load(first)  # while somebody listens: a daemon that is killed now must not leave it behind
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
                    "needs_key": provider.needs_key,
                    "key_names": list(provider.key_names),
                    "tiers": {name: [list(limit) for limit in limits] for name, limits in provider.tiers.items()},
                    "price_provider": provider.price_provider,
                    "heavy": provider.heavy,
                    "models": [pack_model(model) for model in models],
                }
                for provider, models in brought.providers
            ]

        outcome = guarded(load)
        if outcome.error is not None:
            failure = failure_of(outcome.error)
            self._send(t="failed", reason=failure.reason, trace=failure.trace, missing=failure.missing)
            _end()
        self._send(t="loaded", providers=outcome.value)

    def _receive(self, received: dict[str, Any]) -> None:
        kind, number = received["t"], received.get("id", 0)
        if kind == "generate":
            self._requests[number] = (received, [bytearray()])
        elif kind == "source":
            sources = self._requests[number][1]
            place = received.get("spooled")
            sources[-1] += received["content"] if place is None or self._spool is None else self._spool.read(*place)
            if received["last"]:
                sources.append(bytearray())
        elif kind == "go":
            order, sources = self._requests.pop(number)
            self._credit[number] = asyncio.Semaphore(CREDIT)
            work = self._generate(number, order, tuple(bytes(source) for source in sources[:-1]))
            self._running[number] = self._loop.create_task(work)
        elif kind == "call":
            self._running[number] = self._loop.create_task(self._call(number, received))
        elif kind == "credit" and number in self._credit:
            self._credit[number].release()
        elif kind == "cancel" and number in self._running:
            self._running[number].cancel()
        elif kind == "cancel":  # it was given up before all of it was here, or has just ended: that is told twice then
            self._requests.pop(number, None)
            self._done(number, asyncio.CancelledError())

    async def _generate(self, number: int, order: dict[str, Any], sources: tuple[bytes, ...]) -> None:
        request = unpack_request(order["request"], sources)
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
                place = self._spool.write(step.content) if self._spool and isinstance(step, Artifact) else None
                if place is not None:
                    self._send(t="step", id=number, step=pack_step(step), spooled=place)
                    continue
                if isinstance(step, Artifact):
                    for piece in pieces(step.content):
                        self._send(t="piece", id=number, content=piece)
                self._send(t="step", id=number, step=pack_step(step))
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                await close()

    async def _call(self, number: int, order: dict[str, Any]) -> None:
        error: BaseException | None = None
        try:
            outcome = await guarded_await(self._answer(self._providers[order["provider"]], order))
            error = outcome.error
            if error is None:
                self._send(t="result", id=number, value=outcome.value)
        except asyncio.CancelledError as cancelled:
            error = cancelled
        except (TypeError, ValueError, PipeError) as unsendable:
            error = ProviderError(f"what it returned cannot be sent: {unsendable}", kind="malformed")
        finally:
            del self._running[number]
        self._done(number, error)

    async def _answer(self, provider: Provider, order: dict[str, Any]) -> Any:
        method, args = order["method"], order["args"]
        if method == "probe":
            return await provider.probe(unpack_session(args["session"]))
        if method == "cancel":
            return await provider.cancel(unpack_session(args["session"]), args["job"])
        if method == "embed":
            return await provider.embed(unpack_embedding(args["request"]), Bench())
        if method == "count_tokens":
            return await provider.count_tokens(unpack_request(args["request"]))
        if method == "discover":
            found = await provider.discover(unpack_session(args["session"]))
            return None if found is None else [pack_model(model) for model in found]
        raise ProviderError(f"there is no method {method!r}", kind="invalid")

    def _done(self, number: int, error: BaseException | None) -> None:
        if error is None:
            self._send(t="done", id=number)
        elif isinstance(error, ProviderError):
            self._send(t="done", id=number, **pack_error(error))
        elif isinstance(error, asyncio.CancelledError):
            self._send(t="done", id=number, error="it was cancelled", retryable=True, reason="CANCELLED")
        else:
            failure = failure_of(error)
            if not isinstance(error, PluginError):  # one that was not raised on purpose: where it was is worth a look
                sys.stderr.write(failure.trace)
                sys.stderr.flush()
            reason = "PLUGIN_UNAVAILABLE" if failure.missing else "PROVIDER_FAILED"
            self._send(t="done", id=number, error=failure.reason, retryable=False, reason=reason)


def main() -> None:
    """Keep the real stdout for the daemon, give the plugin stderr instead, and serve."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        Child(sys.stdin.buffer, sink, Spool(int(sys.argv[1])) if sys.argv[1:] else None).serve()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        _end()


def _end() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)  # Python's own end would break on the thread that listens


if __name__ == "__main__":
    main()
