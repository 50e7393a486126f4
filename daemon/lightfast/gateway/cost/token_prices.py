"""Token prices from `genai-prices` (MIT), which comes with their history; it is imported at the first use.

The import takes a third of a second and 40 MB: `load` is run off the loop. Its updater is never started: nothing is
fetched. The figures are those of the installed version.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lightfast.gateway.cost.rates import Rate

_MILLION = Decimal(1_000_000)
_KEYS: tuple[tuple[str, str, Decimal], ...] = (
    ("input_mtok", "input_token", _MILLION),
    ("output_mtok", "output_token", _MILLION),
    ("cache_read_mtok", "cached_token", _MILLION),
    ("cache_write_mtok", "cache_write_token", _MILLION),
    ("output_reasoning_mtok", "reasoning_token", _MILLION),
    ("input_audio_mtok", "audio_input_token", _MILLION),
    ("output_audio_mtok", "audio_output_token", _MILLION),
    ("input_image_mtok", "image_input_token", _MILLION),
    ("output_image_mtok", "image_output_token", _MILLION),
    ("input_mchars", "character", _MILLION),
    ("audio_hours", "second", Decimal(3600)),
    ("requests_kcount", "request", Decimal(1000)),
)
"""The keys of a price there, our unit, and how many of it the price is for."""
_WRITES = {"5m": "cache_write_5m_mtok", "1h": "cache_write_1h_mtok"}
"""The setting `cache_ttl` says for how long a service keeps what is written to its cache; that changes its price."""
_CONTEXT = ("service_tier", "processing")
"""Settings that choose a variant of the price: `flex`, `priority`; `processing` is `batch` for those of a batch."""


class TokenPrices:
    """What `genai-prices` knows; `load` it before anything else is asked."""

    def __init__(self) -> None:
        self._snapshot: Any = None
        self._source = ""
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether it can be asked."""
        return self._snapshot is not None

    def load(self) -> None:
        """Import the data; it blocks, and may be called from any thread and again."""
        with self._lock:
            if self._snapshot is not None:
                return
            from importlib.metadata import version

            from genai_prices import data_snapshot

            self._source = f"genai-prices {version('genai-prices')}"
            self._snapshot = data_snapshot.get_snapshot()

    def find(self, provider: str, model: str) -> Any | None:
        """Return what is known of a model of a provider; `None`: nothing."""
        try:
            _, found = self._snapshot.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        return found

    def context_tokens(self, found: Any) -> int:
        """Return the window of a model that `find` returned; 0 where it is not known."""
        return int(found.context_window or 0)

    def rates(self, found: Any, now_ns: int, settings: Mapping[str, Any]) -> tuple[Rate, ...]:
        """Return the rates of a model that `find` returned, as they are at that time and for these settings."""
        context = {key: str(settings[key]) for key in _CONTEXT if isinstance(settings.get(key), str)}
        prices = found.get_prices(datetime.fromtimestamp(now_ns / 1e9, UTC), context or None)
        written = prices.__dict__
        rates: list[Rate] = []
        for key, unit, per in _KEYS:
            price = written.get(key)
            if unit == "cache_write_token":
                price = written.get(_WRITES.get(str(settings.get("cache_ttl", "")), "")) or price
            elif unit == "second" and price is None:
                price = written.get("input_audio_hours")
            if price is not None:
                rates.append(self._rate(unit, price, per))
        return tuple(rates)

    def _rate(self, unit: str, price: Any, per: Decimal) -> Rate:
        if isinstance(price, Decimal):
            return Rate(unit, price / per, source=self._source)
        tiers = tuple((int(tier.start), tier.price / per) for tier in price.tiers)
        return Rate(unit, price.base / per, tiers, source=self._source)
