"""MemoryService over a real socket: facts, notes and relations, both times, and what is refused by the field's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tests.support.grpc_daemon import Refusal, refused, running

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.context.entry import Set

FACT: dict[str, Any] = {
    "kind": "MEMORY_KIND_FACT",
    "text": "The cube is rendered in warm light 🎛",
    "key": "look.cube",
    "tags": ["look", "light"],
    "metadata": {"where": {"string_value": "/scene"}, "at": {"vector_value": {"values": [1.0, 2.5]}}},
    "strength": 0.75,
    "confidence": 0.5,
    "source": "/notes/1",
    "valid_from": "2026-03-02T10:00:00.000000001Z",
    "valid_to": "2027-03-02T10:00:00Z",
}
TIE: dict[str, Any] = {
    "subject": "look.cube",
    "predicate": "uses",
    "object": "/blender/materials/Gold",
    "metadata": {"n": {"int_value": "7"}},
    "strength": 0.0,
    "confidence": 0.25,
    "source": "me",
    "valid_from": "1969-07-20T20:17:40Z",
}


def request(message: Any, /, **fields: Any) -> Any:
    return json_format.ParseDict(fields, message())


def plain(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


async def test_every_field_goes_there_and_back(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        await daemon.store.apply([Set("/a", 1)], origin="client:test")
        done = await stub.Remember(request(pb.RememberRequest, **FACT))
        found = plain(done.memory)
        assert {name: found[name] for name in FACT} == FACT
        assert found["version"] == "1"
        assert found["revision"] == "1"
        assert found["memory_id"].startswith("memory-")
        assert "superseded_time" not in found
        assert done.memory.origin
        assert (done.revision, done.store_id) == (1, daemon.store.store_id)
        assert not done.HasField("similar")
        tied = await stub.Relate(request(pb.RelateRequest, **TIE))
        found = plain(tied.relation)
        assert {name: found.get(name, 0.0) for name in TIE} == TIE
        assert "valid_to" not in found
        shown = await stub.GetMemory(pb.GetMemoryRequest(memory="look.cube"))
        assert list(shown.versions) == [done.memory]
        assert list(shown.relations) == [tied.relation]
        listed = await stub.ListMemories(pb.ListMemoriesRequest(tags=["look"]))
        assert list(listed.memories) == [done.memory]
        hits = (await stub.Recall(pb.RecallRequest(query="warm cube"))).hits
        assert hits[0].memory == done.memory
        assert (hits[0].keyword_rank, hits[0].vector_rank) == (1, 1)
        assert tied.relation in [hit.relation for hit in hits]


async def test_both_times(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        one = await stub.Remember(request(pb.RememberRequest, text="the tempo is 120", key="tempo"))
        two = await stub.Remember(
            request(pb.RememberRequest, text="the tempo is 96", key="tempo", valid_from="2026-03-03T00:00:00Z")
        )
        assert two.memory.version == 2
        known = pb.RecallRequest(query="tempo", as_of_record=one.memory.record_time)
        (hit,) = (await stub.Recall(known)).hits
        assert hit.memory.text == "the tempo is 120"
        assert hit.memory.superseded_time == two.memory.record_time
        known.as_of_valid.FromJsonString("2026-03-04T00:00:00Z")
        assert not (await stub.Recall(known)).hits
        true = request(pb.RecallRequest, query="tempo", as_of_valid="2026-03-04T00:00:00Z")
        (hit,) = (await stub.Recall(true)).hits
        assert hit.memory.text == "the tempo is 96"


async def test_relations_close_and_memories_end(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        old = await stub.Relate(request(pb.RelateRequest, subject="cube", predicate="at", object="left"))
        new = await stub.Relate(
            request(pb.RelateRequest, subject="cube", predicate="at", object="right", exclusive=True)
        )
        (closed,) = new.closed
        assert closed.relation_id == old.relation.relation_id
        assert closed.closed_by == new.relation.relation_id
        assert closed.valid_to == new.relation.valid_from
        await stub.Remember(request(pb.RememberRequest, text="note", key="n"))
        done = await stub.Forget(
            request(pb.ForgetRequest, memories=["n"], relations=[new.relation.relation_id], reason="over")
        )
        assert (done.memories, done.relations) == (1, 1)
        assert not (await stub.Recall(pb.RecallRequest())).hits
        (listed,) = (await stub.ListMemories(pb.ListMemoriesRequest(include_closed=True))).memories
        assert (listed.reason, listed.kind) == ("over", pb.MEMORY_KIND_NOTE)


async def test_pages_rankings_and_embedder(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        for number in range(30):
            await stub.Remember(request(pb.RememberRequest, text=f"take {number} of the solo", key=f"k{number}"))
        asked = pb.RecallRequest(query="take solo", page_size=8, ranking=pb.RANKING_NEWEST)
        seen = []
        while True:
            found = await stub.Recall(asked)
            assert (found.embedder, found.store_id) == ("", daemon.store.store_id)
            seen += [hit.memory.text for hit in found.hits]
            if not found.next_page_token:
                break
            asked.page_token = found.next_page_token
        assert seen == [f"take {number} of the solo" for number in range(29, -1, -1)]
        found = await stub.Recall(pb.RecallRequest(query="solo", ranking=pb.RANKING_RELEVANCE, include_archive=True))
        assert found.embedder == "trigram"
        assert {hit.memory.tier for hit in found.hits} == {"history"}
        assert len(found.hits) == 20
        first = await stub.ListMemories(pb.ListMemoriesRequest(page_size=20))
        rest = await stub.ListMemories(pb.ListMemoriesRequest(page_size=20, page_token=first.next_page_token))
        assert (len(first.memories), len(rest.memories), rest.next_page_token) == (20, 10, "")


async def test_a_request_id_counts_once(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        asked = request(pb.RememberRequest, text="once", key="k", request_id="r1")
        first = await stub.Remember(asked)
        await stub.Remember(request(pb.RememberRequest, text="twice", key="k"))
        assert (await stub.Remember(asked)).memory == first.memory
        asked.text = "other"
        failed = await refused(stub.Remember(asked))
        assert (failed.code, failed.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        forget = pb.ForgetRequest(memories=["k"], request_id="r1")
        assert [(await stub.Forget(forget)).memories for _ in range(2)] == [1, 1]
        tie = request(pb.RelateRequest, subject="a", predicate="b", object="c", request_id="r1")
        assert (await stub.Relate(tie)).relation == (await stub.Relate(tie)).relation


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("Remember", {"text": ""}, "text"),
        ("Remember", {"text": "x", "kind": 9}, "kind"),
        ("Remember", {"text": "x", "strength": 1.5}, "strength"),
        ("Remember", {"text": "x", "valid_to": "2001-01-01T00:00:00Z"}, "valid_to"),
        ("Remember", {"text": "x", "valid_from": "0001-01-01T00:00:00Z"}, "valid_from"),
        ("Remember", {"text": "x", "metadata": {"a": {}}}, "metadata.a"),
        ("Relate", {"subject": "a", "predicate": "", "object": "b"}, "predicate"),
        ("Relate", {"subject": "a", "predicate": "b", "object": "b", "confidence": -1}, "confidence"),
        ("Recall", {"ranking": 9}, "ranking"),
        ("Recall", {"depth": 5}, "depth"),
        ("Recall", {"as_of_valid": "9999-01-01T00:00:00Z"}, "as_of_valid"),
        ("Recall", {"page_token": "x"}, "page_token"),
        ("Recall", {"page_size": -1}, "page_size"),
        ("Recall", {"embedder": "nobody"}, "embedder"),
        ("Forget", {}, "memories"),
        ("Forget", {"memories": ["x"], "valid_to": "9999-01-01T00:00:00Z"}, "valid_to"),
        ("ListMemories", {"kind": 9}, "kind"),
        ("ListMemories", {"page_token": "!"}, "page_token"),
        ("ListMemories", {"tags": [""]}, "tags"),
    ],
)
async def test_what_is_refused(tmp_path: Path, method: str, fields: dict[str, Any], field: str) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        failed = await refused(getattr(stub, method)(request(getattr(pb, f"{method}Request"), **fields)))
        assert field in failed.fields, failed
        assert failed.code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


async def test_what_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("memory")
        failed: list[Refusal] = [
            await refused(stub.GetMemory(pb.GetMemoryRequest(memory="x"))),
            await refused(stub.Forget(pb.ForgetRequest(memories=["x"]))),
            await refused(stub.Forget(pb.ForgetRequest(relations=["x"]))),
        ]
        assert [f.reason for f in failed] == ["MEMORY_NOT_FOUND", "MEMORY_NOT_FOUND", "RELATION_NOT_FOUND"]
        assert {f.code for f in failed} == {grpc.StatusCode.NOT_FOUND}


async def test_who_may(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = (await daemon.channel("grpc"), await daemon.token("watcher", "watch"))
        from lightfast.api.v1.memory_pb2_grpc import MemoryServiceStub

        memory: Any = MemoryServiceStub(stub[0])
        metadata = (("authorization", f"Bearer {stub[1]}"),)
        assert not (await memory.Recall(pb.RecallRequest(), metadata=metadata)).hits
        for method, asked in (
            ("Remember", pb.RememberRequest(text="x")),
            ("Relate", pb.RelateRequest(subject="a", predicate="b", object="c")),
            ("Forget", pb.ForgetRequest(memories=["x"])),
        ):
            failed = await refused(getattr(memory, method)(asked, metadata=metadata))
            assert failed.code is grpc.StatusCode.PERMISSION_DENIED
