"""Ollama as a provider, over its own API: lines of JSON, no event stream. The SDK is loaded with the first request."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    Condition,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerationRequest,
    MissingDependency,
    Model,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast_providers._common import bounded
from lightfast_providers._common.clients import Clients
from lightfast_providers._common.offloop import prepared
from lightfast_providers._common.rest import is_loopback
from lightfast_providers._common.sdk import asking
from lightfast_providers.ollama import models
from lightfast_providers.ollama.failures import SERVICE, explained, unreadable

if TYPE_CHECKING:
    import httpx
    from ollama import AsyncClient

INSTALL = "pip install 'lightfast[ollama]'"
HOME = "http://127.0.0.1:11434"
DISCOVERY_S = 5.0
"""Seconds in which models are asked what they can; those left are guessed by their names."""
SEEDS = 2**31
"""Seeds are taken modulo this: the runner keeps 32 bits."""
ASKING_S = 15.0
_WAIT: ContextVar[float] = ContextVar("ollama_wait", default=ASKING_S)


class Ollama(Provider):
    """The models of an Ollama server. What they think is not passed on.

    The tokens of a prompt that Ollama had in its memory are not always told (`prompt_eval_count` is missing then): they
    are left out of the usage, not guessed.
    """

    name = "ollama"
    description = "Ollama: models of this machine. Get one with `ollama pull NAME`."
    key_names = ("OLLAMA_API_KEY",)

    def __init__(self, base_url: str = "") -> None:
        """*base_url* is where it is, unless the account says."""
        self.most_bytes = bounded.MOST_BYTES
        self._home = base_url or HOME
        self.local = is_loopback(self._home)
        self._clients: Clients[AsyncClient] = Clients(self._make, _end)

    def models(self) -> Sequence[Model]:
        """Return none: which there are says the machine, see `discover`."""
        return ()

    def model(self, name: str) -> Model | None:
        """Return a model of any name; whether it is there shows when it is asked."""
        return models.guessed(name, local=self.local)

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Return the models that are there, with what they can and their windows."""
        found = []
        until = asyncio.get_running_loop().time() + DISCOVERY_S
        async with self._asking(session, "") as client:
            listed: Any = await _in_time(client._request(_listing(), "GET", "/api/tags"), ASKING_S)  # noqa: SLF001
            for name, host in [(each.model, each.remote_host or "") for each in listed.models if each.model]:
                if asyncio.get_running_loop().time() > until:
                    found.append(models.guessed(name, local=self.local, host=host))
                else:
                    found.append(await self._described(client, name, host))
        return found

    async def _described(self, client: AsyncClient, name: str, host: str) -> Model:
        from ollama import ResponseError

        try:
            shown = await _in_time(client.show(name), ASKING_S)
        except ResponseError:  # it may be broken, or gone since; whoever asks it will hear
            return models.guessed(name, local=self.local, host=host)
        return models.described(name, shown.capabilities, shown.modelinfo, local=self.local, host=host)

    async def probe(self, session: Session) -> Condition:
        """List the models."""
        async with self._asking(session, "") as client:
            listed = await _in_time(client.list(), ASKING_S)
        return Condition(f"{len(listed.models)} models are there")

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Yield the text as it comes, the usage and why it ended."""
        end: Any = None
        some = False
        async with self._asking(request.session, request.model) as client:
            asked = await prepared(bench, _asked, request)
            answer: Any = await client.chat(stream=True, **asked)
            try:
                part = await _in_time(anext(answer, None), request.timeout)
                while part is not None:
                    some = True
                    if part.message.content:
                        yield TextDelta(part.message.content)
                    if part.done:
                        end = part  # and read on: a connection that is read to its end is used again
                    part = await anext(answer, None)
            finally:
                await answer.aclose()
        if not some:
            raise unreadable("no line")
        if end is None:
            raise ProviderError(f"the answer of {SERVICE} ended before its end", kind="unavailable")
        yield Usage(input_tokens=end.prompt_eval_count or 0, output_tokens=end.eval_count or 0, requests=1)
        yield Finish("length" if end.done_reason == "length" else "stop")
        await self._clients.tidy()

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Return one vector for each text; a text beyond the window is refused, not cut."""
        async with self._asking(request.session, request.model) as client:
            asked = client.embed(
                request.model, list(request.texts), truncate=False, dimensions=request.dimensions or None
            )
            found = await _in_time(asked, request.timeout)
        if len(found.embeddings) != len(request.texts):
            raise unreadable(f"{len(found.embeddings)} vectors for {len(request.texts)} texts")
        vectors = tuple(tuple(map(float, vector)) for vector in found.embeddings)
        return Embeddings(vectors, Usage(input_tokens=found.prompt_eval_count or 0, requests=1))

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    # -- within

    def _make(self, session: Session) -> AsyncClient:
        try:
            import httpx
            from ollama import AsyncClient
        except ImportError:
            raise MissingDependency("ollama", INSTALL) from None
        key = session.key.reveal()
        options = bounded.options(httpx, SERVICE, lambda: self.most_bytes)
        # Only the account's key: without this the SDK would send that of the environment, wherever the server is.
        options["headers"] = {**options["headers"], "authorization": f"Bearer {key}" if key else "none"}
        options["event_hooks"] = {**options["event_hooks"], "request": [_hurry] if key else [_hurry, _without_key]}
        return AsyncClient(session.base_url or self._home, **options)

    def _asking(self, session: Session, model: str) -> AbstractAsyncContextManager[AsyncClient]:
        where = session.base_url or self._home
        explain = partial(explained, session=session, model=model, where=where)
        return asking(self._clients, session, explain, "httpx", "ollama")


@cache
def _listing() -> Any:
    """Return what `/api/tags` is read as: the SDK's own leaves out where the work is done."""
    from ollama import ListResponse

    class Listed(ListResponse.Model):
        remote_host: str | None = None

    class Listing(ListResponse):
        models: Sequence[Listed]

    return Listing


def _asked(request: GenerationRequest) -> dict[str, Any]:
    """Return the arguments of `chat`."""
    settings = request.settings
    messages: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    messages += [{"role": each.role, "content": each.text} for each in request.messages]
    last: dict[str, Any] = {"role": "user", "content": request.prompt}
    if request.sources:
        last["images"] = [_image(content, kind) for content, kind in _sources(request)]
    options: dict[str, Any] = {"seed": request.seed % SEEDS}
    if request.max_output_tokens:
        options["num_predict"] = request.max_output_tokens
    options |= {name: settings[name] for name in ("temperature", "num_ctx", "stop") if name in settings}
    return {
        "model": request.model,
        "messages": [*messages, last],
        "format": dict(request.schema) if request.schema is not None else None,
        "options": options,
        "keep_alive": _lasting(settings.get("keep_alive")),
        "think": settings.get("think"),
    }


def _sources(request: GenerationRequest) -> Iterator[tuple[bytes, str]]:
    types = (*request.source_types, *[""] * (len(request.sources) - len(request.source_types)))
    yield from zip(request.sources, types, strict=True)


def _image(content: bytes, kind: str) -> str:
    if kind and not kind.startswith("image/"):
        raise ProviderError(f"{SERVICE} reads no {kind}: give it a picture", kind="invalid")
    return base64.b64encode(content).decode()


def _lasting(text: Any) -> float | str | None:
    """Return `keep_alive` as Ollama takes it: a duration, or a number of seconds where it is one."""
    if text is None or text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return str(text)


async def _in_time(work: Any, seconds: float) -> Any:
    """Wait for what sends a request, none of whose waits is longer than *seconds*: the SDK asks for no such number.

    It holds for the whole answer, also for what of it is read later.
    """
    token = _WAIT.set(seconds)
    try:
        return await work
    finally:
        _WAIT.reset(token)


async def _hurry(request: httpx.Request) -> None:
    import httpx

    request.extensions["timeout"] = bounded.timeouts(httpx, _WAIT.get()).as_dict()


async def _without_key(request: httpx.Request) -> None:
    request.headers.pop("authorization", None)


async def _end(client: AsyncClient) -> None:
    await client.close()  # type: ignore[no-untyped-call]
