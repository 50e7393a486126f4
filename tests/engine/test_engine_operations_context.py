"""Operations on the context, scenes and memory, over the real rooms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support.operations import RUN, OpHouse, operation_house, told

from lightfast.context.entry import Declaration, Mutation, Set
from lightfast.core.errors import AlreadyExists, LightfastError, NotFound
from lightfast.sdk import ASKING, POOLS, Mistake, Operation, OperationCall, Outcome
from lightfast.sdk.contract_work import check_operation
from lightfast.storage.blobs import Provenance
from lightfast_link.value import Asset, Value

NAMES = [
    "app.command",
    "context.apply",
    "context.delete",
    "context.get",
    "context.merge",
    "context.move",
    "context.set",
    "embed.texts",
    "flow.branch",
    "flow.map",
    "generate.audio",
    "generate.image",
    "generate.text",
    "generate.video",
    "memory.forget",
    "memory.recall",
    "memory.remember",
    "scene.delete",
    "scene.recall",
    "scene.save",
    "task.create",
    "task.update",
    "transport.play",
    "transport.seek",
    "transport.stop",
    "transport.tempo",
    "value.compute",
    "wait.beat",
    "wait.pattern",
    "wait.seconds",
    "workflow.call",
]


async def declared(house: OpHouse) -> None:
    await house.rooms.store.declare(
        [
            Declaration("/mix/*/level", kind="double", minimum=0.0, maximum=1.0),
            Declaration("/mix/*/place", kind="vector"),
            Declaration("/mix/meter", kind="double", access="r"),
        ],
        owner="test",
    )


async def test_the_book_lists_them_and_each_keeps_the_contract_of_plugins(tmp_path: Path) -> None:
    import jsonschema_rs

    async with operation_house(tmp_path) as house:
        assert list(house.book.names()) == NAMES
        assert [kind.operation.name for kind in house.book.kinds()] == NAMES
        for kind in house.book.kinds():
            operation = kind.operation
            assert kind.plugin == ""
            check_operation(operation)
            jsonschema_rs.validator_for(dict(operation.arguments))
            jsonschema_rs.validator_for(dict(operation.result))
            assert operation.pool in POOLS
            assert operation.arguments["additionalProperties"] is False
            assert len(operation.summary) <= 120
            for name, rule in operation.arguments["properties"].items():
                assert rule.get("description"), (operation.name, name)


async def test_a_plugin_adds_and_takes_back_its_own(tmp_path: Path) -> None:
    class Fade(Operation):
        name = "light.fade"
        summary = "Fade."
        arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}

        async def perform(self, call: OperationCall, bench: object) -> Outcome:
            return Outcome()

    async with operation_house(tmp_path) as house:
        mine, other = Fade(), Fade()
        house.book.add_operation("lamps", mine)
        assert house.book.find("light.fade") is mine
        assert house.book.plugin("light.fade") == "lamps"
        assert "light.fade" in house.book.names()
        with pytest.raises(AlreadyExists, match=r"'light\.fade' of plugin stage is already brought by plugin lamps"):
            house.book.add_operation("stage", other)
        house.book.remove_operation("stage", other)
        assert house.book.find("light.fade") is mine
        house.book.remove_operation("lamps", mine)
        assert house.book.find("light.fade") is None
        builtin = Fade()
        builtin.name = "context.set"  # type: ignore[misc]
        with pytest.raises(AlreadyExists, match="brought by the daemon itself"):
            house.book.add_operation("lamps", builtin)


async def test_values_are_set_merged_moved_deleted_and_read(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        await declared(house)
        assert (await house.perform("context.set", path="/mix/a/level", value=1)).value == 1.0
        assert house.value("/mix/a/level") == 1.0
        await house.perform("context.set", path="/mix/a/place", value=[1, 2.5])
        assert house.value("/mix/a/place") == (1.0, 2.5)
        await house.perform("context.set", path="/notes", value={"who": "me", "list": [1, "two"]})
        await house.perform("context.merge", path="/notes", value={"when": "now"})
        assert house.value("/notes") == {"who": "me", "list": [1, "two"], "when": "now"}
        await house.perform("context.move", source="/mix/a", path="/mix/b")
        assert house.value("/mix/a/level") is None
        assert (await house.perform("context.get", path="/mix/b/level")).value == 1.0
        assert (await house.perform("context.get", path="/nothing")).value is None
        got = await house.perform("context.get", paths=["/mix/b/level", "/nothing", "/notes"])
        assert got.value == {"/mix/b/level": 1.0, "/notes": house.value("/notes")}
        got = await house.perform("context.get", pattern="/mix/*/level")
        assert got.value == {"/mix/b/level": 1.0}
        await house.perform("context.delete", path="/notes")
        assert house.value("/notes") is None
        undone = await house.rooms.store.undo(group=RUN, origin="client:test")
        assert undone.revision
        assert house.rooms.store.select("/mix//") == []


async def test_several_changes_are_one_transaction(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        await declared(house)
        await house.perform("context.set", path="/old", value="x")
        before = house.rooms.store.revision
        changes = [
            {"kind": "set", "path": "/mix/a/level", "value": 1},
            {"kind": "merge", "path": "/map", "value": {"a": [1, 2]}},
            {"kind": "delete", "path": "/old"},
        ]
        apply = house.find("context.apply")
        assert list(apply.writes({"changes": changes})) == ["/mix/a/level", "/map", "/old"]
        assert list(apply.reads({"changes": changes})) == ["/map"]
        assert house.check("context.apply", changes=changes) == []
        outcome = await house.perform("context.apply", changes=changes)
        assert outcome.value == [1.0, {"a": [1, 2]}, {}]
        assert house.rooms.store.revision == before + 1
        values = {path: house.value(path) for path in ("/mix/a/level", "/map", "/old")}
        assert values == {"/mix/a/level": 1.0, "/map": {"a": [1, 2]}, "/old": None}
        wrong = [*changes, {"kind": "set", "path": "/mix/a/level", "value": 7}, {"kind": "merge", "path": "/map"}]
        found = [(one.reason, one.field) for one in house.mistakes("context.apply", changes=wrong) if not one.warning]
        assert found == [
            ("VALUE_OUT_OF_RANGE", "arguments.changes[3].value"),
            ("VALUE_INVALID", "arguments.changes[4].value"),
        ]


async def test_an_asset_is_written_by_its_address(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        record = await house.rooms.gateway.blobs.put(b"bytes", "image/png", "a.png", Provenance(origin="test"))
        await house.perform("context.set", path="/picture", value=f"asset:{record.sha256}")
        assert house.value("/picture") == Asset(record.uri, "image/png", record.sha256, 5)
        with pytest.raises(NotFound):
            await house.perform("context.set", path="/picture", value="asset:" + "0" * 64)


async def test_mistakes_are_found_before_anything_runs(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        await declared(house)
        await house.rooms.store.apply([], origin="client:test")
        await house.perform("context.set", path="/mix/a/level", value=0.5)
        await house.perform("context.set", path="/free/thing", value="text")
        check = house.check
        assert check("context.set", path="/mix/a/level", value=0.25) == []
        assert check("context.set", path="/mix/a/level", value=1.5) == ["VALUE_OUT_OF_RANGE"]
        assert check("context.set", path="/mix/a/level", value="loud") == ["VALUE_WRONG_TYPE"]
        assert check("context.set", path="/mix/a/level", value=None) == ["VALUE_INVALID"]
        assert check("context.set", path="/mix/a/place", value=["x"]) == ["VALUE_INVALID"]
        assert check("context.set", path="/mix/meter", value=1.0) == ["READ_ONLY"]
        assert check("context.set", path="/lightfast/apps/x", value=1.0) == ["READ_ONLY"]
        assert check("context.set", path="/mix//level", value=1.0) == ["PATH_INVALID"]
        assert check("context.set", path="/mix/*/level", value=1.0) == ["PATH_INVALID"]
        assert check("context.set", path="${s1.path}", value=1.0) == []
        assert check("context.set", path="/mix/a/level", value="${s1}") == []
        assert check("context.delete", path="/mix/a/levl") == ["~PATH_EMPTY"]
        assert check("context.get", path="/mix/a/levl") == ["~PATH_EMPTY"]
        assert "Did you mean /mix/a/level?" in house.mistakes("context.get", path="/mix/a/levl")[0].message
        assert check("context.get", pattern="/a/[") == ["PATTERN_INVALID"]
        assert check("context.merge", path="/free/thing", value={"a": 1}) == ["VALUE_INVALID"]
        assert check("context.merge", path="/free/map", value=[1]) == ["VALUE_INVALID"]
        assert check("context.move", source="/free/thing", path="/mix/a/level") == ["TARGET_TAKEN"]
        assert check("context.move", source="/free/thing", path="/free/other") == []


async def test_reads_and_writes_are_said_also_while_they_are_not_known(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        move, get, put = (house.find(f"context.{name}") for name in ("move", "get", "set"))
        assert list(put.writes({"path": "/a/b", "value": 1})) == ["/a/b"]
        assert list(put.writes({"path": "${x}", "value": 1})) == ["//"]
        assert list(move.writes({"source": "/a", "path": "/b"})) == ["/a", "/a//", "/b", "/b//"]
        assert list(get.reads({"paths": ["/a", "/b"]})) == ["/a", "/b"]
        assert list(get.reads({"pattern": "/a/*"})) == ["/a/*"]
        assert list(get.reads({"paths": "${x}"})) == ["//"]
        assert list(put.writes({"path": "/a/$${b", "value": 1})) == ["/a/$${b"]


async def test_a_scene_is_saved_once_recalled_and_deleted_again(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        await house.perform("context.set", path="/mix/level", value=0.5)
        assert house.check("scene.recall", name="warm") == ["~SCENE_UNKNOWN"]
        saved = await house.perform("scene.save", "s2", name="warm", patterns=["/mix//"])
        assert saved.value == {"name": "warm", "version": 1, "entries": 1, "revision": house.rooms.store.revision}
        again = await house.again("scene.save", "s2", name="warm", patterns=["/mix//"])
        assert again == saved
        assert [scene.version for scene in await house.rooms.scenes.all()] == [1]  # type: ignore[union-attr]
        await house.book.world.ready()
        assert house.check("scene.recall", name="warm") == []
        (unknown,) = house.mistakes("scene.recall", name="wrm")
        assert "did you mean 'warm'?" in unknown.message

        await house.rooms.store.apply(_sets(("/mix/level", 0.9)), origin="client:test")
        recalled = await house.perform("scene.recall", "s3", name="warm")
        assert house.value("/mix/level") == 0.5
        assert recalled.revision == house.rooms.store.revision
        assert recalled.value == {"revision": recalled.revision, "settled": 0, "problems": []}
        (transaction,) = await house.rooms.store.replay(recalled.revision - 1, recalled.revision, 1)
        assert (transaction.group, transaction.origin) == (RUN, f"run:{RUN}")
        await house.rooms.store.undo(revision=recalled.revision, origin="client:test")
        assert house.value("/mix/level") == 0.9

        second = await house.perform("scene.save", "s4", name="warm")
        assert second.undo is None
        assert "version 2 of 'warm' stays" in second.stuck
        gone = await house.undo(saved)
        assert gone.value == {"deleted": True}
        assert await house.rooms.scenes.all() == []  # type: ignore[union-attr]
        assert (await house.perform("scene.delete", name="warm")).value == {"deleted": False}
        assert house.effects("scene.delete", name="warm") == {"destructive"}


async def test_what_is_remembered_is_remembered_once_and_found(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        said = {"text": "The kick sits at 52 Hz", "key": "kick", "tags": ["mix"], "fact": True}
        outcome = await house.perform("memory.remember", **said)
        assert await house.again("memory.remember", **said) == outcome
        assert told(outcome)["version"] == 1
        found = await house.perform("memory.recall", query="where does the kick sit", limit=3)
        (hit,) = told(found)
        assert (hit["text"], hit["key"], hit["tags"]) == ("The kick sits at 52 Hz", "kick", ["mix"])
        await house.undo(outcome)
        assert (await house.perform("memory.recall", query="kick")).value == []
        newer = await house.perform("memory.remember", "s9", text="The kick sits at 48 Hz", key="kick")
        assert newer.undo is None
        assert newer.stuck


async def test_a_room_that_is_not_there_is_said_before_and_in_it(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        house.rooms.memory = house.rooms.scenes = house.rooms.transport = None
        for name, arguments in (
            ("memory.recall", {"query": "x"}),
            ("scene.save", {"name": "x"}),
            ("transport.play", {}),
            ("task.create", {"title": "x"}),
        ):
            assert house.check(name, **arguments) == ["NOT_HERE"]
            with pytest.raises(LightfastError, match="this daemon runs without") as caught:
                await house.perform(name, **arguments)
            assert caught.value.reason == "NOT_HERE"


async def test_what_asks_for_an_approval_says_so(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        asking = {kind.operation.name for kind in house.book.kinds() if kind.operation.possible_effects & ASKING}
        assert asking == {
            "app.command", "embed.texts", "generate.audio", "generate.image", "generate.text", "generate.video",
            "scene.delete", "workflow.call",
        }  # fmt: skip
        assert all(isinstance(one, Mistake) for one in house.mistakes("scene.recall", name="x"))


def _sets(*pairs: tuple[str, Value]) -> list[Mutation]:
    return [Set(path, value) for path, value in pairs]
