"""Links that depend on more than their ends: several sources, and conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engine.test_engine_links import quiet
from tests.support.desk import open_desk, until

from lightfast.context.entry import Declaration, Delete, Move, Set
from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError
from lightfast.engine.links.links import Link


async def test_many_to_one_carries_when_any_source_changes(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/x", 2.0)
        wanted = Link("", "/out", inputs=(("a", "/x"), ("b", "/y")), expression="max(a, b) * 0.5")
        link = await desk.links.create(wanted)
        assert (link.source, link.target) == ("/x", "/out")
        assert link.waiting == "/y holds nothing yet"
        assert link.last_error == ""
        assert desk.store.get("/out") is None
        revision = await desk.set("/y", 8)
        await desk.holds("/out", 4.0)
        assert desk.entry("/out").cause == revision
        assert desk.links.get(link.link_id).waiting == ""
        await desk.set("/x", 20.0)
        await desk.holds("/out", 10.0)
        await desk.set("/y", 30)
        await desk.holds("/out", 15.0)
        await desk.set("/y", "loud")
        await until(lambda: "/y holds 'loud', and a number is needed" in desk.links.get(link.link_id).last_error)
        await desk.store.apply([Delete("/y")], origin="client:test")
        await until(lambda: desk.links.get(link.link_id).waiting == "/y holds nothing yet")
        assert desk.entry("/out").value == 15.0
        assert [found.link_id for found in desk.links.list("/y")] == [link.link_id]


async def test_x_is_the_source_and_vectors_go_component_by_component(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/place", (1.0, 2.0, 3.0))
        await desk.set("/offset", (10.0, 20.0, 30.0))
        await desk.set("/size", 2)
        inputs = (("offset", "/offset"), ("size", "/size"))
        link = await desk.links.create(Link("/place", "/out", inputs=inputs, expression="x * size + offset"))
        assert desk.entry("/out").value == (12.0, 24.0, 36.0)
        await desk.set("/offset", (1.0, 1.0))
        await until(lambda: "vectors of 2 and 3 numbers" in desk.links.get(link.link_id).last_error)


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (Link("", "/out", inputs=(("a", "/x"),)), "a link with inputs needs an expression"),
        (Link("", "/out", inputs=(("a", "/x"),), expression="a + b"), "unknown name 'b'"),
        (Link("", "/out", inputs=(("a", "/x"),), expression="a", two_way=True), "goes one way"),
        (Link("", "/out", inputs=(("min", "/x"),), expression="min"), "'min' is no name for an input"),
        (Link("", "/out", inputs=(("A", "/x"),), expression="A"), "'A' is no name for an input"),
        (Link("", "/out", inputs=(("a", "/x"), ("a", "/y")), expression="a"), "two inputs are called 'a'"),
        (Link("", "/out", inputs=(("a", "x"),), expression="a"), "does not begin with '/'"),
        (Link("/x", "/out", inputs=(("a", "/out"),), expression="a"), "the input a is the target"),
        (
            Link("", "/o", inputs=tuple((f"a{i}", f"/{i}") for i in range(17)), expression="a1"),
            "there are 17 inputs: the most is 16",
        ),
    ],
)
async def test_what_is_wrong_with_inputs_is_said(tmp_path: Path, wanted: Link, what: str) -> None:
    async with open_desk(tmp_path) as desk:
        with pytest.raises(InvalidArgument, match=what):
            await desk.links.create(wanted)


async def test_a_cycle_through_any_source_is_refused_and_shown(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        async def refused(wanted: Link, what: str) -> None:
            with pytest.raises(LightfastError, match=what):
                await desk.links.create(wanted)

        both = Link("", "/out", inputs=(("a", "/x"), ("b", "/y")), expression="a + b")
        made = await desk.links.create(both)
        await desk.links.create(Link("/out", "/next"))
        await refused(Link("/next", "/y"), "/next - /out - /y - /next")
        await refused(Link("/next", "/x"), "would close a cycle")
        await refused(
            Link("", "/x", inputs=(("c", "/far"), ("d", "/next")), expression="c + d"), "/next - /out - /x - /next"
        )
        await refused(Link("/z", "/out"), "/out already follows /x")
        await desk.links.create(Link("/x", "/y"))  # one source of a link may lead another one
        await refused(Link("/y", "/next"), "would close a cycle")
        with pytest.raises(FailedPrecondition, match="cycle"):
            await desk.links.update(
                Link("", "", link_id=made.link_id, inputs=(("a", "/x"), ("b", "/next")), expression="a + b")
            )
        await desk.links.delete(made.link_id)
        await desk.links.create(Link("/next", "/x"))


async def test_a_condition_lets_the_current_value_through_when_it_becomes_true(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        link = await desk.links.create(Link("/a", "/b", condition="/show/armed"))
        assert link.waiting == "/show/armed holds nothing, and the condition is /show/armed"
        await desk.set("/show/armed", False)
        await desk.set("/a", 2.0)
        await until(lambda: desk.links.get(link.link_id).waiting == "it carries only while /show/armed")
        assert desk.store.get("/b") is None
        revision = await desk.set("/show/armed", True)
        await desk.holds("/b", 2.0)
        assert desk.entry("/b").cause == revision
        await desk.set("/show/armed", False)
        await desk.set("/a", 3.0)
        await quiet(desk)
        assert desk.entry("/b").value == 2.0
        assert desk.links.get(link.link_id).last_error == ""


async def test_a_condition_over_x_and_texts(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        condition = 'x > 0.5 and (/act == "two" or /level / 2 >= 1)'
        await desk.set("/act", "one")
        await desk.set("/level", 1.0)
        link = await desk.links.create(Link("/a", "/b", condition=condition, two_way=True))
        await desk.set("/a", 0.9)
        await quiet(desk)
        assert desk.store.get("/b") is None
        await desk.set("/act", "two")
        await desk.holds("/b", 0.9)
        await desk.set("/b", 0.7)
        await desk.holds("/a", 0.7)
        await desk.set("/a", 0.1)
        await quiet(desk)
        assert desk.entry("/b").value == 0.7
        assert condition in desk.links.get(link.link_id).waiting
        await desk.set("/a", (1.0, 2.0))
        await until(lambda: "x is a vector" in desk.links.get(link.link_id).waiting)


async def test_a_condition_that_cannot_be_reckoned_says_why(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        await desk.set("/n", "text")
        link = await desk.links.create(Link("/a", "/b", condition="1 / /n > 0"))
        assert "has no value now: a text cannot be reckoned with" in link.waiting
        await desk.set("/n", 0)
        await until(lambda: "has no value now" in desk.links.get(link.link_id).waiting)
        await desk.set("/n", [1])
        await until(lambda: "/n holds a list" in desk.links.get(link.link_id).waiting)
        await desk.set("/n", 2)
        await desk.holds("/b", 1.0)


@pytest.mark.parametrize(
    ("condition", "what"),
    [
        ("/show/armed and", r"condition '/show/armed and': invalid syntax, at position 16"),
        ("y > 1", "unknown name 'y'"),
        ("/a//b", "empty segment"),
        ("x is 1", "Compare is not allowed"),
        ("[1]", "List is not allowed"),
        ("x if x else 1", "IfExp is not allowed"),
        ("__import__('os')", "unknown function '__import__'"),
        ("not " * 60 + "x", "nested deeper"),
        (" or ".join(f"/p{i}" for i in range(9)), "more than 8 paths"),
        ("/b > 1", "the condition depends on the target /b"),
    ],
)
async def test_a_malformed_condition_says_where(tmp_path: Path, condition: str, what: str) -> None:
    async with open_desk(tmp_path) as desk:
        with pytest.raises(InvalidArgument, match=what) as caught:
            await desk.links.create(Link("/a", "/b", condition=condition))
        assert caught.value.field == "link.condition"


async def test_everything_a_link_depends_on_follows_a_move_and_a_restart(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        for path in ("/a", "/b", "/armed", "/tempo"):
            await desk.set(path, 1.0)
        many = await desk.links.create(
            Link("/a", "/out", inputs=(("b", "/b"),), expression="x + b", condition="/armed > 0 and /b > 0")
        )
        timed = await desk.links.create(
            Link("/a", "/beats", from_unit="time.second", to_unit="time.beats", tempo="/tempo")
        )
        moves = [("/b", "/other/b"), ("/armed", "/show/armed"), ("/tempo", "/song/tempo")]
        for old, new in moves:
            await desk.store.apply([Move(old, new)], origin="client:test")
        await until(lambda: desk.links.get(timed.link_id).tempo == "/song/tempo")
        found = desk.links.get(many.link_id)
        assert found.inputs == (("b", "/other/b"),)
        assert found.condition == "/show/armed > 0 and /other/b > 0"
        await desk.set("/other/b", 5.0)
        await desk.holds("/out", 6.0)
        await desk.set("/song/tempo", 120.0)
        await desk.holds("/beats", 2.0)
        settings = [(found.link_id, found.inputs, found.condition, found.tempo) for found in desk.links.list()]
    async with open_desk(tmp_path) as desk:
        assert [(found.link_id, found.inputs, found.condition, found.tempo) for found in desk.links.list()] == settings
        await desk.set("/show/armed", 0)
        await desk.set("/other/b", 7.0)
        await quiet(desk)
        assert desk.entry("/out").value == 6.0
        await desk.set("/show/armed", 1)
        await desk.holds("/out", 8.0)


async def test_signals_can_be_inputs_and_conditions(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration(p, kind="double", signal=True) for p in ("/s", "/t", "/o")], owner="test")
        await desk.links.create(Link("/s", "/o", inputs=(("t", "/t"),), expression="x - t", condition="/t < 50"))
        for number in range(60):
            desk.store.publish([Set("/s", 100.0), Set("/t", float(number))], origin="client:test")
        await desk.store.drain()
        await quiet(desk)
        desk.store.publish([Set("/t", 10.0)], origin="client:test")
        await desk.holds("/o", 90.0)
        assert desk.entry("/o").revision == 0
