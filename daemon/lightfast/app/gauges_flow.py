"""The numbers of lanes, processors and the cache of values."""

from __future__ import annotations

from lightfast.context.cache import Cache
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.processors import Processors
from lightfast.core.metrics import Metrics


def measure_flow(metrics: Metrics, flow: Flow, processors: Processors, cache: Cache) -> None:
    """Register every number; each is read when somebody scrapes."""
    lane = ("lane",)
    metrics.counter("lane_admitted", "Calls and streams let in, by lane.", lambda: flow.stats()["admitted"], lane)
    metrics.counter("lane_shed", "Calls shed and signals conflated, by lane.", lambda: flow.stats()["shed"], lane)
    metrics.gauge("lane_running", "Calls under way, by lane.", lambda: flow.stats()["running"], lane)
    metrics.gauge("lane_waiting", "Calls that wait for their turn, by lane.", lambda: flow.stats()["waiting"], lane)
    metrics.counter(
        "lane_latency",
        "Calls by lane and by how long they took from their decoding to their answer: up to so many seconds.",
        lambda: flow.stats()["latency"],
        ("lane", "up_to"),
    )
    metrics.gauge("loop_pulse_seconds", "How late the loop is while background work is there.", lambda: flow.pulse.lag)
    kind = ("kind",)
    for name in ("done", "failed", "refused"):
        metrics.counter(
            f"processor_{name}",
            f"Calls of the processors that were {name}, by kind.",
            lambda name=name: processors.stats()[name],  # type: ignore[misc]
            kind,
        )
    metrics.gauge(
        "processor_waiting", "Calls at work or waiting, by kind.", lambda: processors.stats()["waiting"], kind
    )
    metrics.counter(
        "cache",
        "What became of live entries that were asked for: in memory, read from the disk, waited for; and put out.",
        lambda: {(name,): count for name, count in cache.stats().items()},
        labels=("outcome",),
    )
    metrics.gauge("cache_bytes", "About what values that may be put out take in memory.", lambda: cache.used)
    metrics.gauge("cache_bound_bytes", "The most that they may take.", lambda: cache.size)
    metrics.gauge("cache_entries", "Entries that may be put out, in memory.", lambda: cache.counted)
    metrics.gauge("cache_cold_entries", "Entries whose values are on the disk alone.", lambda: cache.cold)
    metrics.gauge(
        "cache_hit_ratio",
        "The part of all live entries asked for that were in memory.",
        lambda: cache.hits / max(1, cache.hits + cache.disk + cache.waited),
    )
