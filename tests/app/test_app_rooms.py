"""The rooms of the memory, put together in a real daemon: their numbers, and what one asks of another."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from tests.support.daemon import Daemon, daemon

from lightfast.client import Client

ROOMS = {
    "history": "lightfast_history_rows",
    "past": "lightfast_past_reads_total",
    "cache": "lightfast_cache_bound_bytes",
    "lanes": "lightfast_lane_running",
    "processors": "lightfast_processor_waiting",
    "archive": "lightfast_archive_cache_items",
    "search": "lightfast_archive_index",
    "layers": "lightfast_archive_layers",
    "private frames": "lightfast_archive_unlocked",
    "embedders": "lightfast_embedder_missing",
    "scenes": "lightfast_recalls",
    "collector": "lightfast_collector_runs_total",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("rooms") / "home") as found:
        yield found


def scrape(house: Daemon) -> str:
    request = urllib.request.Request(
        f"http://{house.endpoints['http']}/metrics", headers={"Authorization": f"Bearer {house.token}"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return str(answer.read().decode())


def test_each_room_has_its_numbers(house: Daemon) -> None:
    text = scrape(house)
    assert {room: name for room, name in ROOMS.items() if f"\n{name}" not in text} == {}
    assert "lightfast_archive_unlocked 0.0" in text
    with Client(home=str(house.home)) as client:
        client.unlock_archive("a secret for a test", create=True)
        list(client.collect_garbage())
    text = scrape(house)
    assert "lightfast_archive_unlocked 1.0" in text
    assert "lightfast_collector_runs_total 1.0" in text


def test_a_view_for_a_model_holds_what_is_remembered(house: Daemon) -> None:
    with Client(home=str(house.home)) as client:
        client.remember("the fog machine stands behind the drums", key="fog.place", fact=True)
        client.remember("the fog machine stands beside the bass", key="fog.place", fact=True)
        client.relate("the fog machine", "is run by", "the drummer")
        without = client.view_for_model(500, purpose="the fog machine")
        view = client.view_for_model(500, purpose="the fog machine", memory=True)
    assert "fog" not in without.text
    assert "beside the bass" in view.text
    assert "behind the drums" not in view.text
    assert "is run by the drummer" in view.text
    assert view.tokens <= 500
