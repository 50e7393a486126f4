"""The numbers of the meta-computer: runs, jobs, triggers, events, the desk, and every cache of theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lightfast.core.metrics import Metrics
from lightfast.engine.meta import MetaComputer
from lightfast.sdk import figures
from lightfast.storage.database import Database

Numbers = dict[tuple[str, ...], float]


def measure_engine(metrics: Metrics, meta: MetaComputer, db: Database, streams: Callable[[], int]) -> None:
    """Register every number; each is read when somebody scrapes. *streams* returns how many HTTP streams are open."""
    kind = ("kind",)
    metrics.gauge(
        "runs",
        "Runs that have not ended, by state; queued: those that wait for room.",
        lambda: _lower(meta.runs.live()),
        ("state",),
    )
    metrics.gauge("approvals_waiting", "Runs that wait for an approval.", lambda: meta.runs.live()["AWAITING_APPROVAL"])
    metrics.counter(
        "runs_ended", "Runs that came to a state, by state.", lambda: _of(meta.events.counts, "run."), ("state",)
    )
    metrics.counter(
        "steps", "Steps of runs that came to a state, by state.", lambda: _of(meta.events.counts, "step."), ("state",)
    )
    metrics.gauge(
        "jobs",
        "Jobs that have not ended, by type and state.",
        lambda: {(name, state.lower()): count for (name, state), count in meta.jobs.live().items()},
        ("type", "state"),
    )
    metrics.counter("jobs_told", "Events of jobs, by what happened.", lambda: _of(meta.events.counts, "job."), kind)
    metrics.histogram("job_wait_seconds", "How long jobs waited for a worker.", lambda: {(): meta.jobs.queue.waits}, ())
    metrics.gauge("dead_letters", "Jobs that are dead letters.", meta.jobs.dead)
    metrics.gauge("schedules", "Schedules of jobs.", lambda: len(meta.schedules.all()))
    metrics.counter("trigger_fired", "How often triggers fired.", lambda: meta.triggers.totals()[0])
    metrics.counter("trigger_held_back", "How often triggers held back.", lambda: meta.triggers.totals()[1])
    metrics.gauge("tasks", "Tasks, by state.", lambda: _lower(meta.workspaces.tasks.counts()), ("state",))
    metrics.gauge("events_newest", "The number of the last event.", lambda: meta.events.newest)
    metrics.gauge("events_oldest", "The number of the oldest event that is kept.", lambda: meta.events.oldest)
    metrics.gauge("event_watchers", "Watchers of events now.", lambda: meta.events.watchers)
    metrics.histogram(
        "desk_acknowledged_seconds",
        "How long acknowledgements of lines took, that of the disk included.",
        lambda: {(): meta.desk.acknowledged},
        (),
    )
    metrics.counter("desk", "What the desk told, by kind.", lambda: _of(meta.events.counts, "desk."), kind)
    metrics.gauge("desk_waiting", "Lines that the back does not have yet.", lambda: meta.desk.back().waiting)
    metrics.gauge("http_streams", "Streams open over HTTP.", streams)
    metrics.gauge("mirror_behind", "1 while the mirror of tasks cannot be written.", lambda: int(_behind(meta)))
    metrics.gauge(
        "plugin_figure",
        "What plugins count: of MCP servers asked, sent, merged, batches, hits.",
        lambda: {
            (kind, name, figure): number for kind, name, found in figures.shown() for figure, number in found.items()
        },
        ("kind", "name", "figure"),
    )
    _measure_caches(metrics, meta, db)


def _measure_caches(metrics: Metrics, meta: MetaComputer, db: Database) -> None:
    def each(name: str) -> Callable[[], Numbers]:
        return lambda: {(cache,): found[name] for cache, found in _caches(meta, db)}

    cache = ("cache",)
    metrics.gauge("engine_cache_size", "Things in a cache.", each("size"), cache)
    metrics.gauge("engine_cache_most", "The most things a cache holds.", each("most"), cache)
    metrics.gauge(
        "engine_cache_lifetime_seconds", "How long a thing is kept; 0: until it changes.", each("lifetime_s"), cache
    )
    metrics.counter("engine_cache_hits", "What a cache had.", each("hits"), cache)
    metrics.counter("engine_cache_misses", "What a cache did not have.", each("misses"), cache)
    metrics.counter(
        "engine_cache_stale", "What a cache had from before a change: it was not given out.", each("stale"), cache
    )
    metrics.gauge("engine_cache_hit_ratio", "The part a cache had of all it was asked for.", each("hit_ratio"), cache)


def _caches(meta: MetaComputer, db: Database) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the figures of each cache by its name."""
    yield from meta.desk.figures().items()
    for kept in meta.workspaces.tasks.caches:
        yield kept.name, kept.figures()
    yield "workflows", meta.workflows.figures()
    yield "statements", db.statements()


def _of(counts: Counter[str], prefix: str) -> Numbers:
    return {(name.removeprefix(prefix),): number for name, number in counts.items() if name.startswith(prefix)}


def _lower(found: Mapping[str, int]) -> Numbers:
    return {(name.lower(),): number for name, number in found.items()}


def _behind(meta: MetaComputer) -> bool:
    return meta.mirror is not None and bool(meta.mirror.trouble)
