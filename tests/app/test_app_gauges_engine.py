"""The numbers of the meta-computer, scraped from a real daemon."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import Daemon

from lightfast.client import Client

WITHIN_S = 60.0
CACHES = {
    *("commands", "status", "responses", "summaries", "relations"),
    *("task_relations", "task_queries", "task_counts", "workflows", "statements"),
}
"""Every cache of the engine, by name."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    process = Daemon(tmp_path_factory.mktemp("gauges") / "home").start()
    try:
        yield process
    finally:
        process.stop()


def scrape(daemon: Daemon) -> dict[str, float]:
    """Return the numbers by name with labels."""
    address = daemon.endpoints["http"].removeprefix("http://")
    request = urllib.request.Request(f"http://{address}/metrics", headers={"authorization": f"Bearer {daemon.token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(number) for name, number in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def until(daemon: Daemon, name: str, least: float) -> dict[str, float]:
    """Scrape until a number is there and at least so large."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            found = scrape(daemon)
        except OSError:
            found = {}
        if found.get(f"lightfast_{name}", -1.0) >= least:
            return found
        assert time.monotonic() < deadline, f"{name} did not come to {least}: {sorted(found)}"
        time.sleep(0.05)


def test_all_numbers_of_the_rooms(daemon: Daemon, tmp_path: Path) -> None:
    with Client(home=daemon.home) as client:
        list(
            client.run('{"instructions": [{"id": "s1", "op": "context.set", "arguments": {"path": "/a", "value": 1}}]}')
        )
        client.create_task("one", task_id="one")
        client.update_task("one", state="DONE")
        for _ in range(3):
            client.task("one")
            client.tasks()
            client.say("hello there")
        client.say("cl:one")
        client.set_schedule(
            "never", "0 9 1 1 *", "memory_sync", payload={"source": "embedded", "target": "embedded"}, disabled=True
        )
        found = until(daemon, 'runs_ended_total{state="succeeded"}', 1)
    wanted = {
        'steps_total{state="done"}': 1,
        "approvals_waiting": 0,
        "dead_letters": 0,
        "schedules": 1,
        "trigger_fired_total": 0,
        "trigger_held_back_total": 0,
        'tasks{state="done"}': 1,
        "mirror_behind": 0,
        "http_streams": 0,
        "desk_acknowledged_seconds_count": 4,
        'engine_cache_lifetime_seconds{cache="status"}': 30,
        'engine_cache_lifetime_seconds{cache="summaries"}': 300,
        'engine_cache_lifetime_seconds{cache="task_queries"}': 10,
        'engine_cache_most{cache="commands"}': 100,
    }
    assert {name: found.get(f"lightfast_{name}") for name in wanted} == wanted
    assert found["lightfast_events_newest"] >= found["lightfast_events_oldest"] >= 1
    assert found["lightfast_event_watchers"] >= 1
    for figure in ("size", "most", "hits_total", "misses_total", "stale_total", "hit_ratio"):
        shown = {name for name in CACHES if f'lightfast_engine_cache_{figure}{{cache="{name}"}}' in found}
        assert shown == CACHES, figure
    for cache in ("task_relations", "task_queries", "responses", "statements"):
        assert found[f'lightfast_engine_cache_hits_total{{cache="{cache}"}}'] > 0, cache
    until(daemon, "job_wait_seconds_count", 0)
