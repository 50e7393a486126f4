"""Providers, models and tokens: methods of GenerationService."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.core.errors import LightfastError, NotFound, Unavailable
from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.gateway.leash import is_local
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.gateway.routing.candidates import Routing
from lightfast.sdk import Price
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.generation_messages import get_call
from lightfast.wire.grpc.services import WATCH, Caller, Services

_FREE = Price("request", 0.0, "free")


class CatalogMethods:
    """Providers, models and tokens: methods of GenerationService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ListProviders": WATCH,
        "ListModels": WATCH,
        "CountTokens": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ListProviders(self, request: pb.ListProvidersRequest, caller: Caller) -> pb.ListProvidersResponse:
        """List the providers, the unavailable ones with the reason."""
        gateway, routing = self._services.gateway, self._routing()
        if routing is not None:
            await routing.refresh(ask=not request.as_known)
        response = pb.ListProvidersResponse()
        for record in gateway.providers():
            here = gateway.catalog.has(record.name)
            trouble = routing.trouble(record.name) if routing is not None and here else ""
            response.providers.add(
                name=record.name,
                description=record.description,
                available=record.available and not trouble,
                reason=record.reason or trouble,
                local=record.local,
                plugin=record.plugin,
                needs_key=here and gateway.catalog.provider(record.name).needs_key,
            )
        return response

    async def ListModels(self, request: pb.ListModelsRequest, caller: Caller) -> pb.ListModelsResponse:
        """List the models, with what is known of them now."""
        routing = self._routing()
        if routing is not None:
            await routing.refresh(ask=not request.as_known)
        records = self._services.gateway.models(request.output)
        prices = await self._prices(routing, records)
        aliases = routing.aliases_of(records) if routing is not None else {}
        response = pb.ListModelsResponse()
        for record in records:
            model = record.model
            message = response.models.add(
                name=record.name,
                inputs=model.inputs,
                outputs=model.outputs,
                description=model.description,
                settings_schema=json.dumps(dict(model.settings)),
                procedural=model.procedural,
                context_tokens=model.context_tokens,
                max_output_tokens=model.max_output_tokens,
                capabilities=model.capabilities,
                deprecation_date=model.deprecation_date,
                retirement_date=model.retirement_date,
                aliases=aliases.get(record.name, ()),
                available=True,
                tags=model.tags,
            )
            for kind, window, number in model.limits:
                message.limits.add(kind=kind, window_s=window, limit=number, source="shipped")
            if routing is not None:
                standing = routing.standing(record)
                message.available, message.reason = standing.available, standing.reason
            for price in prices.get(record.name, ()):
                message.prices.add(unit=price.unit, usd=price.usd, source=price.source, date=price.date)
        return response

    async def CountTokens(self, request: pb.CountTokensRequest, caller: Caller) -> pb.CountTokensResponse:
        """Count the tokens of a request."""
        gateway = self._services.gateway
        room = gateway.prompts
        if not isinstance(room, PromptRoom):
            raise Unavailable("this daemon counts no tokens", reason="NO_PROMPTS")
        call = await room.prepare(get_call(request.request))
        record = await self._model(call)
        counted = await room.count(call, record)
        return pb.CountTokensResponse(
            tokens=counted.tokens,
            counter=counted.counter,
            model=record.name if record is not None else "",
            context_tokens=record.model.context_tokens if record is not None else 0,
        )

    async def _model(self, call: GenerateCall) -> ModelRecord | None:
        """Return the model that would answer; `None` where none is named and none is here."""
        routing = self._routing()
        if routing is None:
            return self._services.gateway.catalog.named(call.model) if call.model else None
        try:
            found = await routing.ordered(call.model, call.output or ("" if call.model else "text"), strict=True)
        except NotFound:
            if call.model:
                raise
            return None
        except LightfastError:
            if "/" not in call.model:
                raise
            return self._services.gateway.catalog.named(call.model)  # its tokens can be counted all the same
        return found[0]

    async def _prices(self, routing: Routing | None, records: Sequence[ModelRecord]) -> Mapping[str, Sequence[Price]]:
        costs = routing.ranking.costs if routing is not None else None
        if costs is not None:
            await costs.ready(*records)
        found: dict[str, Sequence[Price]] = {}
        for record in records:
            prices = costs.prices(record) if costs is not None else record.model.prices
            local = is_local(record, self._services.gateway.catalog.provider(record.provider))
            found[record.name] = prices or ((_FREE,) if record.model.free or local else ())
        return found

    def _routing(self) -> Routing | None:
        candidates = self._services.gateway.candidates
        return candidates if isinstance(candidates, Routing) else None
