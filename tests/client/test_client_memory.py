"""The methods for the memory of both clients, against one real daemon."""

from __future__ import annotations

import inspect
import time

import pytest
from tests.support.mistakes import Desk

from lightfast.client import AsyncClient, Client
from lightfast.client.memories import BlockingMemoryCalls, MemoryCalls
from lightfast.core.errors import InvalidArgument, NotFound

HOUR = 3600 * 10**9


def test_both_clients_have_the_same_methods() -> None:
    public = [name for name, _ in inspect.getmembers(MemoryCalls, inspect.isfunction) if name[0] != "_"]
    assert set(public) - {"call"} == {
        name for name, _ in inspect.getmembers(BlockingMemoryCalls, inspect.isfunction) if name[0] != "_"
    }


def test_from_remembering_to_forgetting(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        first = client.remember("the lamp is green", key="lamp", fact=True, tags=["prop"], metadata={"n": 1}).memory
        now = time.time_ns()
        client.remember("the lamp is blue", key="lamp", fact=True, valid_from_ns=now - HOUR)
        (hit,) = client.recall("lamp")
        assert hit.memory.text == "the lamp is blue"
        known = first.record_time.ToNanoseconds()
        (hit,) = client.recall("lamp", known_at_ns=known)
        assert hit.memory.text == "the lamp is green"
        assert client.recall("lamp", as_of_ns=now - 2 * HOUR) == []
        tied = client.relate("lamp", "stands on", "table", exclusive=True, strength=0.9)
        moved = client.relate("lamp", "stands on", "floor", exclusive=True)
        assert [item.relation_id for item in moved.closed] == [tied.relation.relation_id]
        assert [hit.relation.object for hit in client.recall(subjects=["lamp"], depth=1)] == ["floor"]
        found = client.get_memory("lamp")
        assert [item.object for item in found.relations] == ["floor"]
        assert {item.version for item in found.versions} == {1, 2}
        assert client.forget("lamp", relations=[moved.relation.relation_id], reason="broken").memories == 1
        assert client.memories(fact=True) == []
        assert [item.key for item in client.memories(tags=["prop"], include_closed=True)] == []  # its last one has none
        with pytest.raises(NotFound):
            client.get_memory("nothing")
        with pytest.raises(InvalidArgument):
            client.remember("")
        with pytest.raises(ValueError, match="ranking"):
            client.recall("lamp", ranking="best")


async def test_more_than_a_page(desk: Desk) -> None:
    async with AsyncClient(home=desk.home) as client:
        for number in range(12):
            await client.remember(f"page {number}", key=f"page{number}", tags=["page"])
        assert len(await client.memories(tags=["page"], limit=5)) == 5
        assert len(await client.memories(tags=["page"], fact=False)) == 12
        assert len(await client.recall("page", tags=["page"], limit=3, ranking="newest")) == 3
        assert len(await client.recall("page", tags=["page"], limit=300, ranking="relevance", embedder="trigram")) == 12
