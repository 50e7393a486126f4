"""Metrics: rooms keep plain numbers, and they are read only when somebody scrapes.

`prometheus_client` is imported at the first scrape: it is slow to load, and most desks have no
Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.core.histogram import Histogram

Number = int | float
Read = Callable[[], Number | Mapping[tuple[str, ...], Number]]
"""Returns the number now, or one number per tuple of label values."""

Histograms = Callable[[], Mapping[tuple[str, ...], Histogram]]
"""Returns a histogram per tuple of label values."""

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    help_text: str
    kind: str
    read: Read
    labels: tuple[str, ...]


class Metrics:
    """What this daemon measures. Names get the prefix `lightfast_`."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}
        self._histograms: dict[str, tuple[str, Histograms, tuple[str, ...]]] = {}
        self._registry: Any = None

    def counter(self, name: str, help_text: str, read: Read, labels: tuple[str, ...] = ()) -> None:
        """Show a number that only grows, as `lightfast_<name>_total`."""
        self._add(_Source(name, help_text, "counter", read, labels))

    def gauge(self, name: str, help_text: str, read: Read, labels: tuple[str, ...] = ()) -> None:
        """Show a number that goes up and down, as `lightfast_<name>`."""
        self._add(_Source(name, help_text, "gauge", read, labels))

    def histogram(self, name: str, help_text: str, read: Histograms, labels: tuple[str, ...]) -> None:
        """Show how often something took how long, as `lightfast_<name>_bucket`, `_sum` and `_count`."""
        if name in self._histograms:
            raise ValueError(f"the metric {name} exists already")
        self._histograms[name] = (help_text, read, labels)

    def _add(self, source: _Source) -> None:
        if source.name in self._sources:
            raise ValueError(f"the metric {source.name} exists already")
        self._sources[source.name] = source

    def render(self) -> bytes:
        """Return all numbers in the Prometheus text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import generate_latest

        if self._registry is None:
            registry = CollectorRegistry()
            ProcessCollector(namespace="lightfast", registry=registry)
            registry.register(self)
            self._registry = registry
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """Yield the families, as prometheus_client wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for source in self._sources.values():
            family: Any = (CounterMetricFamily if source.kind == "counter" else GaugeMetricFamily)(
                f"lightfast_{source.name}", source.help_text, labels=source.labels
            )
            found = source.read()
            if isinstance(found, Mapping):
                for labels, number in found.items():
                    family.add_metric(labels, number)
            else:
                family.add_metric((), found)
            yield family
        yield from self._collect_histograms()

    def _collect_histograms(self) -> Iterator[Any]:
        from prometheus_client.core import HistogramMetricFamily

        for name, (help_text, read, labels) in self._histograms.items():
            family = HistogramMetricFamily(f"lightfast_{name}", help_text, labels=labels)
            for values, found in read().items():
                family.add_metric(values, found.buckets(), found.total)
            yield family
