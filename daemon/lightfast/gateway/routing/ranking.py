"""The order of models of equal standing, and the chains of the computed aliases.

What counts, in this order: health (a circuit on trial and a limit that is used up come last, many failures late), then
the latency seen, the price, how long a limit would make it wait, and at last the order in which providers came and list
their models. Figures are compared in steps, so that noise does not reorder: latencies in steps of a factor of 1.5,
prices of 1.1, waits of whole seconds. Everything is a function of what was seen, not of chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from lightfast.core.clock import Clock
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.leash import is_local
from lightfast.gateway.ports import CostEstimate, Load, Sessions
from lightfast.gateway.routing.circuits import Circuits, State
from lightfast.gateway.routing.lifecycle import Lifecycle
from lightfast.gateway.routing.seen import SeenModels
from lightfast.sdk import Model, Price

UNSEEN_S = 4.0
"""What an answer is taken to need of a model that was not used yet, in seconds: it gets its chance before slow ones."""
USUAL = Load(input_tokens=1000, most_output_tokens=500, characters=500)
"""The request that prices are compared for."""
PRICE_S = 600.0
"""A price is looked up anew when it is older than this."""
MOST_PRICES = 4096
_FAILS, _FAILS_OFTEN = 0.25, 0.6

Key = tuple[float, ...]


class Prices(Protocol):
    """What is asked of the room of costs."""

    async def ready(self, *records: ModelRecord) -> None:
        """Load what `estimate` and `prices` need for *records*, off the loop."""
        ...

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        """Return what an attempt will cost."""
        ...

    def prices(self, record: ModelRecord) -> tuple[Price, ...]:
        """Return the prices of a model, to be shown."""
        ...


class Ranking:
    """Puts models in order; *sessions* and *costs* may be missing, and then do not count."""

    def __init__(
        self, catalog: Catalog, circuits: Circuits, seen: SeenModels, lifecycle: Lifecycle, clock: Clock
    ) -> None:
        self.sessions: Sessions | None = None
        self.costs: Prices | None = None
        self._clock = clock
        self._prices: dict[str, tuple[Model, float, float]] = {}
        self._catalog = catalog
        self._circuits = circuits
        self._seen = seen
        self._lifecycle = lifecycle

    def join(self, sessions: Sessions | None, costs: Prices | None) -> None:
        """Work with the rooms that know the accounts, and the prices."""
        self.sessions, self.costs = sessions, costs
        self._prices.clear()

    def computed(self, alias: str, able: Sequence[ModelRecord], load: Load) -> list[ModelRecord]:
        """Return the chain of a computed alias out of *able*, which are as `Catalog.listed` orders them.

        `fast`: those that their providers call fast, by latency seen; `best`: those that they call best, else by the
        size of the window and the price; `cheap`: by price, without those of which none is known; `local`: those that
        run on this machine. Deprecated models come last; procedural ones are there only where nothing else is.
        """
        chosen = list(able)
        if alias == "local":
            chosen = [record for record in chosen if is_local(record, self._catalog.provider(record.provider))]
        if alias == "cheap":
            chosen = [record for record in chosen if math.isfinite(self.price(record))]
        learned = [record for record in chosen if not record.model.procedural]
        chosen = learned or chosen
        tagged = [record for record in chosen if alias in record.model.tags]
        if alias in {"fast", "best"}:
            chosen = tagged or chosen
        order = {record.name: float(place) for place, record in enumerate(able)}
        keys = {record.name: self._key(alias, record, load, order[record.name]) for record in chosen}
        return sorted(chosen, key=lambda record: keys[record.name])

    def equal(self, records: Sequence[ModelRecord], load: Load) -> list[ModelRecord]:
        """Return models of equal standing in order."""
        keys = {record.name: self._key("", record, load, float(place)) for place, record in enumerate(records)}
        return sorted(records, key=lambda record: keys[record.name])

    def _key(self, alias: str, record: ModelRecord, load: Load, place: float) -> Key:
        latency = _step(self._latency(record), 1.5)
        price = _step(self.price(record), 1.1)
        delay = self._delay(record, load)
        wait = delay if math.isinf(delay) else float(round(delay))
        first = (float(self._lifecycle.deprecated(record)), float(self.health(record, load)))
        if alias == "cheap":
            return (*first, price, latency, wait, place)
        if alias == "best":
            size = -float(record.model.context_tokens)
            dear = 0.0 if math.isinf(price) else -price
            return (*first, size, dear, latency, wait, place)
        return (*first, latency, price, wait, place)

    def health(self, record: ModelRecord, load: Load) -> int:
        """Return 0 for one that works, 1 and 2 for one that fails often, 3 for one that is on trial or used up."""
        if self._circuits.state(record.name) is not State.CLOSED or math.isinf(self._delay(record, load)):
            return 3
        failing = self._seen.failing(record.name)
        return 0 if failing < _FAILS else 1 if failing < _FAILS_OFTEN else 2

    def price(self, record: ModelRecord) -> float:
        """Return what a usual request would cost in US dollars; infinite where nobody knows. Kept for a while."""
        known = self._prices.get(record.name)
        now = self._clock.monotonic()
        if known is not None and known[0] is record.model and now < known[1]:
            return known[2]
        load = replace(USUAL, output=record.model.outputs[0])
        if self.costs is None:
            price = _listed_price(record, load)
        else:
            estimate = self.costs.estimate(record, load)
            price = math.inf if estimate.most_usd is None else estimate.likely_usd
        if len(self._prices) >= MOST_PRICES:
            self._prices.clear()
        self._prices[record.name] = (record.model, now + PRICE_S, price)
        return price

    def _latency(self, record: ModelRecord) -> float:
        latency = self._seen.latency(record.name)
        return UNSEEN_S if math.isinf(latency) else latency

    def _delay(self, record: ModelRecord, load: Load) -> float:
        return self.sessions.delay(record, load) if self.sessions is not None else 0.0


def _step(number: float, factor: float) -> float:
    """Return in which step of a logarithmic scale *number* lies."""
    if math.isinf(number):
        return number
    return -1e9 if number <= 0 else float(round(math.log(number) / math.log(factor)))


def _listed_price(record: ModelRecord, load: Load) -> float:
    model = record.model
    if model.free or (model.procedural and not model.prices):
        return 0.0
    if not model.prices:
        return math.inf
    counts = {
        "input_token": load.input_tokens,
        "output_token": load.most_output_tokens or 500,
        "character": load.characters,
        "second": _number(load.settings.get("seconds")),
        "image": _number(load.settings.get("count")),
        "request": 1,
    }
    return sum(price.usd * counts.get(price.unit, 0) for price in model.prices)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 1.0
