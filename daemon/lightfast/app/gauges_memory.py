"""The numbers of the archive, its private frames and layers, the embedders and the collector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from lightfast.app.layers import Layers
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.core.metrics import Metrics
from lightfast.engine.scenes.recalls import Recalls
from lightfast.security.sealing.vault import Vault
from lightfast.storage.archive.archive import Archive

if TYPE_CHECKING:
    from lightfast.context.upkeep.collector import Collector, Totals

T = TypeVar("T")


def measure_rooms(
    metrics: Metrics,
    *,
    archive: Archive,
    vault: Vault,
    embedders: EmbedderBook,
    collector: Callable[[], Collector | None],
    layers: Layers,
    recalls: Recalls,
) -> None:
    """Register every number; each is read when somebody scrapes."""
    _measure_archive(metrics, archive)
    metrics.gauge("archive_unlocked", "1 while private frames can be read.", lambda: int(vault.unlocked))
    metrics.gauge(
        "archive_layers",
        "1 for each layer over the archive that works.",
        lambda: {(name,): int(layers.works(name)) for name in ("significance", "emergence")},
        labels=("layer",),
    )
    metrics.gauge(
        "embedder_missing", "1 while the embedder of the settings is not there.", lambda: int(bool(embedders.note))
    )
    metrics.counter("embedding_cache_hits", "Vectors that were kept.", lambda: embedders.hits)
    metrics.counter("embedding_cache_misses", "Vectors that were computed.", lambda: embedders.misses)
    metrics.gauge("recalls", "Recalls of scenes under way.", lambda: recalls.running)

    def totals(figure: Callable[[Totals], T], none: T) -> Callable[[], T]:
        return lambda: none if (made := collector()) is None else figure(made.totals)

    metrics.counter("collector_runs", "Runs of the collector.", totals(lambda totals: totals.runs, 0))
    metrics.counter(
        "collector_failures", "Runs of the collector that failed.", totals(lambda totals: totals.failures, 0)
    )
    metrics.counter(
        "collected_bytes", "Bytes that the collector moved or deleted.", totals(lambda totals: totals.size, 0)
    )
    metrics.counter(
        "collected",
        "Things that the collector moved or deleted, by kind and action.",
        totals(lambda totals: {(what,): count for what, count in totals.items.items()}, {}),
        labels=("what",),
    )


def _measure_archive(metrics: Metrics, archive: Archive) -> None:
    def figures(figure: str) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {
            (name,): found[figure]
            for name, cache in archive.caches.all().items()
            if figure in (found := cache.figures())
        }

    cache = ("cache",)
    metrics.gauge("archive_cache_items", "Items in the caches of the archive.", figures("size"), labels=cache)
    metrics.gauge("archive_cache_bytes", "Bytes in the caches of the archive.", figures("bytes"), labels=cache)
    metrics.counter("archive_cache_hits", "What the caches of the archive had.", figures("hits"), labels=cache)
    metrics.counter("archive_cache_misses", "What they did not have.", figures("misses"), labels=cache)
    metrics.gauge(
        "archive_index",
        "The index of the archive: sealed groups and their bytes, open and private frames, whether it is loaded.",
        lambda: {(name.removeprefix("index."),): number for name, number in archive.index.figures().items()},
        labels=("figure",),
    )
