"""Operations that wait, compute, call, work on tasks and move the timeline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.operations import OpHouse, operation_house, told

from lightfast.core.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.operations.world import KnownWorkflow
from lightfast.engine.programs.program import Instruction, Program
from lightfast.sdk import EVERYTHING, Outcome, Undoing
from lightfast.sdk.testing import check_operation


async def waiting(house: OpHouse, name: str, /, **arguments: Any) -> asyncio.Task[Outcome]:
    """Begin to wait, and return when the wait has begun."""
    task = asyncio.ensure_future(house.perform(name, **arguments))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_change_is_waited_for(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        await house.perform("context.set", path="/mix/a", value=0.1)
        task = await waiting(house, "wait.pattern", pattern="/mix/*")
        await house.rooms.store.apply([], origin="client:test")
        await _set(house, "/other", 1)
        assert not task.done()
        await _set(house, "/mix/b", "loud")
        assert (await task).value == {"path": "/mix/b", "value": "loud"}


async def test_a_condition_may_hold_already_or_later(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        await _set(house, "/mix/a", 0.9)
        found = await house.perform("wait.pattern", pattern="/mix/*", condition="item > 0.5")
        assert found.value == {"path": "/mix/a", "value": 0.9}
        wanted = {"pattern": "/mix/*", "condition": 'item >= 2 and path == "/mix/c"'}
        task = await waiting(house, "wait.pattern", **wanted)
        await _set(house, "/mix/b", 3)
        await _set(house, "/mix/c", 1)
        await _set(house, "/mix/c", 2)
        assert (await task).value == {"path": "/mix/c", "value": 2}


async def test_a_wait_ends_with_its_time(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        with pytest.raises(DeadlineExceeded, match=r"nothing at /mix/\* changed within 0\.01 s"):
            await house.perform("wait.pattern", pattern="/mix/*", timeout=0.01)
        call = house.call({"pattern": "/mix/*", "condition": "item > 1"}, deadline_s=0.01)
        with pytest.raises(DeadlineExceeded, match="was such that item > 1"):
            await house.find("wait.pattern").perform(call, house.bench)
        for name, arguments in (("wait.seconds", {"seconds": 50}), ("wait.beat", {"beats": 400})):
            with pytest.raises(DeadlineExceeded, match=name):
                await house.find(name).perform(house.call(arguments, deadline_s=0.02), house.bench)
        await house.perform("wait.seconds", seconds=0.001)


async def test_mistakes_of_waits(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        assert house.check("wait.pattern", pattern="/a/[") == ["PATTERN_INVALID"]
        assert house.check("wait.pattern", pattern="/a", condition="item >") == ["EXPRESSION_INVALID"]
        assert house.check("wait.pattern", pattern="/a", condition="level > 1") == ["EXPRESSION_INVALID"]
        assert house.check("wait.pattern", pattern="/a", condition="item > 1 and path == '/a'") == []
        assert house.check("wait.beat", bar=1) == ["~TIMELINE_STOPPED"]
        for name in ("wait.pattern", "wait.beat", "wait.seconds"):
            operation = house.find(name)
            assert operation.reads({}) == operation.writes({}) == EVERYTHING
            assert not operation.acts
            assert operation.idempotent


async def test_beats_and_bars_are_waited_for(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        transport = house.rooms.transport
        assert transport is not None
        await house.perform("transport.tempo", bpm=600)
        await house.perform("transport.seek", beats=1.0)
        task = await waiting(house, "wait.beat", bar=1)
        await house.perform("transport.play")
        outcome = await task
        assert told(outcome)["beats"] >= 4.0
        before = transport.record().beats
        outcome = await house.perform("wait.beat", beats=2)
        assert told(outcome)["beats"] >= before + 2.0
        task = await waiting(house, "wait.beat", beats=1000)
        await house.perform("transport.seek", beats=2000.0)
        assert told(await task)["beats"] >= 2000.0


async def test_the_timeline_is_moved_and_brought_back(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        transport = house.rooms.transport
        assert transport is not None
        tempo = transport.record().tempo
        fast = await house.perform("transport.tempo", bpm=128)
        assert fast.undo == Undoing("transport.tempo", {"bpm": tempo})
        again = await house.again("transport.tempo", bpm=128)
        assert again.undo == fast.undo  # what it was is kept, so a repeated one does not forget it
        play = await house.perform("transport.play")
        assert play.undo == Undoing("transport.stop", {})
        assert told(play)["playing"] is True
        assert (await house.perform("transport.play", "s2")).undo is None
        await house.undo(play)
        assert not transport.record().playing
        stood = transport.record().position
        for arguments in ({"seconds": 3.0}, {"frames": 75}, {"timecode": "00:00:03:00"}, {"beats": 6.4}):
            there = await house.perform("transport.seek", **arguments)
            assert transport.record().position == pytest.approx(3.0, abs=0.5)
            await house.undo(there)
            assert transport.record().position == pytest.approx(stood, abs=1e-6)
        await house.undo(fast)
        assert transport.record().tempo == tempo
        stop = await house.perform("transport.stop")
        assert stop.undo is None
        assert house.check("transport.seek", seconds=1, beats=2) == ["ARGUMENT_INVALID"]
        with pytest.raises(InvalidArgument):
            await house.perform("transport.seek")


async def test_what_the_pipeline_does_itself_refuses_to_perform(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        for name, arguments in (
            ("flow.branch", {"condition": "true"}),
            ("flow.map", {"items": [1]}),
            ("workflow.call", {"workflow": "x"}),
            ("value.compute", {"expression": "1"}),
        ):
            with pytest.raises(FailedPrecondition) as caught:
                await house.perform(name, **arguments)
            assert caught.value.reason == "CONTROL_FLOW"
        assert list(house.find("flow.branch").reads({"condition": 'value("/a/b") > 1'})) == ["/a/b"]
        assert list(house.find("value.compute").reads({"expression": 'value("/a") + 1'})) == ["/a"]
        assert house.check("flow.branch", condition="1 +") == ["EXPRESSION_INVALID"]
        assert house.check("value.compute", expression="__import__('os')") == ["EXPRESSION_INVALID"]
        assert house.check("flow.map", items="abc") == ["VALUE_INVALID"]
        assert house.check("flow.map", items="${s1}") == []


@dataclass
class Book:
    """A room of workflows, each a list of instructions."""

    programs: dict[str, Sequence[Instruction]]

    def names(self) -> Sequence[str]:
        return sorted(self.programs)

    def describe(self, name: str) -> Mapping[str, Any]:
        return {"summary": f"does {name}", "parameters_schema": {"type": "object"}, "version": 1, "steps": 1}

    def program(self, name: str, parameters: Mapping[str, Any]) -> Program:
        if "bad" in parameters:
            raise InvalidArgument("there is no parameter bad", reason="PARAMETER_UNKNOWN")
        return Program(tuple(self.programs[name]))


async def test_a_workflow_says_what_its_instructions_do(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        house.rooms.workflows = Book(  # type: ignore[assignment]
            {
                "quiet": [Instruction("a", "context.set", {"path": "/a", "value": 1})],
                "loud": [
                    Instruction("a", "scene.delete", {"name": "x"}),
                    Instruction("b", "workflow.call", {"workflow": "quiet"}),
                ],
                "round": [Instruction("a", "workflow.call", {"workflow": "round"})],
                "strange": [Instruction("a", "not.there", {})],
            }
        )
        assert house.effects("workflow.call", workflow="quiet") == {"read", "reversible"}
        assert house.effects("workflow.call", workflow="loud") == {"read", "reversible", "destructive"}
        everything = {"read", "reversible", "destructive", "spend", "network"}
        for name in ("round", "strange", "none"):
            assert house.effects("workflow.call", workflow=name) == everything
        call, world = house.find("workflow.call"), house.book.world
        assert [call.cost({"workflow": name}, world) for name in ("quiet", "loud")] == [0.0, 0.0]
        assert [call.cost({"workflow": name}, world) for name in ("round", "strange")] == [None, None]
        assert house.check("workflow.call", workflow="quiet") == []
        assert house.check("workflow.call", workflow="quiet", parameters={"bad": 1}) == ["PARAMETER_UNKNOWN"]
        assert house.check("workflow.call", workflow="${s1}") == ["WORKFLOW_UNKNOWN"]
        (unknown,) = house.mistakes("workflow.call", workflow="quit")
        assert "did you mean 'quiet'?" in unknown.message
        known = world.workflows()["quiet"]
        assert isinstance(known, KnownWorkflow)
        assert (known.summary, known.parameters_schema) == ("does quiet", {"type": "object"})


@dataclass(frozen=True)
class Task:
    task_id: str
    title: str
    state: str = "PENDING"
    version: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Board:
    """A room of tasks that keeps what was asked."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.asked: dict[str, str] = {}
        self.origins: list[str] = []

    async def create_task(self, fields: Mapping[str, Any], asker: Any, *, request_id: str = "") -> Task:
        self.origins.append(asker.origin)
        if request_id not in self.asked:
            self.asked[request_id] = f"task-{len(self.tasks)}"
            self.tasks[self.asked[request_id]] = Task(self.asked[request_id], fields["title"])
        return self.tasks[self.asked[request_id]]

    async def get_task(self, task_id: str, *, at_time: int = 0) -> Task:
        if task_id not in self.tasks:
            raise NotFound(f"there is no task {task_id}", reason="TASK_UNKNOWN")
        return self.tasks[task_id]

    async def update_task(self, task_id: str, changes: Mapping[str, Any], asker: Any, *, etag: str = "") -> Task:
        held = self.tasks[task_id]
        self.tasks[task_id] = Task(
            **{"task_id": task_id, "title": held.title, "state": held.state, **changes, "version": held.version + 1}
        )
        return self.tasks[task_id]


async def test_tasks_are_created_once_changed_and_changed_back(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        board = Board()
        house.rooms.workspaces = board  # type: ignore[assignment]
        made = await house.perform("task.create", title="Mix the chorus")
        assert made.value == {"task_id": "task-0", "state": "PENDING", "version": 1}
        assert (await house.again("task.create", title="Mix the chorus")).value == made.value
        assert board.origins == ["run:run-1"] * 2
        done = await house.perform("task.update", "s2", task_id="task-0", state="DONE", title="Mixed")
        assert board.tasks["task-0"].state == "DONE"
        repeated = await house.again("task.update", "s2", task_id="task-0", state="DONE", title="Mixed")
        assert repeated.undo == done.undo
        await house.undo(done)
        assert (board.tasks["task-0"].state, board.tasks["task-0"].title) == ("PENDING", "Mix the chorus")
        await house.undo(made)
        assert board.tasks["task-0"].state == "CANCELLED"
        with pytest.raises(NotFound):
            await house.perform("task.update", "s3", task_id="nobody", state="DONE")


async def test_every_operation_takes_a_call_of_its_own_schema(tmp_path: Path) -> None:
    """What a model would send is what the operation takes: one example of each fits its schema, a typo does not."""
    import jsonschema_rs

    examples: dict[str, dict[str, Any]] = {
        "context.get": {"path": "/a"},
        "flow.map": {"items": "${s1}", "as": "clip", "parallel": 4},
        "transport.seek": {"timecode": "00:00:01:00"},
        "wait.beat": {"bar": 4},
        "generate.text": {"prompt": "x", "schema": {"type": "object"}, "max_tokens": 5},
        "app.command": {"app": "/blender", "command": "render", "arguments": {"samples": 4}},
        "task.update": {"task_id": "t", "state": "DONE"},
        "memory.remember": {"text": "x", "tags": ["a"], "fact": True},
    }
    async with operation_house(tmp_path) as house:
        for name, arguments in examples.items():
            validator = jsonschema_rs.validator_for(dict(house.find(name).arguments))
            assert validator.is_valid(arguments), name
            assert not validator.is_valid({**arguments, "pth": 1}), name
        one_of = jsonschema_rs.validator_for(dict(house.find("context.get").arguments))
        assert not one_of.is_valid({"path": "/a", "pattern": "/b"})
        assert not one_of.is_valid({})


async def test_the_built_in_ones_keep_the_contract_as_plugins_do(tmp_path: Path) -> None:
    examples: dict[str, list[dict[str, Any]]] = {
        "context.get": [{"path": "/a"}, {"paths": ["/a", "/b"]}, {"pattern": "//"}],
        "context.set": [{"path": "/a", "value": {"b": [1, 2.5, "c"]}}],
        "context.merge": [{"path": "/map", "value": {"b": 1}}],
        "context.move": [{"source": "/a", "path": "/c"}],
        "context.delete": [{"path": "/a"}],
        "context.apply": [{"changes": [{"kind": "set", "path": "/a", "value": 1}, {"kind": "delete", "path": "/b"}]}],
        "wait.seconds": [{"seconds": 0.001}],
        "wait.pattern": [{"pattern": "/here", "condition": "item == 1"}],
        "transport.tempo": [{"bpm": 99.0}],
        "transport.seek": [{"beats": 8}],
        "memory.remember": [{"text": "the snare is dry", "key": "snare"}],
        "memory.recall": [{"query": "snare"}],
        "scene.save": [{"name": "warm"}],
        "scene.recall": [{"name": "warm", "patterns": ["/here"]}],
        "scene.delete": [{"name": "warm"}],
    }
    async with operation_house(tmp_path) as house:
        await _set(house, "/here", 1)
        for name, given in examples.items():
            await check_operation(house.find(name), given, values={"/a": 1, "/b": 2, "/map": {}})


async def _set(house: OpHouse, path: str, value: Any) -> None:
    from lightfast.context.entry import Set

    await house.rooms.store.apply([Set(path, value)], origin="client:test")
