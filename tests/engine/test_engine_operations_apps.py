"""The operation `app.command`, over the real registry with an application that a test plays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import App, hello, until
from tests.support.operations import RUN, Bench, OpHouse, operation_house

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.engine.operations.unmaking import undoing
from lightfast.sdk import Argument, Call, Command, Hello, Outcome, Undo, Undoing
from lightfast_link.value import Value

COMMANDS = (
    Command("look", "Look.", effect="read"),
    Command("play", "Play.", idempotent=True),
    Command(
        "make",
        "Make a thing.",
        (Argument("name", "string", required=True), Argument("place", "vector"), Argument("size", "double")),
        undo=Undo("unmake", {"name": "$result.name", "hard": True}),
    ),
    Command("unmake", "Take a thing away.", (Argument("name", "string"), Argument("hard", "bool")), "destructive"),
    Command("move", "Move it.", (Argument("by", "int"),)),
    Command("evaluate", "Run code.", effect="code"),
)


def who(instance: str = "i1", *capabilities: str) -> Hello:
    return Hello(
        "live", instance, document_id="a", commands=COMMANDS, capabilities=frozenset(capabilities), app_version="1"
    )


class Doer(App):
    """Does what it is asked as soon as it is asked; with keys it does a thing once."""

    def __init__(self) -> None:
        super().__init__({"level": 0.5})
        self.done: list[tuple[str, dict[str, Value]]] = []
        self.kept: dict[str, Value] = {}
        self.keyed = False
        self.silent = False

    def invoke(self, call: Call) -> None:
        super().invoke(call)
        if not self.silent:
            asyncio.get_running_loop().call_soon(self.answer, call)

    def answer(self, call: Call) -> None:
        if self.keyed and call.key in self.kept:
            self.joined.result(call.call_id, self.kept[call.key])
            return
        self.done.append((call.command, dict(call.arguments)))
        self.joined.progress(call.call_id, 0.5, "half")
        self.turn("level", len(self.done) / 10)
        name = str(call.arguments.get("name", "thing"))
        self.kept[call.key] = {"name": f"{name}.001"}
        self.joined.result(call.call_id, {"name": f"{name}.001"})


@asynccontextmanager
async def joined(folder: Path, *capabilities: str) -> AsyncIterator[tuple[OpHouse, Doer]]:
    async with operation_house(folder) as house:
        app = Doer()
        await arrive(house, app, "i1", *capabilities)
        yield house, app


async def arrive(house: OpHouse, app: Doer, instance: str, *capabilities: str) -> None:
    app.keyed = "keyed" in capabilities
    app.session = house.rooms.registry.hello(who(instance, *capabilities), app)
    app.report_all()
    await app.session.live.wait()


async def make(house: OpHouse, step: str = "s1", **arguments: object) -> Outcome:
    return await house.perform(
        "app.command", step, app="/live", command="make", arguments={"name": "Cube", **arguments}
    )


async def test_a_command_runs_in_the_group_of_the_run_with_its_key(tmp_path: Path) -> None:
    async with joined(tmp_path, "keyed") as (house, app):
        outcome = await make(house, place=[1, 2, 3], size=2)
        assert outcome.value == {"name": "Cube.001"}
        assert app.done == [("make", {"name": "Cube", "place": (1.0, 2.0, 3.0), "size": 2.0})]
        (call,) = app.calls
        assert (call.key, call.timeout) == (f"{RUN}/s1", 20.0)
        assert (0.5, "half") in house.bench.progressed
        assert json.loads(house.bench.note) == {"instance": "i1"}
        await until(lambda: house.value("/live/level") == 0.1)
        revision = house.rooms.store.get("/live/level").revision  # type: ignore[union-attr]
        (transaction,) = await house.rooms.store.replay(revision - 1, revision, 1)
        assert (transaction.group, transaction.origin) == (RUN, "app:live")

        undone = await house.undo(outcome)
        assert app.done[-1] == ("unmake", {"name": "Cube.001", "hard": True})
        assert undone.stuck == "/live cannot take unmake back: what it took away is gone"


async def test_mistakes_effects_and_what_may_be_repeated(tmp_path: Path) -> None:
    async with joined(tmp_path) as (house, app):

        def of(command: str, mount: str = "/live", **arguments: object) -> dict[str, object]:
            return {"app": mount, "command": command, "arguments": arguments}

        def check(command: str, mount: str = "/live", **arguments: object) -> list[str]:
            return house.check("app.command", **of(command, mount, **arguments))

        assert check("make", name="x", place=[1, 2, 3]) == []
        assert check("make", name="${s1.name}", place="${s1.place}") == []
        assert check("make") == ["ARGUMENT_INVALID"]
        assert check("make", name="x", place="here") == ["ARGUMENT_INVALID"]
        assert check("make", name="x", plce="${s1}") == ["ARGUMENT_INVALID"]
        assert check("make", name=3) == ["ARGUMENT_INVALID"]
        assert check("mak") == ["COMMAND_UNKNOWN"]
        assert check("${s1}") == ["COMMAND_UNKNOWN"]
        assert check("make", "/lve", name="x") == ["APP_UNKNOWN"]
        assert "did you mean 'make'?" in house.mistakes("app.command", **of("maek"))[0].message
        assert "did you mean '/live'?" in house.mistakes("app.command", **of("make", "/lve"))[0].message

        effects = {name: house.effects("app.command", **of(name)) for name in ("look", "make", "unmake", "evaluate")}
        assert effects == {
            "look": {"read"},
            "make": {"reversible"},
            "unmake": {"destructive"},
            "evaluate": {"destructive"},
        }
        assert house.effects("app.command", **of("nothing")) == {"destructive"}
        operation, world = house.find("app.command"), house.book.world
        assert operation.writes(of("look")) == ()
        assert operation.writes(of("make")) == ("/live", "/live//")
        assert operation.writes(of("make", "${s1}")) == ("//",)

        def repeatable(command: str) -> bool:
            return operation.repeatable(of(command), world)

        assert [repeatable(name) for name in ("look", "play", "make", "unmake")] == [True, True, False, False]
        await leave(house, app)
        assert [repeatable(name) for name in ("look", "play", "make")] == [True, True, False]
        await arrive(house, app, "i1", "keyed", "remote")
        assert [repeatable(name) for name in ("look", "play", "make", "unmake")] == [True] * 4
        assert house.effects("app.command", **of("make")) == {"reversible", "network"}


async def leave(house: OpHouse, app: Doer) -> None:
    session = app.joined
    session.lost("it crashed")
    await session.ended.wait()


async def recover(house: OpHouse, note: str, **fields: Any) -> Outcome | None:
    arguments = {"app": "/live", "command": "make", "arguments": {"name": "Cube"}}
    house.bench = Bench(house.rooms)
    call = house.call(arguments, note=note, **fields)
    return await house.find("app.command").recover(call, house.bench)


async def test_a_restarted_daemon_is_told_what_became_of_it(tmp_path: Path) -> None:
    async with joined(tmp_path, "keyed") as (house, app):
        outcome = await make(house)
        note = house.bench.note
        await leave(house, app)
        waiting = asyncio.ensure_future(recover(house, note))
        await asyncio.sleep(0)
        await arrive(house, app, "i1", "keyed")
        again = await waiting
        assert again is not None
        assert again.value == outcome.value
        assert len(app.done) == 1

        await leave(house, app)
        await arrive(house, app, "i2", "keyed")
        assert await recover(house, note) is None
        house.bench.notes[:] = [note]
        with pytest.raises(FailedPrecondition, match="was restarted since") as caught:
            await house.again("app.command", app="/live", command="make", arguments={"name": "Cube"})
        assert caught.value.reason == "OUTCOME_UNKNOWN"
        assert len(app.done) == 1


async def test_one_without_keys_cannot_tell_and_one_that_was_not_sent_is_done(tmp_path: Path) -> None:
    async with joined(tmp_path) as (house, app):
        await make(house)
        note = house.bench.note
        assert await recover(house, note) is None
        assert len(app.done) == 1
        assert await recover(house, "") is not None
        assert len(app.done) == 2
        await leave(house, app)
        assert await recover(house, note, deadline_s=0.3) is None


async def test_a_deadline_and_a_cancel_give_the_command_up(tmp_path: Path) -> None:
    async with joined(tmp_path) as (house, app):
        app.silent = True
        arguments = {"app": "/live", "command": "move", "arguments": {"by": 1}}
        with pytest.raises(LightfastError) as caught:
            await house.find("app.command").perform(house.call(arguments, deadline_s=0.5), house.bench)
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        sent = len(app.calls)  # none where a busy machine was not yet there at the deadline
        await until(lambda: len(app.cancelled) == sent)
        task = asyncio.ensure_future(house.perform("app.command", **arguments))
        await until(lambda: len(app.calls) == sent + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: len(app.cancelled) == sent + 1)
        await leave(house, app)
        with pytest.raises(LightfastError) as caught:
            await house.perform("app.command", **arguments)
        assert caught.value.reason == "APP_GONE"


@pytest.mark.parametrize(
    ("undo", "result", "arguments", "stuck"),
    [
        ({"a": "$result"}, 7, {"a": 7}, ""),
        ({"a": "$result[1].name"}, [0, {"name": "x"}], {"a": "x"}, ""),
        ({"a": "$arguments.track+1", "b": "$plain"}, None, {"a": 4, "b": "$plain"}, ""),
        ({"a": "$arguments.end"}, None, None, "which counts from the end"),
        ({"a": "$result.name"}, {"other": 1}, None, "has no name"),
        ({"a": "$result"}, None, None, "it has no result"),
        ({"a": "$arguments.nothing"}, None, None, "has no nothing"),
    ],
    ids=["result", "deep", "number-and-text", "end", "field", "no-result", "argument"],
)
def test_what_takes_a_command_back(
    undo: dict[str, str], result: Value, arguments: dict[str, object] | None, stuck: str
) -> None:
    command = Command("do", undo=Undo("undo", undo))
    found, why = undoing("/live", command, {"track": 3, "end": -1}, result)
    if arguments is None:
        assert found is None
        assert stuck in why
    else:
        assert found == Undoing("app.command", {"app": "/live", "command": "undo", "arguments": arguments})
        assert why == ""


def test_every_undo_of_a_bridge_is_a_command_of_its_with_these_arguments() -> None:
    from lightfast_bridges.ableton.commands import commands as ableton
    from lightfast_bridges.blender.surface import commands as blender
    from lightfast_bridges.obs import commands as obs
    from lightfast_bridges.supercollider import commands as supercollider

    for offered in (ableton(), blender(), obs.COMMANDS, supercollider.COMMANDS):
        known = {command.name: command for command in offered}
        undone = [command for command in offered if command.undo is not None]
        assert undone
        for command in undone:
            assert command.undo is not None
            back = known[command.undo.command]
            names = {argument.name for argument in back.arguments}
            assert set(command.undo.arguments) <= names, command.name
            assert {argument.name for argument in back.arguments if argument.required} <= set(command.undo.arguments)
            for text in command.undo.arguments.values():
                if text.startswith("$arguments."):
                    given = text.removeprefix("$arguments.").partition("+")[0]
                    assert given in {argument.name for argument in command.arguments}, command.name
    assert hello("i").kind == "live"
