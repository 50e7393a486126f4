"""The prices of models, from wherever they are known: one tariff for each request.

What the service itself reports wins when it is over. Before that, in this order: the settings; nothing to pay, where
the model or its provider says so; the prices of the plugin; token prices together with the prices of media; unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.core.clock import Clock
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost import media_prices
from lightfast.gateway.cost.media_prices import MediaPrice
from lightfast.gateway.cost.money import exact
from lightfast.gateway.cost.overrides import Overrides
from lightfast.gateway.cost.rates import Rate, Tariff
from lightfast.gateway.cost.token_prices import TokenPrices
from lightfast.sdk import Model, Price

MOST_KEPT = 4096
"""How many models are kept in mind."""
UNKNOWN = Tariff("unknown")
FREE = Tariff("free", free=True)


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a provider matters to its prices: it is *local*, and *price_name* is what price lists call it."""

    local: bool = False
    price_name: str = ""


@dataclass(frozen=True, slots=True)
class _Offer:
    model: Model
    fixed: Tariff | None
    tokens: Any
    media: tuple[MediaPrice, ...]


class PriceBook:
    """What models cost. `ready` loads the price lists off the loop; without it the first `tariff` loads them in place.

    *facts* returns what is known of a provider by its name. *overrides* are the prices of the settings.
    """

    def __init__(
        self, clock: Clock, facts: Callable[[str], Facts], overrides: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._clock = clock
        self._facts = facts
        self._overrides = Overrides(overrides or {})
        self._tokens = TokenPrices()
        self._media: tuple[MediaPrice, ...] | None = None
        self._offers: dict[str, _Offer] = {}
        self._loading: asyncio.Future[None] | None = None

    def follow(self, overrides: Mapping[str, Mapping[str, str]]) -> None:
        """Take other prices of the settings; what is held already is paid by those it was held by."""
        self._overrides = Overrides(overrides)
        self._offers.clear()

    def names(self, name: str) -> bool:
        """Say whether the settings have a price of their own for the model `provider/model`."""
        provider, _, model = name.partition("/")
        return self._overrides.names(provider, model)

    async def ready(self, *records: ModelRecord) -> None:
        """Load the price lists where one of *records* needs them; at once when none does, or they are loaded."""
        if self._loaded or all(self._fixed(record) is not None for record in records):
            return
        if self._loading is None:
            self._loading = asyncio.get_running_loop().run_in_executor(None, self._load)
        await asyncio.shield(self._loading)

    @property
    def _loaded(self) -> bool:
        return self._media is not None and self._tokens.loaded

    def _load(self) -> None:
        self._tokens.load()
        self._media = media_prices.read()

    def tariff(self, record: ModelRecord, settings: Mapping[str, Any]) -> Tariff:
        """Return what a request with *settings* costs by, now."""
        offer = self._offer(record)
        if offer.fixed is not None:
            return offer.fixed
        rates: tuple[Rate, ...] = ()
        if offer.tokens is not None:
            rates = self._tokens.rates(offer.tokens, self._clock.now_ns(), settings)
        media = media_prices.rates(offer.media, settings)
        held = {rate.unit for rate in rates}
        rates += tuple(rate for rate in media if rate.unit == "credit" and rate.unit not in held)
        instead = tuple(rate for rate in media if rate.unit != "credit" and rate.unit not in held)
        if not rates and not instead:
            return UNKNOWN
        return Tariff("; ".join(dict.fromkeys(rate.source for rate in (*rates, *instead))), rates, instead)

    def prices(self, record: ModelRecord) -> tuple[Price, ...]:
        """Return the prices of a model for display: those of a request without settings, tiers left out."""
        tariff = self.tariff(record, {})
        return tuple(rate.shown() for rate in (*tariff.rates, *tariff.instead))

    def context_tokens(self, record: ModelRecord) -> int:
        """Return the window of a model, from itself or the price list; 0 where nobody knows it."""
        if record.model.context_tokens:
            return record.model.context_tokens
        offer = self._offer(record)
        return self._tokens.context_tokens(offer.tokens) if offer.tokens is not None else 0

    def most_seconds(self, record: ModelRecord) -> float:
        """Return how long what the model makes can be, in seconds; 0 where nobody knows."""
        return media_prices.most_seconds(self._offer(record).media)

    def _offer(self, record: ModelRecord) -> _Offer:
        kept = self._offers.get(record.name)
        if kept is not None and kept.model is record.model:
            return kept
        fixed = self._fixed(record)
        offer = _Offer(record.model, fixed, None, ()) if fixed is not None else self._look_up(record)
        self._offers.pop(record.name, None)
        self._offers[record.name] = offer
        if len(self._offers) > MOST_KEPT:
            del self._offers[next(iter(self._offers))]
        return offer

    def _fixed(self, record: ModelRecord) -> Tariff | None:
        """Return the tariff of a model whose price no list is asked for."""
        model = record.model
        told = self._overrides.find(record.provider, model.name)
        if told is not None:
            return told
        if model.free or (self._facts(record.provider).local and not model.remote):
            return FREE
        if model.prices:
            return Tariff(
                "plugin",
                tuple(Rate(one.unit, exact(one.usd), source=one.source, date=one.date) for one in model.prices),
            )
        return None

    def _look_up(self, record: ModelRecord) -> _Offer:
        if not self._loaded:
            self._load()
        names = (record.model.price_name, record.model.name) if record.model.price_name else (record.model.name,)
        providers = dict.fromkeys(name for name in (self._facts(record.provider).price_name, record.provider) if name)
        tokens: Any = None
        media: tuple[MediaPrice, ...] = ()
        for provider in providers:
            for name in names:
                tokens = tokens or self._tokens.find(provider, name)
                media = media or media_prices.find(self._media or (), provider, name)
        return _Offer(record.model, None, tokens, media)
