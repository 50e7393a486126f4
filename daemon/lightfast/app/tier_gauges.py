"""What the daemon shows to Prometheus of the tiers of the past."""

from __future__ import annotations

from lightfast.context.store import Store
from lightfast.core.metrics import Metrics


def measure_tiers(metrics: Metrics, store: Store) -> None:
    """Register the numbers of where history lies, and of the caches over it."""
    tiers, demoter = store.tiers, store.tiers.demoter
    blocks, results, ahead = tiers.shelf.counts, tiers.results.counts, store.ahead
    metrics.gauge(
        "history_rows",
        "Changes in the history, by tier; those in SQLite and their bytes as of the last look.",
        lambda: {("history",): demoter.size.rows, ("archive",): demoter.archived.rows},
        labels=("tier",),
    )
    metrics.gauge(
        "history_bytes",
        "What they take: in SQLite with their indexes (estimated), in the archive before compression.",
        lambda: {("history",): demoter.size.bytes, ("archive",): demoter.archived.bytes},
        labels=("tier",),
    )
    metrics.gauge("history_blocks", "Blocks of history in the archive.", lambda: demoter.archived.blocks)
    metrics.counter("demoted_blocks", "Blocks moved to the archive since the start.", lambda: demoter.total.blocks)
    metrics.counter("demoted_rows", "Changes moved to the archive since the start.", lambda: demoter.total.rows)
    metrics.gauge(
        "demotion_paused",
        "1 while history cannot move to the archive, by reason.",
        lambda: {(demoter.paused,): 1} if demoter.paused else {},
        labels=("reason",),
    )
    metrics.counter(
        "past_reads",
        "Reads of the past and of its blocks, by cache and outcome.",
        lambda: {
            ("results", "hit"): results.hits,
            ("results", "miss"): results.misses,
            ("blocks", "hit"): blocks.hits,
            ("blocks", "miss"): blocks.misses,
        },
        labels=("cache", "outcome"),
    )
    metrics.gauge(
        "past_cache_bytes",
        "Bytes in the caches over the past.",
        lambda: {("results",): tiers.results.size, ("blocks",): tiers.shelf.size},
        labels=("cache",),
    )
    metrics.counter("prefetch_reads", "Reads of the past made ahead.", lambda: results.ahead)
    metrics.counter("prefetch_hits", "Those of them that somebody asked for.", lambda: results.ahead_hits)
    metrics.counter("prefetch_dropped", "Guesses that were dropped because too many waited.", lambda: ahead.dropped)
