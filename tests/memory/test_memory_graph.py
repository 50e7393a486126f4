"""A memory that a graph server keeps: opened again, shared with others, and with a server that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.knowledge_graph import KnowledgeGraph
from tests.support.memory import MONDAY, Desk, day, open_memory

from lightfast.context.memory.records import NewMemory
from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.engine.semantic.graph import REFRESH_S, TYPES, GraphMemory


async def opened(graph: KnowledgeGraph, clock: StillClock | None = None) -> Desk:
    clock = clock or StillClock(MONDAY)
    return Desk(await GraphMemory.open(graph, clock), clock)


async def test_what_is_kept_is_there_again(tmp_path: Path) -> None:
    graph = KnowledgeGraph()
    desk = await opened(graph)
    await desk.fact("the tempo is 120", "tempo")
    desk.at(day(2))
    await desk.fact("the tempo is 96", "tempo")
    await desk.relate("lamp", "hangs over", "stage", exclusive=True)
    await desk.relate("lamp", "hangs over", "door", exclusive=True)
    again = await opened(graph, desk.clock)
    for each in (desk, again):
        assert await each.texts("tempo") == ["the tempo is 96"]
        assert await each.texts("tempo", known=day(1)) == ["the tempo is 120"]
        assert await each.texts(subjects=("lamp",), depth=1) == ["lamp hangs over door"]
    await again.fact("the tempo is 80", "tempo")
    assert len((await again.memory.get("tempo")).versions) >= 3


async def test_others_see_what_holds_and_we_see_what_they_wrote() -> None:
    graph = KnowledgeGraph()
    graph.entities["Ada"] = {"name": "Ada", "entityType": "person", "observations": ["likes warm light"]}
    graph.relations.append({"from": "Ada", "to": "stage", "relationType": "works on"})
    desk = await opened(graph)
    assert await desk.texts("warm light") == ["Ada: likes warm light"]
    assert "Ada works on stage" in await desk.texts(subjects=("Ada",), depth=1)
    await desk.fact("the key is C", "key")
    await desk.relate("lamp", "over", "stage", exclusive=True)
    await desk.relate("lamp", "over", "door", exclusive=True)
    texts = [
        text for entity in graph.entities.values() if entity["entityType"] in TYPES for text in entity["observations"]
    ]
    assert "the key is C" in texts
    assert {"from": "lamp", "to": "door", "relationType": "over"} in graph.relations
    assert {"from": "lamp", "to": "stage", "relationType": "over"} not in graph.relations
    graph.entities["Ada"]["observations"].append("is away on Friday")
    assert "Ada: is away on Friday" not in await desk.texts("Friday")
    desk.clock.advance(REFRESH_S)
    assert await desk.texts("Friday") == ["Ada: is away on Friday"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("tool", ["create_entities", "add_observations"])
async def test_what_the_server_did_not_take_is_not_remembered(tool: str, after: bool) -> None:
    graph = KnowledgeGraph()
    desk = await opened(graph)
    await desk.fact("one", "k")
    graph.failing, graph.after = tool, after
    key = "k" if tool == "add_observations" else "new"
    with pytest.raises(Unavailable):
        await desk.fact("two", key)
    kept = (tool == "create_entities" and after) or (tool == "add_observations" and after)
    assert ("two" in await desk.texts(kind=2)) is kept  # what the server has counts, whatever it said
    await desk.fact("three", "k")
    again = await opened(graph, desk.clock)
    assert await again.texts(kind=2) == await desk.texts(kind=2)


async def test_a_server_that_is_none_is_named() -> None:
    class Other(KnowledgeGraph):
        async def call(self, tool: str, arguments: Any) -> Any:
            return {"result": "hello"}

    with pytest.raises(FailedPrecondition, match="no memory server"):
        await opened(Other())
    graph = KnowledgeGraph()
    graph.entities["x"] = {"name": "x", "entityType": TYPES[0], "observations": ['{"lightfast":1,"row":{}}']}
    with pytest.raises(FailedPrecondition, match="damaged"):
        await opened(graph)


async def test_the_kind_of_the_suite_opens_what_it_kept(tmp_path: Path) -> None:
    async with open_memory(tmp_path, "server") as one:
        await one.memory.remember(NewMemory(text="kept", key="k"), origin="x")
    async with open_memory(tmp_path, "server") as other:
        assert (await other.memory.get("k")).versions[0].text == "kept"
