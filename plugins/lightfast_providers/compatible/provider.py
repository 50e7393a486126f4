"""A server that speaks OpenAI's protocol, as a provider."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    Condition,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Model,
    Provider,
    ProviderError,
    Session,
    Step,
    Workbench,
)
from lightfast_providers._common import bounded
from lightfast_providers.compatible import listing
from lightfast_providers.compatible.servers import UNKNOWN, Kind, Server, host_of, is_loopback, kind_of

if TYPE_CHECKING:
    from lightfast_providers._common.openai_wire import Wire

PROBE_S = 15.0


class Compatible(Provider):
    """One server of the settings; what it is and can do is learned from its list of models."""

    most_bytes = bounded.MOST_BYTES

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.name
        self.description = f"Models of {host_of(server.base_url) or 'a server that speaks the protocol of OpenAI'}."
        self.local = is_loopback(server.base_url)
        self.needs_key = server.needs_key
        self.key_names = (f"{server.name.upper().replace('-', '_')}_API_KEY",)
        self._kinds: dict[str, Kind] = {}
        self._identities: dict[tuple[str, str], str] = {}

    @functools.cached_property
    def _wire(self) -> Wire:
        from lightfast_providers._common.openai_wire import Wire

        return Wire(self.name, self.server.base_url, "compatible", lambda: self.most_bytes)

    def models(self) -> Sequence[Model]:
        """Return the models of the settings; the server's own come with `discover`."""
        return [self._plain(name) for name in self.server.models]

    def model(self, name: str) -> Model | None:
        """Return a model that the server may have beside those it lists; `None` before it was asked.

        One that runs on a machine of one's own lists all it has.
        """
        asked = self._kinds.values()
        if all(kind.lists_all for kind in asked) or listing.name_of(name) != name:
            return None
        return self._plain(name)

    def _plain(self, name: str) -> Model:
        return listing.model_of(name, {}, self._kinds.get(self.server.base_url, UNKNOWN), free=self.local)

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Return what `/models` lists; `None` while no address is set."""
        if not self._address(session):
            return None
        return [model for _, model in (await self._learn(session)).values()]

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Write text."""
        from lightfast_providers._common.offloop import prepared
        from lightfast_providers.compatible import chat

        address = self._address(request.session, needed=True)
        kind = await self._kind(request.session) if request.prefix else self._kinds.get(address, UNKNOWN)
        identity = self._identities.get((address, request.model), request.model)
        # The servers that one runs oneself all know a seed; others may refuse what they do not know.
        seed = kind.seed or is_loopback(address)
        body = await prepared(bench, chat.body_of, request, identity, kind, self.server.body, seed)
        steps = chat.write(self._wire, request, body)
        async with contextlib.aclosing(steps):
            with self._wire.reading(request.session):
                async for step in steps:
                    yield step

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Return vectors by `/embeddings`."""
        from lightfast_providers._common.openai_vectors import embedded

        address = self._address(request.session, needed=True)
        identity = self._identities.get((address, request.model), request.model)
        body: dict[str, Any] = {"model": identity, "input": list(request.texts), "encoding_format": "float"}
        if request.dimensions:
            body["dimensions"] = request.dimensions
        return await embedded(self._wire, request, body, bench)

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Return the tokens of a request, by the server's own template and tokenizer (llama.cpp)."""
        from lightfast_providers.compatible import chat

        address = self._address(request.session, needed=True)
        if not (await self._kind(request.session)).root_tools:
            raise ProviderError(f"{self.name} does not count tokens", kind="invalid")
        root = address.removesuffix("/v1")
        messages = {"messages": chat.messages_of(request)}
        made = await self._wire.ask(request.session, f"{root}/apply-template", messages, timeout=request.timeout)
        words = {"content": made.payload.get("prompt", ""), "add_special": True, "parse_special": True}
        counted = await self._wire.ask(request.session, f"{root}/tokenize", words, timeout=request.timeout)
        tokens = counted.payload.get("tokens")
        if not isinstance(tokens, list):
            raise self._wire.malformed("no tokens")
        return len(tokens)

    async def probe(self, session: Session) -> Condition:
        """List the models, which costs nothing."""
        self._address(session, needed=True)
        models = await self._learn(session)
        return Condition(f"{len(models)} models, {self._kinds[self._address(session)].name}")

    async def close(self) -> None:
        """Close every connection."""
        if "_wire" in self.__dict__:
            await self._wire.close()

    def _address(self, session: Session, *, needed: bool = False) -> str:
        found = (session.base_url or self.server.base_url).rstrip("/")
        if needed and not found:
            raise ProviderError(
                f"nobody said where {self.name} is: set base_urls of [providers.{self.name}], such as "
                '["http://127.0.0.1:8080/v1"]',
                kind="invalid",
            )
        if self.local and found and not is_loopback(found):
            # It counts as local, and so as free: that must not become untrue unseen.
            raise ProviderError(
                f"{self.name} is set up at {host_of(self.server.base_url)}, and asked at {host_of(found)}: give "
                "the other one a name of its own in [plugins.compatible.servers]",
                kind="invalid",
            )
        return found

    async def _kind(self, session: Session) -> Kind:
        address = self._address(session)
        if address not in self._kinds:
            await self._learn(session)
        return self._kinds[address]

    async def _learn(self, session: Session) -> dict[str, tuple[str, Model]]:
        address = self._address(session)
        answer = await self._wire.ask(session, "/models", timeout=PROBE_S)
        items = listing.listed(answer.payload)
        kind = self._kinds[address] = kind_of(items)
        found = listing.models_of(items, kind, free=is_loopback(address))
        self._identities = {key: value for key, value in self._identities.items() if key[0] != address}
        self._identities |= {(address, name): identity for name, (identity, _) in found.items()}
        return found
