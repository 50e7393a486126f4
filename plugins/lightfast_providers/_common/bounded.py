"""HTTP clients whose answers have a bound, for `httpx2` and `httpx` alike; the module is imported by who uses it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

from lightfast.sdk import ProviderError

MOST_BYTES = 64 * 1024 * 1024
"""The usual bound of one answer: text and vectors stay far below; a picture or minutes of sound fit."""
CONNECT_S = 10.0
"""Seconds in which a connection must stand."""
MOST_CONNECTIONS = 64
_MACHINE = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
TOLD_ALWAYS = tuple(f"X-Stainless-{name}" for name in _MACHINE)
"""The headers in which an SDK tells every server about this machine and the program; spelt as SDKs spell them."""
TOLD_EACH = ("X-Stainless-Retry-Count", "X-Stainless-Read-Timeout")
"""What it tells with each request."""
TOLD = frozenset(name.lower() for name in (*TOLD_ALWAYS, *TOLD_EACH, "X-Stainless-Timeout"))
"""All that is left out. Other headers of this form an SDK reads again, when the answer comes."""


def options(module: ModuleType, service: str, most_bytes: Callable[[], int]) -> dict[str, Any]:
    """Return the arguments of a `module.AsyncClient` that reads no more than *most_bytes* of one answer.

    Beyond them `ProviderError` is raised, of the kind `too_large`; an SDK may wrap it, see `found_in`. Answers come
    uncompressed, so that the bytes on the wire are those in memory. Redirects are not followed: the key goes to nobody
    else. Proxies of the environment are used, but not for this machine itself. What SDKs tell each server about the
    machine they run on (`X-Stainless-OS` and the like) is left out: it is nobody's business.
    """
    bounded = _stream_class(module)

    async def bound(response: Any) -> None:
        most = most_bytes()
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise ProviderError(f"{service} sent a compressed answer that nobody asked for", kind="malformed")
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            await response.aclose()
            raise too_large(service, most)
        response.stream = bounded(response.stream, service, most)

    async def discreet(request: Any) -> None:
        for name in [name for name in request.headers if name in TOLD]:
            del request.headers[name]

    return {
        "headers": {"Accept-Encoding": "identity"},
        "follow_redirects": False,
        "limits": module.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=16, keepalive_expiry=30.0),
        "event_hooks": {"request": [discreet], "response": [bound]},
        "mounts": {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
    }


def client(module: ModuleType, service: str, most_bytes: Callable[[], int]) -> Any:
    """Return a `module.AsyncClient` with `options`."""
    made = module.AsyncClient(verify=trust(module), **options(module, service, most_bytes))
    for transport in (getattr(made, "_transport", None), *getattr(made, "_mounts", {}).values()):
        _close_all(getattr(transport, "_pool", None))
    return made


def _close_all(pool: Any) -> None:
    """Let *pool* close all connections that it has let go of, also where who was to do it is cancelled meanwhile.

    It does so before it sends the next request, and shields that from a cancellation of AnyIO, but from none of
    asyncio: those that were left would stay open until they are collected.
    """
    close = getattr(pool, "_close_connections", None)
    if close is None:
        return
    closing: set[asyncio.Future[None]] = set()

    async def whole(connections: list[Any]) -> None:
        if connections:
            task = asyncio.ensure_future(close(connections))
            closing.add(task)
            task.add_done_callback(closing.discard)
            await asyncio.shield(task)

    pool._close_connections = whole  # noqa: SLF001 — there is no other way in


@functools.lru_cache(maxsize=4)
def trust(module: ModuleType) -> Any:
    """Return what is trusted with TLS, the same for all clients: to read it takes 40 ms, so best in a thread before."""
    return module.create_ssl_context()


def timeouts(module: ModuleType, seconds: float) -> Any:
    """Return the `module.Timeout` of one request: *seconds* for each wait, and no longer than usual to connect."""
    return module.Timeout(max(0.05, seconds), connect=min(max(0.05, seconds), CONNECT_S))


def too_large(service: str, most: int) -> ProviderError:
    """Return the error for an answer beyond *most* bytes."""
    said = f"{service} sent more than {most / 1e6:.1f} MB for one answer, the most that is read: ask for less"
    return ProviderError(said, kind="too_large")


def found_in(error: BaseException) -> ProviderError | None:
    """Return the `ProviderError` that an SDK has wrapped, where there is one."""
    seen: BaseException | None = error
    for _ in range(16):
        if seen is None:
            return None
        if isinstance(seen, ProviderError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


@functools.lru_cache(maxsize=4)
def _stream_class(module: ModuleType) -> Any:
    base: Any = module.AsyncByteStream

    class BoundedStream(base):  # type: ignore[misc]  # the base is known when the module is
        """Counts what is read."""

        def __init__(self, inner: Any, service: str, most: int) -> None:
            self._inner, self._service, self._most = inner, service, most

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = self._most
            async for part in self._inner:
                left -= len(part)
                if left < 0:
                    raise too_large(self._service, self._most)
                yield part

        async def aclose(self) -> None:
            """Close the connection, or give it back when all was read."""
            await self._inner.aclose()

    return BoundedStream
