"""The official `openai` SDK as the way to a server that speaks OpenAI's protocol.

Its connections, authentication, event decoder and errors are used; its retries are off. Answers are taken as plain
`dict` (`cast_to=object`, the SDK's way for endpoints without types): building its models for every chunk of a stream
would cost more than all the rest.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lightfast.sdk import MissingDependency, ProviderError, Session
from lightfast_providers._common import bounded
from lightfast_providers._common.clients import Clients
from lightfast_providers._common.offloop import is_loaded, loaded
from lightfast_providers._common.openai_errors import explain, hidden

if TYPE_CHECKING:
    import openai

DRAIN_S = 0.2
"""Seconds: a new connection costs about as much."""
SSE = "text/event-stream"
Files = Sequence[tuple[str, tuple[str, bytes, str]]]
"""Fields of a form that are files: name, and (file name, content, media type)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer and its headers."""

    payload: dict[str, Any]
    headers: Mapping[str, str]


class Wire:
    """Speaks to one service, for all its accounts. *extra* is what installs the SDK."""

    def __init__(self, service: str, base_url: str, extra: str, most_bytes: Callable[[], int]) -> None:
        self._service, self._base_url, self._extra, self._most_bytes = service, base_url, extra, most_bytes
        self._clients: Clients[openai.AsyncOpenAI] = Clients(self._make, _end)
        self._prepared = False

    async def close(self) -> None:
        """Close every connection."""
        await self._clients.close()

    async def _ready(self) -> None:
        if not self._prepared:
            await loaded("httpx2", "openai")
            await asyncio.to_thread(bounded.trust, modules(self._extra)[1])
            self._prepared = True
        await self._clients.tidy()

    def _make(self, session: Session) -> openai.AsyncOpenAI:
        sdk, http = modules(self._extra)
        key = session.key.reveal()
        known: dict[str, Any] = {name: sdk.Omit() for name in bounded.TOLD_ALWAYS}
        for option, header in (("organization", "OpenAI-Organization"), ("project", "OpenAI-Project")):
            # Given or not, never taken from the environment: that may be meant for another service.
            known[header] = str(session.options[option]) if session.options.get(option) else sdk.Omit()
        made: openai.AsyncOpenAI = sdk.AsyncOpenAI(
            api_key=key or "none",
            base_url=session.base_url or self._base_url,
            max_retries=0,
            default_headers=known,
            http_client=bounded.client(http, self._service, self._most_bytes),
        )
        return made

    @contextmanager
    def lend(self, session: Session) -> Iterator[openai.AsyncOpenAI]:
        """Lend the SDK's client; what it raises comes out as `ProviderError`."""
        with self._clients.lend(session) as client, self.reading(session):
            yield client

    @asynccontextmanager
    async def stream(
        self,
        session: Session,
        path: str,
        body: Mapping[str, Any],
        timeout: float,
        files: Files = (),
        *,
        passed_over: Container[str] = (),
    ) -> AsyncIterator[Any]:
        """Post *body* and open the stream of events, each a `dict`; `stream.response.headers` are the headers.

        Events whose names are in *passed_over* are not even decoded.
        """
        await self._ready()
        sdk, _ = modules(self._extra)
        with self.lend(session) as client:
            events = await client.post(
                path,
                body=body,
                cast_to=object,
                files=list(files) or None,
                options=self._options(session, timeout, files),
                stream=True,
                stream_cls=_events_class(sdk),
            )
            events.passed_over = passed_over
            try:
                said = events.response.headers.get("content-type", "")
                if not said.startswith(SSE):
                    raise self.malformed(f"it sent {said or 'nothing'} instead of a stream of events")
                yield events
                if not events.ended:
                    await _drain(events)
            finally:
                await events.response.aclose()

    async def ask(
        self,
        session: Session,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float,
        files: Files = (),
    ) -> Answer:
        """Post *body* (with *files* as a form), or get where there is none, and return the JSON object that came."""
        content, headers = await self.fetch(session, path, body, timeout=timeout, files=files)
        return self.decoded(content, headers)

    async def fetch(
        self,
        session: Session,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float,
        files: Files = (),
    ) -> tuple[bytes, Mapping[str, str]]:
        """Do as `ask`, and return the bytes that came, with their headers."""
        await self._ready()
        _, http = modules(self._extra)
        with self.lend(session) as client:
            options = self._options(session, timeout, files)
            if body is None:
                response = await client.get(path, cast_to=http.Response, options=options)
            else:
                response = await client.post(
                    path, body=body, files=list(files) or None, cast_to=http.Response, options=options
                )
            return response.content, response.headers

    def _options(self, session: Session, timeout: float, files: Files) -> Any:
        sdk, http = modules(self._extra)
        # Not even made: they would be half of the headers of a request, each checked four times on its way.
        headers: dict[str, Any] = {name: sdk.Omit() for name in bounded.TOLD_EACH}
        if files:
            headers["Content-Type"] = "multipart/form-data"
        if not session.key:
            headers["Authorization"] = sdk.Omit()  # the SDK insists on hearing that there is none
        return {"timeout": bounded.timeouts(http, timeout), "headers": headers}

    def decoded(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the JSON object that an answer is."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            said = headers.get("content-type", "nothing")
            raise self.malformed(f"it sent {said}, {len(content)} bytes that are no JSON") from None
        if not isinstance(found, dict):
            raise self.malformed(f"it sent a JSON {type(found).__name__} instead of an object")
        return Answer(found, headers)

    def malformed(self, what: str) -> ProviderError:
        """Return the error for an answer that cannot be read."""
        return ProviderError(
            f"{self._service} gave an answer that cannot be read: {what}; see whether its address is right",
            kind="malformed",
        )

    def unfinished(self) -> ProviderError:
        """Return the error for a stream that ended before its answer did."""
        return ProviderError(f"{self._service} ended the stream before the answer was whole", kind="unavailable")

    def refused(
        self, session: Session, body: object, headers: Mapping[str, str] | None = None, *, status: int = 0
    ) -> ProviderError:
        """Return the error that a stream or a job tells by its body."""
        return explain(self._service, session, status=status, body=body, headers=headers)

    @contextmanager
    def reading(self, session: Session) -> Iterator[None]:
        """Turn what the SDK raises, and what an answer of another shape leads to, into `ProviderError`."""
        try:
            yield
        except _raised() as error:  # looked up when something was raised: the SDK may not be loaded yet
            # Without what the SDK raised: its text repeats what the service said, and that may hold the key.
            raise self._explained(error, session) from None
        except (ValueError, RecursionError):
            raise self.malformed("it is no JSON, or no text") from None
        except (AttributeError, TypeError, LookupError) as error:
            raise self.malformed(f"it has another shape ({error})") from error

    def _explained(self, error: Exception, session: Session) -> ProviderError:
        wrapped = bounded.found_in(error)
        if wrapped is not None:
            return wrapped
        sdk, http = modules(self._extra)
        service = self._service
        if isinstance(error, (sdk.APITimeoutError, http.TimeoutException)):
            return ProviderError(f"{service} did not answer in time", kind="timeout")
        if isinstance(error, sdk.APIStatusError):
            return explain(
                service,
                session,
                status=error.status_code,
                body=error.body,
                headers=error.response.headers,
                message=f"no reason ({error.response.headers.get('content-type', 'nothing')})",
            )
        if isinstance(error, (sdk.APIConnectionError, http.RequestError)):
            why = error.__cause__ or error
            said = hidden(f"{type(why).__name__}: {why}", session)
            return ProviderError(f"{service} cannot be reached or broke off: {said}", kind="unavailable")
        if isinstance(error, sdk.APIResponseValidationError):
            return self.malformed("it has another shape")
        if isinstance(error, sdk.APIError):  # an error event within a stream
            return explain(service, session, body=error.body, message=error.message)
        return ProviderError(f"{service}: {hidden(str(error), session)}", kind="failed")


@functools.lru_cache(maxsize=1)
def _events_class(sdk: ModuleType) -> Any:
    base: Any = sdk.AsyncStream[object]

    class Events(base):  # type: ignore[misc]  # the base is known when the SDK is
        """The SDK's stream, read to its end: *ended* says that it was.

        The SDK's own leaves five generators in the middle of it to the interpreter, which has the loop close each in a
        task: that took as long as sending the request.
        """

        ended = False
        passed_over: Container[str] = ()

        def __aiter__(self) -> AsyncIterator[Any]:
            found: AsyncIterator[Any] = self._iterator
            return found

        async def __stream__(self) -> AsyncIterator[Any]:
            async with aclosing(self._iter_events()) as events:
                async for event in events:
                    if event.data.startswith("[DONE]"):
                        await _drain(events)
                        break
                    if event.event in self.passed_over:
                        continue
                    found = event.json()
                    error = found.get("error") if isinstance(found, dict) else None
                    if error:
                        said = error.get("message") if isinstance(error, dict) else None
                        message = said if said and isinstance(said, str) else "it broke off without a reason"
                        raise sdk.APIError(message=message, request=self.response.request, body=error)
                    yield found
            self.ended = True

    return Events


async def _drain(events: AsyncIterator[Any]) -> None:
    """Read what follows the last event, so that the connection can be used again; not for long."""
    with suppress(Exception):
        async with asyncio.timeout(DRAIN_S):
            async for _ in events:
                pass


async def _end(client: openai.AsyncOpenAI) -> None:
    await client.close()


def _raised() -> tuple[type[Exception], ...]:
    """Return what the SDK and its HTTP client raise; nothing while they are not loaded."""
    if not is_loaded("httpx2", "openai"):
        return ()
    import httpx2
    import openai

    return (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL)


def modules(extra: str) -> tuple[ModuleType, ModuleType]:
    """Return `openai` and `httpx2`, loaded with the first request; raises `MissingDependency`."""
    try:
        import httpx2
        import openai
    except ModuleNotFoundError as error:
        raise MissingDependency(str(error.name), install_line(extra)) from None
    return openai, httpx2


def install_line(extra: str) -> str:
    """Return the line that installs an extra."""
    return f"pip install 'lightfast[{extra}]'"
